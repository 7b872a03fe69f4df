//! `cargo xtask sim`: builds the simulator and runs it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::publish;
use wsc_environment::cache::Cache;
use wsc_environment::steps::Steps;
use wsc_environment::{cargo, repository};

/// Options of the simulator.
#[derive(Args)]
pub(crate) struct SimArgs {
    /// Of all that is random
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Write the rows, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the day of the larger pool as a picture, as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Publish the rows in docs/benchmarks.md, and the picture beside it
    #[arg(long, conflicts_with_all = ["seed", "svg"])]
    pub(crate) docs: bool,
}

const PICTURE: &str = "docs/images/simulated-day.svg";

pub(crate) fn run(args: &SimArgs) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let mut sim = Command::new(cargo::program(&cache, &Steps::new(), "wsc-sim")?);
    if let Some(seed) = args.seed {
        sim.arg("--seed").arg(seed.to_string());
    }
    let picture = args.docs.then(|| repository::path(PICTURE));
    for (flag, file) in [("--json", &args.json), ("--svg", &args.svg.clone().or(picture))] {
        if let Some(file) = file {
            sim.arg(flag).arg(file);
        }
    }
    let table = cache.path("sim.md");
    sim.arg("--markdown").arg(&table);
    let status = sim.status().context("starting the simulator")?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    if args.docs {
        publish::section("sim", &fs::read_to_string(&table)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
