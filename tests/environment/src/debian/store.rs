//! The trees of one set of versions in the cache, and when they are replaced.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::apt::Apt;
use super::package::{self, Package, Record};
use super::suite::SUITE;
use super::trees;
use crate::cache::{Cache, Key};
use crate::steps::Steps;

/// Packages that files are taken from; apt adds what they depend on.
const PACKAGES: [&str; 6] = [
    "base-files", // /etc/os-release, by which scanners know the distribution
    "ca-certificates",
    "haproxy",
    "libgcc-s1",
    "redis-server",
    "redis-tools",
];

/// Counts up when other files are taken from the same packages.
const RECIPE: &str = "1";

/// The index is downloaded again after this time.
const INDEX_MAX_AGE: Duration = Duration::from_hours(24);

/// Trees that no checkout on this machine has used for this time are removed.
const UNUSED_MAX_AGE: Duration = Duration::from_hours(7 * 24);

/// Names of what is removed when it is unused: everything that is made from packages.
const PREFIXES: [&str; 2] = ["debian-", "programs-"];

/// A folder of files and the packages that they are from.
pub(crate) struct Tree {
    pub(crate) files: PathBuf,
    pub(crate) packages: BTreeSet<Package>,
}

impl Tree {
    /// Changes with the version of every package in it.
    pub(crate) fn key(&self) -> Key {
        let key = Key::default().text(SUITE).text(RECIPE);
        self.packages
            .iter()
            .fold(key, |key, package| key.text(&package.to_string()))
    }
}

/// The trees of one set of versions.
pub(crate) struct Debian {
    folder: PathBuf,
}

impl Debian {
    /// What every image holds: glibc, libgcc, CA certificates, users.
    pub(crate) fn base(&self) -> Result<Tree> {
        self.tree(trees::BASE)
    }

    /// What the image of this name holds above the base; `None` when that is nothing of Debian's.
    pub(crate) fn above(&self, image: &str) -> Result<Option<Tree>> {
        trees::has(image).then(|| self.tree(image)).transpose()
    }

    /// All trees.
    pub(crate) fn all(&self) -> Result<Vec<Tree>> {
        trees::names().map(|name| self.tree(name)).collect()
    }

    fn tree(&self, name: &str) -> Result<Tree> {
        let list = self.folder.join(format!("{name}.packages"));
        let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
        Ok(Tree {
            files: self.folder.join(name),
            packages: package::parse_list(&text)?,
        })
    }
}

/// The newest trees, or, when the archive cannot be reached, those of the last time.
pub(crate) fn provide(cache: &Cache, steps: &Steps) -> Result<Debian> {
    let _lock = cache.lock_for("debian")?;
    let file = record_file(cache);
    let kept = fs::read_to_string(&file)
        .ok()
        .and_then(|text| Record::parse(&text))
        .filter(|record| cache.path(folder_name(&record.packages)).exists());
    let record = match kept {
        Some(kept) if kept.age(SystemTime::now()).is_some_and(|age| age < INDEX_MAX_AGE) => kept,
        Some(kept) => refresh(cache, steps, &file).unwrap_or_else(|err| {
            let haproxy = kept.packages.iter().find(|package| package.name == "haproxy");
            let haproxy = haproxy.map(ToString::to_string).unwrap_or_default();
            steps.note(&format!(
                "keeping {haproxy} and the other packages: {}",
                package::cause(&err)
            ));
            kept
        }),
        None => refresh(cache, steps, &file)?,
    };
    let folder = cache.path(folder_name(&record.packages));
    used(&folder)?;
    Ok(Debian { folder })
}

/// The versions that the archive has now.
pub fn newest(cache: &Cache) -> Result<BTreeSet<Package>> {
    let _lock = cache.lock_for("debian")?;
    let apt = Apt::new(cache)?;
    apt.update()?;
    apt.resolve(&PACKAGES)
}

