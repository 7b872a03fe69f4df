//! `cargo xtask release-snapshot`: what later versions are tested against.

use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use clap::Args;
use wsc_environment::cache::Cache;
use wsc_environment::steps::Steps;
use wsc_environment::{cargo, debian, helm, machine, repository, variables};

#[derive(Args)]
pub(crate) struct ReleaseArgs {
    /// The version in Cargo.toml
    version: String,
}

/// Gives `wsc-gen` real programs to ask.
pub(crate) fn run(args: &ReleaseArgs) -> Result<ExitCode> {
    let folder = repository::path("tests/releases").join(&args.version);
    ensure!(
        !folder.exists(),
        "{} exists: a release is recorded once",
        folder.display()
    );
    let cache = Cache::open()?;
    let steps = Steps::new();
    machine::packages(&steps)?;
    let mut environment = variables::of_debian(&debian::programs(&cache, &steps)?);
    let helm = helm::provide(&cache, &steps)?;
    environment.push(("WSC_HELM", helm.into_os_string()));
    let ours = cargo::programs(&cache, &steps)?;
    environment.extend(variables::of_programs(&ours)?);
    let program = cargo::program(&cache, &steps, "wsc-gen")?;
    let mut command = Command::new(program);
    command
        .args(["release-snapshot", &args.version])
        .envs(environment);
    let status = steps.run("snapshot", || Ok(command.status()?))?;
    ensure!(status.success(), "wsc-gen ended with {status}");
    Ok(ExitCode::SUCCESS)
}
