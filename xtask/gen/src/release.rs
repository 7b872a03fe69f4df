//! `tests/releases/VERSION`: what a later version meets when it takes over from this one.
//!
//! The snapshot is written once, from the commit of the release, and only read afterwards.

mod chart;
pub(crate) mod clusters;
mod examples;
mod folder;
mod normalise;
mod processes;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use self::folder::{Folder, yaml};
use crate::{flags, metrics};

/// Writes tests/releases/VERSION from this checkout and its built programs
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The version of the workspace
    version: String,
}

pub(crate) fn run(options: &Options, root: &Path) -> Result<()> {
    let version = options.version.as_str();
    ensure!(
        version == env!("CARGO_PKG_VERSION"),
        "the workspace has version {}, not {version}",
        env!("CARGO_PKG_VERSION")
    );
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
