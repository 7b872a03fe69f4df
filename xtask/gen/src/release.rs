//! `tests/releases/VERSION`: what a later version meets when it takes over from this one.
//!
//! The snapshot is written once, from the commit of the release, and only read afterwards.

mod chart;
mod clusters;
mod examples;
mod normalise;
mod processes;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::{flags, metrics};

/// Writes tests/releases/VERSION from this checkout and its built programs
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The version of the workspace
    version: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let version = options.version.as_str();
    ensure!(
        version == env!("CARGO_PKG_VERSION"),
        "the workspace has version {}, not {version}",
        env!("CARGO_PKG_VERSION")
    );
    let root = &crate::root();
    let folder = Folder::create(root.join("tests/releases").join(version))?;
    folder.write("crd.yaml", &yaml(&[wsc_api::crd()])?)?;
    folder.write("flags.yaml", &yaml(&[flags::all()])?)?;
    for (program, metrics) in metrics::all() {
        folder.write(&format!("metrics/{program}.yaml"), &yaml(&[metrics])?)?;
    }
    for (name, resource) in examples::all(root)? {
        clusters::render(&resource, version)?.write(&folder, &name, &resource)?;
    }
    folder.write("accepted.yaml", &yaml(&examples::accepted()?)?)?;
    chart::write(root, &folder)?;
    let runtime = tokio::runtime::Runtime::new().context("starting tokio")?;
    runtime.block_on(processes::write(&folder))
}

/// The folder of one release. It is written anew each time.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn create(path: PathBuf) -> Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(Self { path })
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
    }
}

/// One YAML document for each value.
fn yaml<T: Serialize>(values: &[T]) -> Result<String> {
    let documents = values.iter().map(serde_yaml::to_string);
    let documents: Vec<String> = documents.collect::<Result<_, _>>().context("writing YAML")?;
    Ok(documents.join("---\n"))
}

/// A variable that `cargo xtask release-snapshot` sets.
fn variable(name: &str) -> Result<OsString> {
    std::env::var_os(name).with_context(|| format!("{name} is not set: run `cargo xtask release-snapshot`"))
}
