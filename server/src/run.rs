//! What `main` does, step by step.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::app::{self, Server};
use crate::args::{Args, Exit, LogFormat};
use crate::capacity;
use crate::config::Config;
use crate::listen::Listeners;

/// Prints what the command line led to instead of a start.
pub fn explain(exit: &Exit) -> ExitCode {
    match exit {
        Exit::Text(text) => {
            // A closed pipe is no reason to fail.
            let _ = writeln!(io::stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Exit::Usage(line) => {
            let _ = writeln!(io::stderr(), "wsc-server: {line}");
            ExitCode::from(2)
        }
    }
}

/// Logs to standard output from now on.
pub fn start_logging(format: LogFormat) {
    // Without spans there is nothing for the larger filter to do, whose regular expressions were a seventh of the program.
    let said = std::env::var("RUST_LOG").ok().and_then(|said| said.parse().ok());
    let filter = said.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = fmt::layer().with_ansi(io::stdout().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
        LogFormat::Text => registry.with(lines).init(),
    }
}

/// Raises the open-file limit to the hard one and lowers the capacity to what it leaves.
///
/// # Errors
/// If it leaves nothing.
pub fn fit_to_files(config: &mut Config) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the open-file limit");
    }
    let nofile = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = config.capacity;
    config.capacity = capacity::within_files(wanted, nofile)
        .with_context(|| format!("the open-file limit {nofile} is too low: raise it above 256"))?;
    if config.capacity < wanted {
        tracing::warn!(
            requested = wanted,
            capacity = config.capacity,
            open_files = nofile,
            "capacity lowered to the open-file limit"
        );
    }
    Ok(())
}

/// Serves until SIGTERM or SIGINT and the drain after it. A second signal ends the process at once.
///
/// # Errors
/// If a port cannot be bound or signals cannot be had.
pub async fn serve(args: &Args, config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut ask = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let listeners = Listeners::bind(args.port, args.control_port, config.shards)?;
    tracing::info!(
        clients = %listeners.clients.first().context("no listener")?.local_addr()?,
        control = %listeners.control.local_addr()?,
        path = config.path,
        capacity = config.capacity,
        shards = config.shards,
        "serving"
    );
    let (asked, shutdown) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        // Fails only with the sender, which lives below.
        let _ = shutdown.await;
    };
    let signals = async move {
        ask().await;
        let _ = asked.send(());
        ask().await;
    };
    tokio::select! {
        served = app::serve(listeners, Server::new(config), shutdown) => served?,
        () = signals => tracing::warn!("second signal; closing connections without close frames"),
    }
    Ok(())
}
