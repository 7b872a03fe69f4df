//! The demo: clients on a real pool while it grows and shrinks, and a verdict on what they saw.
//!
//! [`story`] says what happens, [`observe`] watches the pool, [`crowd`] are the clients; [`checker`] judges the record of it all.

pub mod board;
pub mod book;
pub mod checker;
pub mod cookies;
pub mod crowd;
pub mod example;
pub mod failure;
pub mod http;
pub mod install;
pub mod observe;
pub mod person;
pub mod picture;
pub mod pool;
pub mod record;
pub mod report;
pub mod screen;
pub mod story;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::board::Board;
use self::example::Example;
use self::report::Report;
use self::screen::{Display, is_watched};
use self::story::{Played, Stage};
use wsc_testing::cluster::Cluster;
use wsc_testing::output::{complain, say};

/// One `WebSocketCluster` on a real Kubernetes: the pool grows and shrinks with its clients, without dropping one.
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

/// Plays the demo, judges it, reports, and cleans up.
///
/// # Errors
/// When it cannot even begin.
pub async fn run(options: &Options) -> Result<Ending> {
    let mut stop = Stop::new()?;
    let cluster = Cluster::connect().await?;
    let _only_one = install::only_one(&cluster)?;
    let example = Example::read(&cluster.environment.repository)?;
    let stage = Stage {
        board: Arc::new(Board::new(Instant::now(), !is_watched())),
        cluster,
        example,
        seconds: options.seconds,
    };
    let display = Display::start(Arc::clone(&stage.board));
    let played = tokio::select! {
        played = story::play(&stage) => Some(played),
        () = stop.asked() => None,
    };
    drop(display);
    let ending = match played {
        None => Ending::Interrupted,
        Some(Ok(played)) => judge(&stage, options, &played).await?,
        Some(Err(err)) => {
            let text = failure::describe(&stage.cluster, stage.board.book()).await;
            complain(&format!("{text}\nFAILED: {err:#}"));
            Ending::Failed
        }
    };
    if options.keep && ending != Ending::Interrupted {
        say_where_to_look(&stage);
    } else if !options.disposable {
        clean_up(&stage, &mut stop).await;
    }
    Ok(ending)
}

async fn judge(stage: &Stage, options: &Options, played: &Played) -> Result<Ending> {
    let verdict = checker::check(&played.record, &played.rules);
    let report = Report::new(&played.facts, &played.record, &verdict);
    if let Some(path) = &options.report {
        report.write(path)?;
    }
    if let Some(path) = &options.svg {
        picture::write(&played.record, path)?;
    }
    if !verdict.passed() {
        complain(&failure::describe(&stage.cluster, stage.board.book()).await);
    }
    for line in report.lines() {
        say(&line);
    }
    let seconds = stage.board.began().elapsed().as_secs();
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

fn say_where_to_look(stage: &Stage) {
    let name = &stage.example.name;
    let kubectl = "cargo xtask cluster kubectl --";
    say("It is left running. Look around:");
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
async fn clean_up(stage: &Stage, stop: &mut Stop) {
    say("removing what the demo installed");
    let outcome = tokio::select! {
        outcome = install::remove(&stage.cluster) => outcome,
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
