//! apt with a state of its own: another suite than the machine's, and the machine is not changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::package::{Package, parse_simulation};
use super::suite::{SUITE, architecture};
use crate::cache::Cache;
use crate::process::{logged, output};

const MIRROR: &str = "http://deb.debian.org";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A connection without an answer ends after this time.
const TIMEOUT_SECONDS: u32 = 15;

/// `~/.cache/websocket-operator/apt`. The caller holds the lock of Debian.
pub(super) struct Apt {
    folder: PathBuf,
    log: PathBuf,
}

impl Apt {
    pub(super) fn new(cache: &Cache) -> Result<Self> {
        let folder = cache.path("apt");
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("archives/partial"))?;
        fs::write(folder.join("sources.list"), sources())?;
        // Nothing is installed there, so apt resolves all dependencies.
        fs::write(folder.join("status"), "")?;
        let log = cache.path("apt.log");
        Ok(Self { folder, log })
    }

    /// Downloads the signed index of the suite, of its updates and of its security updates.
    pub(super) fn update(&self) -> Result<()> {
        logged(self.get().arg("update"), &self.log)
    }

    /// The newest versions of the packages and of all that they depend on.
    pub(super) fn resolve(&self, names: &[&str]) -> Result<BTreeSet<Package>> {
        let simulated = output(self.get().args(["--simulate", "install"]).args(names))?;
        let packages = parse_simulation(&simulated);
        for name in names {
            let found = packages.iter().any(|package| package.name == *name);
            ensure!(found, "apt reports no version of {name} to install");
        }
        Ok(packages)
    }

    /// Downloads these versions into a new folder; apt checks the signed sums.
    pub(super) fn download(&self, names: &[&str]) -> Result<PathBuf> {
        let archives = self.folder.join("archives");
        fs::remove_dir_all(&archives)?;
        fs::create_dir_all(archives.join("partial"))?;
        let mut install = self.get();
        install.args(["--yes", "--download-only", "install"]).args(names);
        logged(&mut install, &self.log)?;
        Ok(archives)
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        for option in options(&self.folder) {
            command.args(["-o", &option]);
        }
        command
    }
}

fn sources() -> String {
    [
        ("debian", String::from(SUITE)),
        ("debian", format!("{SUITE}-updates")),
        ("debian-security", format!("{SUITE}-security")),
    ]
    .map(|(archive, suite)| format!("deb [signed-by={KEYRING}] {MIRROR}/{archive} {suite} main\n"))
    .concat()
}

/// What the machine's own configuration must not decide. Its proxies stay in force.
fn options(folder: &Path) -> Vec<String> {
    let folder = folder.display();
    vec![
        format!("Dir::State={folder}"),
        format!("Dir::State::lists={folder}/lists"),
        format!("Dir::State::status={folder}/status"),
        format!("Dir::Cache={folder}"),
        format!("Dir::Cache::archives={folder}/archives"),
        "Dir::Cache::pkgcache=".to_owned(),
        "Dir::Cache::srcpkgcache=".to_owned(),
        format!("Dir::Etc::sourcelist={folder}/sources.list"),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        "Dir::Etc::preferences=/dev/null".to_owned(),
        "Dir::Etc::preferencesparts=/dev/null".to_owned(),
        format!("APT::Architecture={}", architecture().name),
        format!("APT::Architectures={}", architecture().name),
        "APT::Default-Release=".to_owned(),
        "APT::Install-Recommends=false".to_owned(),
        // The cache may be in a home that apt's own user cannot enter.
        "APT::Sandbox::User=root".to_owned(),
        // An index that could not be downloaded is an error, not an older index.
        "APT::Update::Error-Mode=any".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::GzipIndexes=true".to_owned(),
        "Acquire::Retries=1".to_owned(),
        format!("Acquire::http::Timeout={TIMEOUT_SECONDS}"),
    ]
}
