//! Debian 13's HAProxy and Redis as programs of this machine, for the component tests: Debian 12's are too old.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, Key};
use crate::debian::SUITE;
use crate::process::{logged, output};
use crate::steps::Steps;

/// Debian's packages that the programs are in.
const PACKAGES: &str = "haproxy,redis-server";

/// The programs, where Debian has them.
const PROGRAMS: [(&str, &str); 3] = [
    ("haproxy", "usr/sbin/haproxy"),
    ("redis-server", "usr/bin/redis-server"),
    ("redis-cli", "usr/bin/redis-cli"),
];

/// Counts up when what is done here changes.
const RECIPE: &str = "1";

/// The folder with the programs in it.
pub struct Ladder {
    folder: PathBuf,
}

impl Ladder {
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join("bin").join(program)
    }
}

/// The programs; fetched when no run on this machine has fetched them.
pub fn ladder(cache: &Cache, steps: &Steps) -> Result<Ladder> {
    let name = format!(
        "ladder-{}",
        Key::default().text(SUITE).text(PACKAGES).text(RECIPE).finish()
    );
    if !cache.path(&name).exists() {
        let place = cache.path(&name);
        steps.run("HAProxy 3 and Redis 8 out of Debian 13", || {
            cache.folder(&name, |folder| fill(cache, folder, &place))
        })?;
    }
    Ok(Ladder {
        folder: cache.path(&name),
    })
}

/// Fills `folder`, which will be at `place`: the programs hold absolute paths.
fn fill(cache: &Cache, folder: &Path, place: &Path) -> Result<()> {
    let root = cache.path("ladder-root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    // Only unpacked, not configured: nothing of it has to run here but these programs.
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args(["--variant=extract", &format!("--include={PACKAGES}"), SUITE])
        .arg(&root);
    logged(&mut mmdebstrap, &cache.path("ladder.log"))?;
    for part in ["bin", "lib"] {
        fs::create_dir_all(folder.join(part))?;
    }
    for (name, path) in PROGRAMS {
        fs::copy(root.join(path), folder.join("bin").join(name))
            .with_context(|| format!("copying {path}"))?;
    }
    let mut left: Vec<PathBuf> = PROGRAMS
        .iter()
        .map(|(name, _)| folder.join("bin").join(name))
        .collect();
    while let Some(file) = left.pop() {
        for library in needed(&file)? {
            let to = folder.join("lib").join(&library);
            if !to.exists() {
                fs::copy(find(&root, &library)?, &to).with_context(|| format!("copying {library}"))?;
                left.push(to);
            }
        }
    }
    for (name, path) in PROGRAMS {
        adopt(
            &root.join(path),
            &folder.join("bin").join(name),
            folder,
            place,
            &root,
        )?;
    }
    fs::remove_dir_all(&root)?;
    Ok(())
}

/// Makes the program use the copied linker and libraries. (It has to be in the program: HAProxy starts itself again on a reload.)
fn adopt(original: &Path, program: &Path, folder: &Path, place: &Path, root: &Path) -> Result<()> {
    let wanted = output(Command::new("patchelf").arg("--print-interpreter").arg(original))?;
    let linker = Path::new(wanted.trim())
        .file_name()
        .context("the program has no dynamic linker")?
        .to_owned();
    let copy = folder.join("lib").join(&linker);
    if !copy.exists() {
        fs::copy(find(root, &linker.to_string_lossy())?, &copy)?;
    }
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let mut patchelf = Command::new("patchelf");
    patchelf
        .arg("--set-interpreter")
        .arg(place.join("lib").join(&linker));
    patchelf
        .arg("--force-rpath")
        .arg("--set-rpath")
        .arg(place.join("lib"))
        .arg(program);
    output(&mut patchelf).map(drop)
}

fn needed(file: &Path) -> Result<Vec<String>> {
    let names = output(Command::new("patchelf").arg("--print-needed").arg(file))?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// The library in the root file system, through its links.
fn find(root: &Path, name: &str) -> Result<PathBuf> {
    let mut left = vec![root.join("usr/lib"), root.join("usr/lib64")];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy() == name {
                // A link inside the root file system may be absolute: only its last part counts.
                return if path.is_symlink() {
                    let target = fs::read_link(&path)?;
                    let inside = target.strip_prefix("/").map(|inside| root.join(inside));
                    Ok(fs::canonicalize(inside.unwrap_or_else(|_| folder.join(&target)))?)
                } else {
                    Ok(path)
                };
            }
            if path.is_dir() && !path.is_symlink() {
                left.push(path);
            }
        }
    }
    bail!("{name} is not in the Debian 13 root file system")
}
