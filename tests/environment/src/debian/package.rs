//! Names and versions of Debian packages: as apt prints them, as the cache and the images keep
//! them.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

/// A package in one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    pub name: String,
    /// With epoch and revision: `5:8.0.2-3+deb13u3`.
    pub version: String,
}

impl Package {
    /// `haproxy 3.0.11-1`.
    fn parse(line: &str) -> Option<Self> {
        let (name, version) = line.trim().split_once(' ')?;
        let well = !name.is_empty() && !version.is_empty() && !version.contains(' ');
        well.then(|| Self {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }

    /// `Inst haproxy (3.0.11-1 Debian:13.8/stable [amd64]) []`, a line of `apt-get --simulate`.
    fn parse_simulated(line: &str) -> Option<Self> {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
        let version = rest.split([' ', ')']).next()?;
        Self::parse(&format!("{name} {version}"))
    }

    /// The version that the authors of the program gave it: without epoch and Debian's revision.
    pub(super) fn upstream(&self) -> &str {
        let version = self
            .version
            .split_once(':')
            .map_or(&*self.version, |(_, rest)| rest);
        version.rsplit_once('-').map_or(version, |(upstream, _)| upstream)
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// One package in a line.
pub(crate) fn parse_list(text: &str) -> Result<BTreeSet<Package>> {
    text.lines()
        .map(|line| {
            Package::parse(line).with_context(|| format!("{line:?} is not a package and its version"))
        })
        .collect()
}

/// The packages in one line, for a label: `haproxy=3.0.11-1 redis-tools=5:8.0.2-3`.
pub(crate) fn words(packages: &BTreeSet<Package>) -> String {
    let words: Vec<String> = packages
        .iter()
        .map(|package| format!("{}={}", package.name, package.version))
        .collect();
    words.join(" ")
}

/// The packages of such a line; an error when there are none.
pub(crate) fn parse_words(line: &str) -> Result<BTreeSet<Package>> {
    let lines = line.replace(' ', "\n").replace('=', " ");
    let packages = parse_list(&lines)?;
    ensure!(!packages.is_empty(), "no package");
    Ok(packages)
}

/// All that `apt-get --simulate install` would install.
pub(super) fn parse_simulation(text: &str) -> BTreeSet<Package> {
    text.lines().filter_map(Package::parse_simulated).collect()
}

/// The upstream version of the package of this name.
pub(super) fn upstream_of<'a>(packages: &'a BTreeSet<Package>, name: &str) -> &'a str {
    let package = packages.iter().find(|package| package.name == name);
    package.map_or("", Package::upstream)
}

/// The newest versions, and when they were the newest.
#[derive(Debug, PartialEq)]
pub(super) struct Record {
    checked_unix_s: u64,
    pub(super) packages: BTreeSet<Package>,
}

impl Record {
    pub(super) fn new(now: SystemTime, packages: BTreeSet<Package>) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            checked_unix_s: since.as_secs(),
            packages,
        }
    }

    /// `None` for a text that this program did not write.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, list) = text.split_once('\n')?;
        Some(Self {
            checked_unix_s: first.strip_prefix("checked ")?.parse().ok()?,
            packages: parse_list(list).ok()?,
        })
    }

    /// `None` for a time in the future, as after the clock was set back.
    pub(super) fn age(&self, now: SystemTime) -> Option<Duration> {
        let checked = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.checked_unix_s))?;
        now.duration_since(checked).ok()
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "checked {}", self.checked_unix_s)?;
        self.packages
            .iter()
            .try_for_each(|package| writeln!(f, "{package}"))
    }
}

/// The line of apt's log that names the cause, else the first line.
pub(super) fn cause(err: &anyhow::Error) -> String {
    let text = format!("{err:#}");
    let lines = || text.lines().map(str::trim);
    let by_apt = lines().find(|line| line.starts_with("E: "));
    by_apt.or_else(|| lines().next()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIMULATED: &str = "\
Reading package lists...
Inst libssl3t64 (3.5.9-1~deb13u1 Debian:13.8/stable [amd64])
Inst zlib1g (1:1.3.dfsg+really1.3.1-1+deb13u1 Debian:13.8/stable, Debian-Security:13/stable-security [amd64])
Inst libgcc-s1 (14.2.0-19 Debian:13.8/stable [amd64]) []
Conf haproxy (3.0.11-1+deb13u5 Debian-Security:13/stable-security [amd64])
";

    #[test]
    fn versions_are_those_that_apt_would_install() {
        let found: Vec<String> = parse_simulation(SIMULATED)
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "libgcc-s1 14.2.0-19",
            "libssl3t64 3.5.9-1~deb13u1",
            "zlib1g 1:1.3.dfsg+really1.3.1-1+deb13u1",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn upstream_version_has_no_epoch_nor_revision() {
        let upstream = |version: &str| {
            let line = format!("x {version}");
            Package::parse(&line).unwrap().upstream().to_owned()
        };
        assert_eq!(upstream("5:8.0.2-3+deb13u3"), "8.0.2");
        assert_eq!(upstream("3.0.11-1+deb13u5"), "3.0.11");
        assert_eq!(upstream("2.0-rc1-4"), "2.0-rc1");
        assert_eq!(upstream("20250419+deb13u1"), "20250419+deb13u1");
    }

    #[test]
    fn lists_that_are_broken_are_refused() {
        for broken in [
            "haproxy",
            "haproxy ",
            " 3.0",
            "haproxy 3.0 extra",
            "haproxy 3.0\n\n",
        ] {
            assert!(parse_list(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_label_is_read_as_written() {
        let packages = parse_simulation(SIMULATED);
        assert_eq!(parse_words(&words(&packages)).unwrap(), packages);
        for broken in ["", "haproxy", "haproxy=", "=3.0", "a=1  b=2"] {
            assert!(parse_words(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_record_is_read_as_written() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let record = Record::new(now, parse_simulation(SIMULATED));
        assert_eq!(Record::parse(&record.to_string()), Some(record));
        assert_eq!(Record::parse("checked soon\nhaproxy 3.0\n"), None);
        assert_eq!(Record::parse(""), None);
    }

    #[test]
    fn record_of_the_future_has_no_age() {
        let record = Record::new(SystemTime::UNIX_EPOCH + Duration::from_secs(100), BTreeSet::new());
        let at = |seconds| record.age(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(160), Some(Duration::from_mins(1)));
        assert_eq!(at(99), None);
    }

    #[test]
    fn the_cause_is_the_error_of_apt() {
        let err = anyhow::anyhow!(
            "apt-get exited with 100, log x:\nErr:1 http://y\nE: Could not resolve 'y'\nmore"
        );
        assert_eq!(cause(&err), "E: Could not resolve 'y'");
        assert_eq!(cause(&anyhow::anyhow!("no apt-get\nmore")), "no apt-get");
    }
}
