//! What `main` does, step by step.

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wsc_runtime::signals::Signals;

use crate::app::{self, Server};
use crate::args::Args;
use crate::capacity;
use crate::config::Config;
use crate::listen::Listeners;

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
    let mut signals = Signals::new()?;
    let listeners = Listeners::bind(args.port, args.control_port, config.shards)?;
    tracing::info!(
        clients = %listeners.clients.first().context("no listener")?.local_addr()?,
        control = %listeners.control.local_addr()?,
        path = config.path,
        capacity = config.capacity,
        shards = config.shards,
        "serving"
    );
    let (first, shutdown) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        // Fails only with the sender, which lives below.
        let _ = shutdown.await;
    };
    let second = async move {
        signals.recv().await;
        let _ = first.send(());
        signals.recv().await;
    };
    tokio::select! {
        served = app::serve(listeners, Server::new(config), shutdown) => served?,
        () = second => tracing::warn!("second signal; closing connections without close frames"),
    }
    Ok(())
}