/// Downloads the index and, when there are other versions, their packages.
fn refresh(cache: &Cache, steps: &Steps, file: &Path) -> Result<Record> {
    let apt = Apt::new(cache)?;
    let packages = steps.run("package index of Debian 13", || {
        apt.update()?;
        apt.resolve(&PACKAGES)
    })?;
    let name = folder_name(&packages);
    if !cache.path(&name).exists() {
        let haproxy = package::upstream_of(&packages, "haproxy");
        let redis = package::upstream_of(&packages, "redis-server");
        let step = format!("HAProxy {haproxy} and Redis {redis} out of Debian 13");
        steps.run(&step, || {
            cache.folder(&name, |folder| {
                let archives = apt.download(&PACKAGES)?;
                trees::fill(&archives, folder)?;
                Ok(fs::remove_dir_all(archives)?)
            })
        })?;
    }
    let record = Record::new(SystemTime::now(), packages);
    fs::write(file, record.to_string()).with_context(|| format!("writing {}", file.display()))?;
    remove_unused(cache)?;
    Ok(record)
}

/// Which versions were the newest, and when that was: one file per set of packages.
fn record_file(cache: &Cache) -> PathBuf {
    let key = PACKAGES
        .iter()
        .fold(Key::default().text(SUITE), |key, name| key.text(name));
    cache.path(format!("debian-index-{}.txt", key.finish()))
}

fn folder_name(packages: &BTreeSet<Package>) -> String {
    let key = Key::default().text(SUITE).text(RECIPE);
    let key = packages
        .iter()
        .fold(key, |key, package| key.text(&package.to_string()));
    format!("debian-{}", key.finish())
}

/// Marks a folder as used now.
pub(super) fn used(folder: &Path) -> Result<()> {
    fs::File::open(folder)
        .and_then(|folder| folder.set_modified(SystemTime::now()))
        .with_context(|| format!("marking {} as used", folder.display()))
}

fn remove_unused(cache: &Cache) -> Result<()> {
    for entry in fs::read_dir(cache.path(""))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age < UNUSED_MAX_AGE || !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if entry.path().is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(lines: &str) -> BTreeSet<Package> {
        package::parse_list(lines).unwrap()
    }

    fn tree(lines: &str) -> Tree {
        Tree {
            files: PathBuf::new(),
            packages: packages(lines),
        }
    }

    #[test]
    fn a_key_changes_with_every_version() {
        let one = "haproxy 3.0.11-1+deb13u4\nlibssl3t64 3.5.9-1~deb13u1\n";
        let security_update = one.replace("deb13u4", "deb13u5");
        let library_update = one.replace("3.5.9", "3.5.10");
        for other in [&security_update, &library_update] {
            assert_ne!(tree(one).key().finish(), tree(other).key().finish());
            assert_ne!(folder_name(&packages(one)), folder_name(&packages(other)));
        }
    }

    #[test]
    fn a_key_does_not_depend_on_order() {
        let (one, other) = ("a 1\nb 2\n", "b 2\na 1\n");
        assert_eq!(tree(one).key().finish(), tree(other).key().finish());
    }

    #[test]
    fn kept_trees_survive_an_unreachable_archive() {
        let cache = Cache::for_test("debian-kept");
        let old = Record::new(SystemTime::UNIX_EPOCH, packages("haproxy 3.0.11-1\n"));
        fs::write(record_file(&cache), old.to_string()).unwrap();
        let folder = cache.path(folder_name(&old.packages));
        fs::create_dir_all(&folder).unwrap();
        // A file where apt's folder has to be: the refresh fails before it reaches a network.
        fs::write(cache.path("apt"), "").unwrap();
        let kept = provide(&cache, &Steps::new()).unwrap();
        assert_eq!(kept.folder, folder);
        fs::remove_dir_all(&folder).unwrap();
        assert!(
            provide(&cache, &Steps::new()).is_err(),
            "without a tree there is nothing to keep"
        );
        fs::remove_dir_all(cache.path("")).unwrap();
    }

    #[test]
    fn only_unused_trees_are_removed() {
        let cache = Cache::for_test("debian-unused");
        for name in ["debian-old", "debian-new", "programs-old", "kubernetes-old"] {
            fs::create_dir_all(cache.path(name)).unwrap();
            let folder = fs::File::open(cache.path(name)).unwrap();
            folder
                .set_modified(SystemTime::now() - UNUSED_MAX_AGE * 2)
                .unwrap();
        }
        used(&cache.path("debian-new")).unwrap();
        remove_unused(&cache).unwrap();
        let left = |name: &str| cache.path(name).exists();
        assert!(!left("debian-old") && !left("programs-old"));
        assert!(left("debian-new") && left("kubernetes-old"));
        fs::remove_dir_all(cache.path("")).unwrap();
    }
}
