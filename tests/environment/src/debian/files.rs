//! Unpacked packages: which file is whose, and which libraries a program needs.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::package::Package;
use super::suite::architecture;
use crate::process::output;

/// A link that leads to more links than this leads in a circle.
const MAX_LINKS: u32 = 8;

/// Packages that were unpacked, not installed, into one folder.
pub(super) struct Unpacked {
    pub(super) root: PathBuf,
    /// The package of each path.
    owners: BTreeMap<PathBuf, String>,
    /// What each package says about itself: name, version, dependencies.
    controls: BTreeMap<String, String>,
}

impl Unpacked {
    pub(super) fn new(archives: &Path, root: PathBuf) -> Result<Self> {
        let (mut owners, mut controls) = (BTreeMap::new(), BTreeMap::new());
        for entry in fs::read_dir(archives)?.flatten() {
            let archive = entry.path();
            if archive.extension() != Some(OsStr::new("deb")) {
                continue;
            }
            let control = output(Command::new("dpkg-deb").arg("--field").arg(&archive))?;
            let package = field(&control, "Package")
                .with_context(|| format!("{} names no package", archive.display()))?
                .to_owned();
            let files = output(
                Command::new("dpkg-deb")
                    .arg("--vextract")
                    .arg(&archive)
                    .arg(&root),
            )?;
            for path in files.lines() {
                let path = path.trim_start_matches("./").trim_end_matches('/');
                owners.insert(PathBuf::from(path), package.clone());
            }
            controls.insert(package, control);
        }
        Ok(Self {
            root,
            owners,
            controls,
        })
    }

    /// The path without links, and the packages of the links and of the file. An absolute link
    /// leads to the root of the packages, not to the machine's.
    pub(super) fn follow(&self, path: &str) -> Result<(PathBuf, Vec<&str>)> {
        let mut left = parts(Path::new(path));
        let (mut real, mut owners, mut links) = (PathBuf::new(), Vec::new(), 0);
        while let Some(part) = left.pop() {
            if part == ".." {
                real.pop();
                continue;
            }
            real.push(part);
            let Ok(target) = fs::read_link(self.root.join(&real)) else {
                continue;
            };
            links += 1;
            ensure!(links <= MAX_LINKS, "{path} is a circle of links");
            owners.extend(self.owner(&real));
            if target.is_absolute() {
                real.clear();
            } else {
                real.pop();
            }
            left.extend(parts(&target));
        }
        let is_file = self.root.join(&real).is_file();
        ensure!(is_file, "Debian 13 has no {path}");
        owners.extend(self.owner(&real));
        Ok((real, owners))
    }

    fn owner(&self, path: &Path) -> Option<&str> {
        self.owners.get(path).map(String::as_str)
    }

    /// The name and the version of a package, and its whole description.
    pub(super) fn package(&self, name: &str) -> Result<(Package, &str)> {
        let control = self
            .controls
            .get(name)
            .with_context(|| format!("{name} is not unpacked"))?;
        let version = field(control, "Version").with_context(|| format!("{name} has no version"))?;
        let package = Package {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        Ok((package, control))
    }

    /// All libraries that a program needs, also those of its libraries, as paths without links
    /// resolved.
    pub(super) fn libraries(&self, program: &str) -> Result<Vec<String>> {
        let mut found: Vec<String> = Vec::new();
        let mut left = vec![self.follow(program)?.0];
        while let Some(file) = left.pop() {
            for name in needed(&self.root.join(file))? {
                let path = format!("{}/{name}", architecture().libraries);
                if !found.contains(&path) {
                    left.push(self.follow(&path)?.0);
                    found.push(path);
                }
            }
        }
        Ok(found)
    }
}

/// The parts of a path below the root, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let named = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let parts: Vec<&OsStr> = named.map(Component::as_os_str).collect();
    parts.into_iter().rev().map(OsStr::to_owned).collect()
}

fn field<'a>(control: &'a str, name: &str) -> Option<&'a str> {
    control
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

fn needed(file: &Path) -> Result<Vec<String>> {
    let names = output(Command::new("patchelf").arg("--print-needed").arg(file))?;
    // The dynamic linker is in the base, where the kernel looks for it.
    let libraries = names.lines().filter(|name| !name.starts_with("ld-linux"));
    Ok(libraries.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn unpacked(name: &str, owners: &[(&str, &str)]) -> Unpacked {
        let root = std::env::temp_dir().join(format!("wsc-debian-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        let owner = |(path, package): &(&str, &str)| (PathBuf::from(path), (*package).to_owned());
        Unpacked {
            root,
            owners: owners.iter().map(owner).collect(),
            controls: BTreeMap::new(),
        }
    }

    #[test]
    fn a_linked_file_belongs_to_both_packages() {
        let unpacked = unpacked("owners", &[("usr/bin/server", "a"), ("usr/bin/check", "b")]);
        let bin = unpacked.root.join("usr/bin");
        fs::write(bin.join("check"), "").unwrap();
        symlink("check", bin.join("server")).unwrap();
        let (path, owners) = unpacked.follow("usr/bin/server").unwrap();
        assert_eq!(
            (path.as_path(), owners),
            (Path::new("usr/bin/check"), vec!["a", "b"])
        );
        fs::remove_dir_all(unpacked.root).unwrap();
    }

    #[test]
    fn links_stay_below_the_root() {
        let unpacked = unpacked("links", &[]);
        fs::write(unpacked.root.join("usr/bin/passwd"), "").unwrap();
        for (name, target) in [
            ("absolute", "/usr/bin"),
            ("above", "../../../usr/bin"),
            ("plain", "usr/bin"),
        ] {
            symlink(target, unpacked.root.join(name)).unwrap();
            let (path, _) = unpacked.follow(&format!("{name}/passwd")).unwrap();
            assert_eq!(path, Path::new("usr/bin/passwd"), "{target}");
        }
        symlink("/etc/passwd", unpacked.root.join("machine")).unwrap();
        symlink("circle", unpacked.root.join("circle")).unwrap();
        for wrong in ["machine", "circle", "usr/bin/none", "usr/bin"] {
            assert!(unpacked.follow(wrong).is_err(), "{wrong}");
        }
        fs::remove_dir_all(unpacked.root).unwrap();
    }

    #[test]
    fn a_field_is_that_of_its_name() {
        let control = "Package: x\nInstalled-Size: 5\nVersion: 1:2-3\nDescription: Version: 9\n";
        assert_eq!(field(control, "Version"), Some("1:2-3"));
        assert_eq!(field(control, "Vers"), None);
    }
}
