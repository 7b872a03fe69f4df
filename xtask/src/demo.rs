//! `cargo xtask demo`: a Kubernetes, the images, and then the demo program where it can reach both.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::cluster::{self, Cluster};
use crate::commands::DemoArgs;
use crate::images::Images;
use crate::steps::Steps;
use crate::{cargo, environment, images, interrupt, machine};

/// Signal 2 as an exit code, as shells have it.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let steps = Steps::new();
    machine::packages(&steps)?;
    machine::need_root("the demo")?;
    interrupt::hold()?;
    let outcome = demo(&cache, &steps, args);
    // With --keep the cluster stays for looking around, unless the demo was broken off.
    if !args.keep || interrupt::happened() {
        cluster::down(&cache, &steps)?;
    }
    if interrupt::happened() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    outcome
}

fn demo(cache: &Cache, steps: &Steps, args: &DemoArgs) -> Result<ExitCode> {
    let programs = step(steps, "cargo build --release", cargo::programs)?;
    let cluster = cluster::up(cache, steps, None)?;
    going_on()?;
    let images = images::provide(cache, steps, &programs, &cluster)?;
    going_on()?;
    let _in_use = cache.in_use()?;
    play(cache, &cluster, &images, programs.path("wsc-demo")?, args)
}

fn step<T>(steps: &Steps, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = steps.run(name, work);
    going_on()?;
    result
}

fn going_on() -> Result<()> {
    if interrupt::happened() {
        bail!("interrupted");
    }
    Ok(())
}

/// Runs the demo program on this terminal.
fn play(
    cache: &Cache,
    cluster: &Cluster,
    images: &Images,
    program: &Path,
    args: &DemoArgs,
) -> Result<ExitCode> {
    let mut command = cluster.client(program)?;
    command
        .envs(environment::of_cluster(cache, cluster)?)
        .envs(environment::of_images(images));
    if args.keep {
        command.arg("--keep");
    }
    if let Some(report) = &args.report {
        command
            .arg("--report")
            .arg(std::path::absolute(report).context("the report's path")?);
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
