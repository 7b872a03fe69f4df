//! Circles of imports between the files of a crate: files that cannot be read one after the other.
//!
//! A file imports another one by `use` or by a path in place. A re-export is followed to the file
//! that has the item, and counts as an import of its own file only where that uses the name. Code
//! for tests does not count.

mod graph;
mod paths;

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::modules;
use graph::Graph;
use wsc_environment::repository;

/// An error lists the files of each circle, a circle on a line.
pub(super) fn check(manifests: &[String]) -> Result<()> {
    let folder = repository::root();
    let name = |file: &PathBuf| file.strip_prefix(&folder).unwrap_or(file).display().to_string();
    let mut found = Vec::new();
    for root in modules::roots(manifests)? {
        let circles = Graph::of(&root)?.circles().into_iter();
        found.extend(circles.map(|circle| circle.iter().map(name).collect::<Vec<_>>().join(" ")));
    }
    if !found.is_empty() {
        bail!("files import each other in circles:\n{}", found.join("\n"));
    }
    Ok(())
}
