//! The demo: clients on a real pool while it grows and shrinks, and a verdict on what they
//! observed.
//!
//! `scenario` has the phases, `observe` watches the pool, the clients are
//! [`wsc_testing::clients`]; `checker` judges the record.

mod checker;
mod cookies;
mod dashboard;
mod example;
mod install;
mod observe;
mod picture;
mod pool;
mod record;
mod report;
mod scenario;
mod screen;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::dashboard::Dashboard;
use self::example::Example;
use self::report::Report;
use self::scenario::{Completed, Setup};
use self::screen::{Display, is_watched};
use wsc_testing::clients::Recorder;
use wsc_testing::cluster::Cluster;
use wsc_testing::output::{complain, say};

/// One `WebSocketCluster` on a real Kubernetes: the pool grows and shrinks with its clients,
/// without dropping one.
#[derive(Clone, Debug, Parser)]
#[command(name = "wsc-demo")]
pub struct Options {
    /// Leave the operator and the pool running at the end
    #[arg(long)]
    pub keep: bool,
    /// Remove nothing at the end, because the whole Kubernetes goes with the demo
    #[arg(long)]
    pub disposable: bool,
    /// Write the report, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write a picture of the run, as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Aim at a run of this many seconds; without it, or when it is too short, as many as it takes
    #[arg(long, value_name = "N")]
    pub seconds: Option<u32>,
}

/// How a demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything that was promised was kept.
    Passed,
    /// Something was not.
    Failed,
    /// Stopped by a signal.
    Interrupted,
}

/// Runs the demo, judges it, reports, and cleans up.
///
/// # Errors
/// When it cannot begin.
pub async fn run(options: &Options) -> Result<Ending> {
    let mut stop = Stop::new()?;
    let cluster = Cluster::connect().await?;
    let _only_one = install::only_one(&cluster)?;
    let example = Example::read(&cluster.environment.repository)?;
    let setup = Setup {
        dashboard: Arc::new(Dashboard::new(Instant::now(), !is_watched())),
        cluster,
        example,
        seconds: options.seconds,
    };
    let display = Display::start(Arc::clone(&setup.dashboard));
    let completed = tokio::select! {
        completed = scenario::run(&setup) => Some(completed),
        () = stop.asked() => None,
    };
    drop(display);
    let ending = match completed {
        None => Ending::Interrupted,
        Some(Ok(completed)) => judge(&setup, options, &completed)?,
        Some(Err(err)) => {
            complain(&format!("{}\nFAILED: {err:#}", describe(&setup)));
            Ending::Failed
        }
    };
    if options.keep && ending != Ending::Interrupted {
        say_where_to_look(&setup);
    } else if !options.disposable {
        clean_up(&setup, &mut stop).await;
    }
    Ok(ending)
}

fn judge(setup: &Setup, options: &Options, completed: &Completed) -> Result<Ending> {
    let verdict = checker::check(&completed.record, &completed.rules);
    let report = Report::new(&completed.facts, &completed.record, &verdict);
    if let Some(path) = &options.report {
        report.write(path)?;
    }
    if let Some(path) = &options.svg {
        picture::write(&completed.record, path)?;
    }
    if !verdict.passed() {
        complain(&describe(setup));
    }
    for line in report.lines() {
        say(&line);
    }
    let seconds = setup.dashboard.began().elapsed().as_secs();
    if verdict.passed() {
        say(&format!("PASSED in {seconds} s"));
        return Ok(Ending::Passed);
    }
    for failure in &verdict.failures {
        complain(failure);
    }
    complain(&format!("FAILED after {seconds} s"));
    Ok(Ending::Failed)
}

/// The namespaces and what the clients observed, after a failure.
fn describe(setup: &Setup) -> String {
    let namespaces = [install::NAMESPACE, install::OPERATOR_NAMESPACE];
    let mut text = namespaces
        .map(|namespace| setup.cluster.environment.describe(namespace))
        .concat();
    text.extend(setup.dashboard.clients().map(Recorder::describe));
    text
}

fn say_where_to_look(setup: &Setup) {
    let name = &setup.example.name;
    let kubectl = "cargo xtask cluster kubectl --";
    say("It keeps running. Commands to inspect it:");
    for line in [
        format!("{kubectl} -n demo get wsc {name} -w"),
        format!("{kubectl} -n demo get pods -L websocket-operator.io/state"),
        format!("{kubectl} -n demo describe wsc {name}"),
        format!("{kubectl} -n websocket-operator logs deployment/websocket-operator -f"),
        format!("{kubectl} -n demo logs deployment/{name}-proxy -c haproxy"),
        format!("cargo xtask cluster client -- curl -i http://{name}.demo.svc/ws"),
        "cargo xtask cluster down".to_owned(),
    ] {
        say(&format!("  {line}"));
    }
}

/// A second request to stop leaves the rest as it is.
async fn clean_up(setup: &Setup, stop: &mut Stop) {
    say("removing what the demo installed");
    let outcome = tokio::select! {
        outcome = install::remove(&setup.cluster) => outcome,
        () = stop.asked() => Err(anyhow::anyhow!("asked to stop again")),
    };
    if let Err(err) = outcome {
        complain(&format!("not everything is removed: {err:#}"));
    }
}

/// SIGINT and SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
