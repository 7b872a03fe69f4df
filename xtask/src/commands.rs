//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::audit;
use crate::bench::operator::{self, OperatorArgs};
use crate::bench::{self, BenchArgs};
use crate::demo::{self, DemoArgs};
use crate::release::{self, ReleaseArgs};
use crate::sim::{self, SimArgs};
use crate::test::{self, Tier};
use wsc_environment::cache::Cache;
use wsc_environment::cluster::{self, Cluster};
use wsc_environment::steps::Steps;
use wsc_environment::{cargo, helm, images, variables};

/// Development commands; each installs or builds what it needs
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a local Kubernetes, install the chart, scale a pool up and down, report PASSED or
    /// FAILED
    Demo(DemoArgs),
    /// Run lint and all tests, or one tier
    Test(TestArgs),
    /// Manage the local Kubernetes (one per machine)
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Build the images and load them into the local Kubernetes when it runs
    Images(ImagesArgs),
    /// Run the benchmarks of the server or of the operator
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Simulate a day of clients under the operator's decisions, beside the rules of the HPA
    Sim(SimArgs),
    /// Write the CRD and the reference pages: fields, contracts, flags, metrics
    Gen(GenArgs),
    /// Write tests/releases/VERSION, which later versions are tested against
    ReleaseSnapshot(ReleaseArgs),
    /// Check crates against RustSec, and HAProxy and Redis in the images against Debian 13
    Audit,
    /// The forwarder that `cluster up` starts
    #[command(hide = true)]
    Forward { state: PathBuf, cluster: i32 },
}

#[derive(Subcommand)]
enum BenchCommand {
    /// The server beside a floor and peers: memory, handshakes, broadcasts, echo, 100,000
    /// connections, two processes on Redis, start
    Server(BenchArgs),
    /// The operator with 1,000 clusters, and with one of 2,000 pods, of stand-in pods on an API
    /// server without nodes
    Operator(OperatorArgs),
}

#[derive(Args)]
struct TestArgs {
    /// Only this tier
    tier: Option<Tier>,
    /// Only tests whose name contains this
    #[arg(requires = "tier")]
    filter: Option<String>,
    #[command(flatten)]
    simulation: test::Simulation,
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Start or repair it; a healthy one is not changed
    Up {
        /// Number of nodes (default: the current number, or 1)
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
        nodes: Option<u8>,
    },
    /// Stop it and remove its files
    Down,
    /// Show its files, nodes and pods
    Status,
    /// Run kubectl as cluster administrator: `cargo xtask cluster kubectl -- get pods -A`
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run a command in the cluster's network, with KUBECONFIG and the WSC_ variables of the tests
    Client {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Args)]
struct ImagesArgs {
    /// Write them as docker archives, tagged for another cluster
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

#[derive(Args)]
struct GenArgs {
    /// Write nothing; fail when a generated file is out of date
    #[arg(long)]
    check: bool,
}

/// Runs the command; the exit code is that of the program that it became, where there is one.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Demo(args) => return demo::run(&args),
        Command::Test(args) => return test::run(args.tier, args.filter.as_deref(), args.simulation),
        Command::Cluster(command) => return cluster(command),
        Command::Images(args) => images::run(args.export.as_deref())?,
        Command::Bench(BenchCommand::Server(args)) => return bench::server(&args),
        Command::Bench(BenchCommand::Operator(args)) => return operator::run(&args),
        Command::Sim(args) => return sim::run(&args),
        Command::Gen(args) => return generate(&args),
        Command::ReleaseSnapshot(args) => return release::run(&args),
        Command::Audit => return audit::run(),
        Command::Forward { state, cluster } => cluster::forward::run(&state, cluster)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The generators depend on the operator's crates, so they are a program of their own.
fn generate(args: &GenArgs) -> Result<ExitCode> {
    let program = cargo::program(&Cache::open()?, &Steps::new(), "wsc-gen")?;
    let mut command = std::process::Command::new(program);
    if args.check {
        command.arg("--check");
    }
    become_program(&mut command)
}

fn cluster(command: ClusterCommand) -> Result<ExitCode> {
    let cache = Cache::open()?;
    match command {
        ClusterCommand::Up { nodes } => {
            cluster::up(&cache, &Steps::new(), nodes)?;
        }
        ClusterCommand::Down => cluster::down(&cache, &Steps::new())?,
        ClusterCommand::Status => cluster::status(&cache)?,
        ClusterCommand::Kubectl { args } => {
            return become_program(Cluster::running(&cache)?.kubectl()?.args(args));
        }
        ClusterCommand::Client { command } => {
            let cluster = Cluster::running(&cache)?;
            let Some((program, args)) = command.split_first() else {
                bail!("a command to run is required")
            };
            let environment =
                variables::of_cluster(&cache, &cluster, &helm::provide(&cache, &Steps::new())?)?;
            return become_program(cluster.client(program)?.args(args).envs(environment));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// This process becomes the program: its terminal, its signals, its exit code.
fn become_program(command: &mut std::process::Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let err = command.exec();
    bail!("starting {}: {err}", command.get_program().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn filter_and_nodes_are_checked() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("xtask test").is_ok());
        assert!(parse("xtask test e2e scale_up").is_ok());
        assert!(parse("xtask test scale_up").is_err());
        assert!(parse("xtask cluster up --nodes 3").is_ok());
        assert!(parse("xtask cluster up --nodes 4").is_err());
    }
}
