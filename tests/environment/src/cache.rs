//! Everything that is built once and used by every checkout on the machine:
//! `~/.cache/websocket-operator`.
//!
//! What lies there is named by the hash of what it was made from and moved into place whole, so a
//! broken run leaves nothing half made.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The folder of the cache.
#[derive(Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$XDG_CACHE_HOME/websocket-operator`, else `~/.cache/websocket-operator`.
    pub fn open() -> Result<Self> {
        let base = match std::env::var_os("XDG_CACHE_HOME") {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir),
            _ => PathBuf::from(
                std::env::var_os("HOME")
                    .context("HOME is not set: set XDG_CACHE_HOME to the folder of the caches")?,
            )
            .join(".cache"),
        };
        Self::at(base.join("websocket-operator"))
    }

    /// A cache in this folder.
    pub fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
        Ok(Self { root })
    }

    /// A cache for one unit test.
    #[cfg(test)]
    pub(crate) fn for_test(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("wsc-xtask-{}-{name}", std::process::id()));
        Self::at(root).unwrap()
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// Waits until no other `cargo xtask` on this machine changes the cluster or the images.
    pub fn lock(&self) -> Result<Lock> {
        self.lock_for("cluster")
    }

    /// Marks the cluster as used: until this value ends, no command on this machine takes it down
    /// or builds it anew. Take it after the last [`Cache::lock`]: a command that waits for the
    /// cluster to be free holds that one.
    pub fn in_use(&self) -> Result<Lock> {
        let file = self.lock_file("use")?;
        file.lock_shared().context("waiting for the lock")?;
        Ok(Lock { _file: file })
    }

    /// Waits until no command uses the cluster.
    pub fn unused(&self) -> Result<Lock> {
        self.lock_for("use")
    }

    /// Waits until no other process on this machine holds the lock of this name. It ends with the
    /// value, or with the process.
    pub(crate) fn lock_for(&self, name: &str) -> Result<Lock> {
        let file = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                println!("waiting for another cargo xtask on this machine ({name})");
                file.lock().context("waiting for the lock")?;
            }
            Err(TryLockError::Error(err)) => return Err(err).context("taking the lock"),
        }
        Ok(Lock { _file: file })
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        fs::create_dir_all(self.path("locks"))?;
        let path = self.path("locks").join(name.replace('/', "-"));
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.with_context(|| format!("opening {}", path.display()))
    }

    /// The folder `name`; when it is not there, `make` fills a new one, which is then moved into
    /// place.
    pub fn folder(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        self.provide(name, &format!("{name}.new"), |making| {
            if making.exists() {
                fs::remove_dir_all(making).with_context(|| format!("removing {}", making.display()))?;
            }
            fs::create_dir_all(making)?;
            make(making)
        })
    }

    /// The file `name`; when it is not there, `make` writes a new one, which is then moved into
    /// place.
    pub fn file(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, "tmp"));
        self.provide(name, &format!("{stem}.new.{extension}"), |making| {
            if let Some(parent) = making.parent() {
                fs::create_dir_all(parent)?;
            }
            if making.exists() {
                fs::remove_file(making)?;
            }
            make(making)
        })
    }

    /// What is not there is made at `temporary` by one process at a time, and moved into place.
    fn provide(
        &self,
        name: &str,
        temporary: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let done = self.path(name);
        if done.exists() {
            return Ok(done);
        }
        let _lock = self.lock_for(name)?;
        if done.exists() {
            return Ok(done);
        }
        let making = self.path(temporary);
        make(&making)?;
        fs::rename(&making, &done).with_context(|| format!("moving {} into place", done.display()))?;
        Ok(done)
    }
}

/// Held while the cluster or the images change.
pub struct Lock {
    _file: File,
}

/// Bytes of a SHA-256 that a key has: two hex digits each.
const KEY_BYTES: usize = 6;

/// A content key: the first 12 hex digits of a SHA-256.
#[derive(Default)]
pub struct Key(Sha256);

impl Key {
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.0.update(text.len().to_le_bytes());
        self.0.update(text.as_bytes());
        self
    }

    pub fn file(mut self, path: &Path) -> Result<Self> {
        let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0;
        loop {
            let n = file
                .read(&mut buffer)
                .with_context(|| format!("reading {}", path.display()))?;
            if n == 0 {
                break;
            }
            self.0.update(&buffer[..n]);
            total += n;
        }
        self.0.update(total.to_le_bytes());
        Ok(self)
    }

    pub fn finish(self) -> String {
        HEXLOWER.encode(&self.0.finalize()[..KEY_BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_depends_on_parts_and_their_bounds() {
        let key = |parts: &[&str]| {
            parts
                .iter()
                .fold(Key::default(), |key, part| key.text(part))
                .finish()
        };
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["ab", "c"]), key(&["ab", "d"]));
        assert_eq!(key(&["ab"]).len(), 12);
    }

    #[test]
    fn failed_build_leaves_nothing_and_is_retried() {
        let cache = Cache::for_test("folder");
        let broken = cache.folder("x-1", |folder| {
            fs::write(folder.join("half"), "")?;
            anyhow::bail!("no space")
        });
        assert!(broken.is_err() && !cache.path("x-1").exists());
        let made = cache
            .folder("x-1", |folder| Ok(fs::write(folder.join("whole"), "")?))
            .unwrap();
        assert!(made.join("whole").exists() && !made.join("half").exists());
        let again = cache.folder("x-1", |_| anyhow::bail!("it is there"));
        assert!(again.is_ok());
        fs::remove_dir_all(cache.root).unwrap();
    }

    #[test]
    fn used_cluster_is_shared_and_not_removed() {
        let cache = Cache::for_test("use");
        let (one, two) = (cache.in_use().unwrap(), cache.in_use().unwrap());
        let taker = cache.lock_file("use").unwrap();
        assert!(matches!(taker.try_lock(), Err(TryLockError::WouldBlock)));
        drop(one);
        assert!(matches!(taker.try_lock(), Err(TryLockError::WouldBlock)));
        drop(two);
        assert!(taker.try_lock().is_ok());
        fs::remove_dir_all(cache.root).unwrap();
    }
}
