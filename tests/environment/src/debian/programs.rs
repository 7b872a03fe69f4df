//! Debian 13's HAProxy and Redis as programs of this machine, for the component tests: Debian 12's
//! are too old.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::store::{Tree, provide, used};
use super::suite::architecture;
use crate::cache::{Cache, Key};
use crate::process::output;
use crate::steps::Steps;

/// The programs, where Debian has them.
const PROGRAMS: [(&str, &str); 3] = [
    ("haproxy", "usr/sbin/haproxy"),
    ("redis-server", "usr/bin/redis-server"),
    ("redis-cli", "usr/bin/redis-cli"),
];

/// Counts up when what is done here changes.
const RECIPE: &str = "2";

/// The folder with the programs in it.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join("bin").join(program)
    }
}

/// The programs, in the newest versions of Debian 13.
pub fn programs(cache: &Cache, steps: &Steps) -> Result<Programs> {
    let trees = provide(cache, steps)?.all()?;
    let name = folder_name(&trees);
    let folder = cache.folder(&name, |folder| fill(&trees, folder, &cache.path(&name)))?;
    used(&folder)?;
    Ok(Programs { folder })
}

fn folder_name(trees: &[Tree]) -> String {
    let key = Key::default().text(RECIPE);
    let key = trees.iter().fold(key, |key, tree| key.text(&tree.key().finish()));
    format!("programs-{}", key.finish())
}

/// Fills `folder`, which will be at `place`: the programs hold absolute paths.
fn fill(trees: &[Tree], folder: &Path, place: &Path) -> Result<()> {
    let (bin, lib) = (folder.join("bin"), folder.join("lib"));
    for part in [&bin, &lib] {
        fs::create_dir_all(part)?;
    }
    for tree in trees {
        let libraries = tree.files.join(architecture().libraries);
        for library in fs::read_dir(&libraries).into_iter().flatten().flatten() {
            copy(&library.path(), &lib.join(library.file_name()))?;
        }
        for (name, path) in PROGRAMS {
            let program = tree.files.join(path);
            if program.exists() {
                copy(&program, &bin.join(name))?;
            }
        }
    }
    let linker = Path::new(architecture().linker);
    let name = linker.file_name().context("the dynamic linker has no name")?;
    let base = trees.iter().find(|tree| tree.files.join(linker).exists());
    let base = base.context("no tree has the dynamic linker")?;
    copy(&base.files.join(linker), &lib.join(name))?;
    fs::set_permissions(lib.join(name), fs::Permissions::from_mode(0o755))?;
    for (program, _) in PROGRAMS {
        adopt(&bin.join(program), &place.join("lib"), name.as_ref())?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

/// Makes the program use the copied linker and libraries. (It has to be in the program: HAProxy
/// starts itself again on a reload.)
fn adopt(program: &Path, libraries: &Path, linker: &Path) -> Result<()> {
    let mut patchelf = Command::new("patchelf");
    patchelf.arg("--set-interpreter").arg(libraries.join(linker));
    patchelf
        .arg("--force-rpath")
        .arg("--set-rpath")
        .arg(libraries)
        .arg(program);
    output(&mut patchelf).map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::package::parse_words;
    use super::*;

    #[test]
    fn a_new_version_is_another_folder() {
        let name = |words: &str| {
            folder_name(&[Tree {
                files: PathBuf::new(),
                packages: parse_words(words).unwrap_or_else(|_| BTreeSet::new()),
            }])
        };
        assert_eq!(name("haproxy=3.0.11-1"), name("haproxy=3.0.11-1"));
        assert_ne!(name("haproxy=3.0.11-1"), name("haproxy=3.0.11-1+deb13u5"));
        assert_ne!(
            name("haproxy=3.0.11-1"),
            name("haproxy=3.0.11-1 libssl3t64=3.5.9-1")
        );
    }
}
