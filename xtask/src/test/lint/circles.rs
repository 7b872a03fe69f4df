//! Circles of imports between the files of a crate: files that cannot be read one after the other.
//!
//! A file imports another one by `use` or by a path in place. A re-export is followed to the file that has the item, and counts as an
//! import of its own file only where that uses the name. Code for tests does not count.

mod graph;
mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::modules::{self, Crate};
use graph::Graph;
use wsc_environment::repository;

/// Circles that are known: a package's folder, and how many of its files are in one. The numbers only fall.
const KNOWN: &str = "xtask/import-circles.tsv";

/// Fails on files in a circle that are not known, and on known ones that are gone.
pub(super) fn check(manifests: &[String]) -> Result<()> {
    let text = fs::read_to_string(repository::path(KNOWN)).with_context(|| format!("reading {KNOWN}"))?;
    let known = known(&text)?;
    let found = circles(&modules::crates(manifests)?)?;
    let wrong = differences(&known, &found);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// The circles of each package that has some.
fn circles(crates: &[Crate]) -> Result<BTreeMap<String, Vec<Vec<PathBuf>>>> {
    let root = repository::root();
    let mut found: BTreeMap<String, Vec<Vec<PathBuf>>> = BTreeMap::new();
    for one in crates {
        let mut circles = Graph::of(&one.root)?.circles();
        for circle in &mut circles {
            for file in circle {
                *file = file.strip_prefix(&root).unwrap_or(file).to_owned();
            }
        }
        let package = one.package.strip_prefix(&root).unwrap_or(&one.package);
        if !circles.is_empty() {
            let name = package.to_string_lossy().into_owned();
            found.entry(name).or_default().extend(circles);
        }
    }
    Ok(found)
}

fn known(text: &str) -> Result<BTreeMap<String, usize>> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (package, count) = line
                .split_once('\t')
                .with_context(|| format!("{KNOWN}: {line}"))?;
            Ok((package.to_owned(), count.parse()?))
        })
        .collect()
}

fn differences(known: &BTreeMap<String, usize>, found: &BTreeMap<String, Vec<Vec<PathBuf>>>) -> Vec<String> {
    let packages: BTreeSet<&String> = known.keys().chain(found.keys()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let circles = found.get(package).map_or(&[][..], Vec::as_slice);
        let (now, allowed) = (count(circles), known.get(package).copied().unwrap_or(0));
        if now > allowed {
            wrong.push(format!(
                "{package}: {now} files import each other in circles, {allowed} are known:"
            ));
            wrong.extend(circles.iter().map(|circle| format!("  {}", names(circle))));
        } else if now < allowed {
            wrong.push(format!(
                "{package}: {now} files are left in circles: write {now} instead of {allowed} in {KNOWN}"
            ));
        }
    }
    wrong
}

fn count(circles: &[Vec<PathBuf>]) -> usize {
    circles.iter().map(Vec::len).sum()
}

fn names(circle: &[PathBuf]) -> String {
    let names: Vec<_> = circle
        .iter()
        .map(|file: &PathBuf| Path::display(file).to_string())
        .collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_circles_only_shrink() {
        let known = known("# package\tfiles\na\t2\nb\t2\n").unwrap();
        let circle = |files: [&str; 2]| files.map(PathBuf::from).to_vec();
        let found = |package: &str, circles: Vec<Vec<PathBuf>>| (package.to_owned(), circles);
        let same = [
            found("a", vec![circle(["x", "y"])]),
            found("b", vec![circle(["x", "y"])]),
        ];
        assert_eq!(differences(&known, &BTreeMap::from(same)), [""; 0]);
        let other = [
            found("a", vec![circle(["x", "y"]), circle(["u", "v"])]),
            found("c", vec![circle(["x", "y"])]),
        ];
        assert_eq!(
            differences(&known, &BTreeMap::from(other)),
            [
                "a: 4 files import each other in circles, 2 are known:",
                "  x y",
                "  u v",
                "b: 0 files are left in circles: write 0 instead of 2 in xtask/import-circles.tsv",
                "c: 2 files import each other in circles, 0 are known:",
                "  x y"
            ]
        );
    }
}
