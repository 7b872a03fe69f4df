//! `cargo xtask audit`: crates with a known vulnerability, and packages of Debian in the images of
//! which there is a newer version. Apart from CI: the answer for one commit changes from day to
//! day.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use wsc_environment::cache::Cache;
use wsc_environment::debian::{self, Package};
use wsc_environment::process::output;
use wsc_environment::steps::Steps;
use wsc_environment::{images, repository};

use crate::test::lint::deny;

const RUSTSEC: &str = "https://github.com/RustSec/advisory-db";

/// One line of the table.
#[derive(Debug, PartialEq)]
struct Row {
    package: String,
    images: String,
    held: String,
    newest: String,
    is_current: bool,
}

impl Row {
    fn state(&self) -> &'static str {
        if self.is_current { "current" } else { "outdated" }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            package,
            images,
            held,
            newest,
            ..
        } = self;
        write!(
            f,
            "{package:<30} {images:<30} {held:<26} {newest:<26} {}",
            self.state()
        )
    }
}

/// Fails when something is vulnerable or outdated, and when that could not be checked.
pub(crate) fn run() -> Result<ExitCode> {
    let cache = Cache::open()?;
    let steps = Steps::new();
    let debian = steps.run("package index of Debian 13", || debian_rows(&cache));
    let deny = deny::provide(&cache, &steps)?;
    let crates = advisories(&deny, &steps);
    let mut passed = true;
    match debian {
        Ok(rows) => {
            passed &= rows.iter().all(|row| row.is_current);
            print_table(&rows);
        }
        Err(err) => {
            passed = false;
            println!("images: not checked: {err:#}");
        }
    }
    match crates {
        Ok(()) => println!("crates: no advisory of RustSec applies to Cargo.lock"),
        Err(err) => {
            passed = false;
            println!("crates: {err:#}");
        }
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_table(rows: &[Row]) {
    println!(
        "{:<30} {:<30} {:<26} {:<26} state",
        "package", "images", "version held", "newest in Debian 13"
    );
    for row in rows {
        println!("{row}");
    }
    if rows.iter().any(|row| !row.is_current) {
        println!("images: outdated; `cargo xtask images` builds them with the newest versions");
    } else {
        println!("images: every package is the newest of Debian 13, with its security updates");
    }
}

fn debian_rows(cache: &Cache) -> Result<Vec<Row>> {
    let held = images::packages(cache)?;
    let newest = debian::newest(cache).context("Debian's archive could not be reached")?;
    Ok(rows(&held, &newest))
}

/// One row for each package in each version that an image holds.
fn rows(held: &BTreeMap<&str, BTreeSet<Package>>, newest: &BTreeSet<Package>) -> Vec<Row> {
    let mut images: BTreeMap<&Package, Vec<&str>> = BTreeMap::new();
    for (image, packages) in held {
        for package in packages {
            images.entry(package).or_default().push(image);
        }
    }
    let row = |(package, images): (&Package, Vec<&str>)| {
        let newest = newest.iter().find(|other| other.name == package.name);
        Row {
            package: package.name.clone(),
            images: images.join(" "),
            held: package.version.clone(),
            newest: newest.map_or_else(|| "none".to_owned(), |newest| newest.version.clone()),
            is_current: newest == Some(package),
        }
    };
    images.into_iter().map(row).collect()
}

/// Two steps, so that a database that cannot be downloaded is not taken for a clean bill.
fn advisories(deny: &Path, steps: &Steps) -> Result<()> {
    let run = |args: &[&str]| output(repository::cargo_tool(deny).args(args));
    steps
        .run("advisories of RustSec", || run(&["--locked", "fetch", "db"]))
        .with_context(|| format!("not checked: {RUSTSEC} could not be fetched"))?;
    let checked = run(&["--locked", "check", "--hide-inclusion-graph", "advisories"]);
    if let Err(err) = checked {
        bail!("an advisory applies to Cargo.lock:\n{err:#}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(list: &[(&str, &str)]) -> BTreeSet<Package> {
        let package = |(name, version): &(&str, &str)| Package {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
        };
        list.iter().map(package).collect()
    }

    #[test]
    fn a_newer_version_makes_an_image_outdated() {
        let held = BTreeMap::from([
            (
                "proxy",
                packages(&[("haproxy", "3.0.11-1+deb13u4"), ("libc6", "2.41-12")]),
            ),
            ("redis", packages(&[("libc6", "2.41-12"), ("liblzf1", "3.6-4")])),
        ]);
        let newest = packages(&[
            ("haproxy", "3.0.11-1+deb13u5"),
            ("libc6", "2.41-12"),
            ("zlib1g", "1"),
        ]);
        let rows = rows(&held, &newest);
        let seen: Vec<(&str, &str, &str, bool)> = rows
            .iter()
            .map(|row| (&*row.package, &*row.images, &*row.newest, row.is_current))
            .collect();
        let expected = [
            ("haproxy", "proxy", "3.0.11-1+deb13u5", false),
            ("libc6", "proxy redis", "2.41-12", true),
            ("liblzf1", "redis", "none", false),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn images_in_two_versions_are_two_rows() {
        let held = BTreeMap::from([
            ("proxy", packages(&[("libssl3t64", "3.5.8")])),
            ("redis", packages(&[("libssl3t64", "3.5.9")])),
        ]);
        let rows = rows(&held, &packages(&[("libssl3t64", "3.5.9")]));
        let states: Vec<(&str, &str)> = rows.iter().map(|row| (&*row.images, row.state())).collect();
        assert_eq!(states, [("proxy", "outdated"), ("redis", "current")]);
    }
}
