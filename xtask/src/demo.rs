//! `cargo xtask demo`: a Kubernetes, the images, and then the demo program where it can reach both.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use wsc_environment::cache::Cache;
use wsc_environment::cluster::{self, Cluster};
use wsc_environment::plan::{self, Need};
use wsc_environment::steps::Steps;
use wsc_environment::{cargo, helm, images, interrupt, machine, variables};

/// Options of the demo.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Keep cluster and pool running and print commands to inspect them
    #[arg(long)]
    pub(crate) keep: bool,
    /// Write the report, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write a picture of the run, as SVG: clients, pods and closes over time
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Target duration of the run, in seconds
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u32>,
}

/// Signal 2 as an exit code, as shells have it.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    machine::need_root("the demo")?;
    let cache = Cache::open()?;
    let steps = Steps::new();
    let needs = [
        Need::DebianPackages,
        Need::Programs,
        Need::Helm,
        Need::Kubernetes,
        Need::Images,
    ];
    plan::announce(&cache, &steps, &needs)?;
    machine::packages(&steps)?;
    interrupt::hold()?;
    let whose = if Cluster::running(&cache).is_ok() {
        Whose::Theirs
    } else {
        Whose::Ours
    };
    let outcome = demo(&cache, &steps, args, whose);
    match whose {
        // With --keep the cluster stays for looking around, unless the demo was broken off.
        Whose::Ours if args.keep && !interrupt::happened() => {}
        Whose::Ours => cluster::down(&cache, &steps)?,
        Whose::Theirs => {
            steps.note("the cluster ran before and stays: `cargo xtask cluster down` ends it");
        }
    }
    if interrupt::happened() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    outcome
}

/// Who started the cluster, and so decides when it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// This demo.
    Ours,
    /// It ran before.
    Theirs,
}

fn demo(cache: &Cache, steps: &Steps, args: &DemoArgs, whose: Whose) -> Result<ExitCode> {
    let programs = cargo::programs(cache, steps)?;
    going_on()?;
    let cluster = cluster::up(cache, steps, None)?;
    going_on()?;
    let helm = helm::provide(cache, steps)?;
    let images = images::provide(cache, steps, &programs, &cluster)?;
    going_on()?;
    let _in_use = cache.in_use()?;
    let mut command = cluster.client(programs.path("wsc-demo")?)?;
    command
        .envs(variables::of_cluster(cache, &cluster, &helm)?)
        .envs(variables::of_images(&images));
    if whose == Whose::Ours {
        command.arg("--disposable");
    }
    play(command, args)
}

fn going_on() -> Result<()> {
    if interrupt::happened() {
        bail!("interrupted");
    }
    Ok(())
}

/// Runs the demo program on this terminal.
fn play(mut command: Command, args: &DemoArgs) -> Result<ExitCode> {
    if args.keep {
        command.arg("--keep");
    }
    for (flag, file) in [("--report", &args.report), ("--svg", &args.svg)] {
        if let Some(file) = file {
            let path = std::path::absolute(file).with_context(|| format!("the path of {flag}"))?;
            command.arg(flag).arg(path);
        }
    }
    if let Some(seconds) = args.seconds {
        command.arg("--seconds").arg(seconds.to_string());
    }
    let status = command.status().context("starting the demo")?;
    if status.signal().is_some() {
        // It ended by the signal that this process has got as well, and perhaps not noticed yet.
        interrupt::note();
    }
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
