//! The trees of files: what an image holds of Debian is exactly what is listed here, and the
//! libraries that it needs. No shell, no package manager.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::files::Unpacked;
use super::suite::architecture;

/// The tree below all others.
pub(super) const BASE: &str = "base";

/// Needed by every program that is linked to glibc, resolves names and unwinds.
const BASE_LIBRARIES: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libresolv.so.2"];

/// The certificate authorities in the package, and the one file that all TLS libraries know.
const AUTHORITIES: &str = "usr/share/ca-certificates/mozilla";
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Where scanners of images look for packages that no package manager has installed.
const STATUS: &str = "var/lib/dpkg/status.d";

/// Programs of Debian in an image, and the user that runs them.
struct Content {
    name: &'static str,
    programs: &'static [&'static str],
    user: &'static str,
    id: u32,
}

/// By the names of the images. The ids are those of docs/contracts.md.
const CONTENTS: [Content; 2] = [
    Content {
        name: "proxy",
        programs: &["usr/sbin/haproxy"],
        user: "haproxy",
        id: 99,
    },
    Content {
        name: "redis",
        programs: &["usr/bin/redis-server", "usr/bin/redis-cli"],
        user: "redis",
        id: 999,
    },
];

/// All trees, the base first.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    [BASE]
        .into_iter()
        .chain(CONTENTS.iter().map(|content| content.name))
}

/// Has the image of this name something of Debian's above the base?
pub(super) fn has(image: &str) -> bool {
    CONTENTS.iter().any(|content| content.name == image)
}

/// Fills `folder` with the trees and, beside each, the list of its packages.
pub(super) fn fill(archives: &Path, folder: &Path) -> Result<()> {
    let root = folder.join("root");
    fs::create_dir_all(&root)?;
    let unpacked = Unpacked::new(archives, root)?;
    base(&unpacked, folder)?;
    for content in &CONTENTS {
        let mut tree = Tree::new(&unpacked, folder.join(content.name), Some(folder.join(BASE)))?;
        for program in content.programs {
            tree.add(program)?;
            for library in unpacked.libraries(program)? {
                tree.add(&library)?;
            }
        }
        tree.openssl()?;
        tree.users(content.user, content.id)?;
        tree.finish()?;
    }
    Ok(fs::remove_dir_all(&unpacked.root)?)
}

fn base(unpacked: &Unpacked, folder: &Path) -> Result<()> {
    let mut tree = Tree::new(unpacked, folder.join(BASE), None)?;
    for library in BASE_LIBRARIES {
        tree.add(&format!("{}/{library}", architecture().libraries))?;
    }
    let linker = architecture().linker;
    tree.add(linker)?;
    tree.add("etc/os-release")?;
    tree.authorities()?;
    tree.link("usr/lib", "lib")?;
    if linker.starts_with("usr/lib64/") {
        tree.link("usr/lib64", "lib64")?;
    }
    tree.users("wsc", 65532)?;
    tree.write("etc/nsswitch.conf", "hosts: files dns\n")?;
    tree.finish()
}

/// A tree in the making.
struct Tree<'a> {
    unpacked: &'a Unpacked,
    folder: PathBuf,
    /// The tree of the layer below: its files are not repeated.
    below: Option<PathBuf>,
    /// The packages whose files are in it.
    held: BTreeSet<String>,
}

impl<'a> Tree<'a> {
    fn new(unpacked: &'a Unpacked, folder: PathBuf, below: Option<PathBuf>) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self {
            unpacked,
            folder,
            below,
            held: BTreeSet::new(),
        })
    }

    /// The file under the name that programs use, without links.
    fn add(&mut self, path: &str) -> Result<()> {
        let has = |folder: &Path| folder.join(path).exists();
        if has(&self.folder) || self.below.as_deref().is_some_and(has) {
            return Ok(());
        }
        let (from, owners) = self.unpacked.follow(path)?;
        ensure!(!owners.is_empty(), "{path} belongs to no package");
        self.held.extend(owners.into_iter().map(str::to_owned));
        self.copy(&from, path)
    }

    fn copy(&self, from: &Path, path: &str) -> Result<()> {
        let from = self.unpacked.root.join(from);
        fs::copy(&from, self.place(path)?).with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    }

    /// All authorities in one file, as `update-ca-certificates` writes it.
    fn authorities(&mut self) -> Result<()> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.unpacked.root.join(AUTHORITIES))?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files.sort();
        let mut bundle = String::new();
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            ensure!(
                text.contains("BEGIN CERTIFICATE"),
                "{} is no certificate",
                file.display()
            );
            bundle.push_str(text.trim_end());
            bundle.push('\n');
        }
        if bundle.is_empty() {
            bail!("Debian 13 has no certificate authority");
        }
        self.held.insert("ca-certificates".to_owned());
        self.write(BUNDLE, &bundle)
    }

    /// Debian's OpenSSL looks for authorities in a folder of its own.
    fn openssl(&self) -> Result<()> {
        self.link("/etc/ssl/certs", "usr/lib/ssl/certs")?;
        self.link(&format!("/{BUNDLE}"), "usr/lib/ssl/cert.pem")
    }

    fn users(&self, name: &str, id: u32) -> Result<()> {
        let passwd = format!("root:x:0:0:root:/:/sbin/nologin\n{name}:x:{id}:{id}:{name}:/:/sbin/nologin\n");
        self.write("etc/passwd", &passwd)?;
        self.write("etc/group", &format!("root:x:0:\n{name}:x:{id}:\n"))
    }

    /// Adds the description and the licence of each package, and lists the packages beside the
    /// tree.
    fn finish(self) -> Result<()> {
        let mut list = String::new();
        for name in &self.held {
            let (package, control) = self.unpacked.package(name)?;
            self.write(&format!("{STATUS}/{name}"), control)?;
            let copyright = format!("usr/share/doc/{name}/copyright");
            self.copy(&self.unpacked.follow(&copyright)?.0, &copyright)?;
            list.push_str(&format!("{package}\n"));
        }
        let path = self.folder.with_extension("packages");
        fs::write(&path, list).with_context(|| format!("writing {}", path.display()))
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        fs::write(self.place(path)?, text).with_context(|| format!("writing {path}"))
    }

    fn link(&self, target: &str, path: &str) -> Result<()> {
        symlink(target, self.place(path)?).with_context(|| format!("linking {path}"))
    }

    /// The path in the tree, with the folders above it.
    fn place(&self, path: &str) -> Result<PathBuf> {
        let place = self.folder.join(path);
        fs::create_dir_all(place.parent().unwrap_or(&self.folder))?;
        Ok(place)
    }
}
