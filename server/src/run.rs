//! What `main` does, step by step.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::sync::Semaphore;
use wsc_runtime::signals::{SignalError, Signals};

use crate::admin;
use crate::args::Args;
use crate::config::Config;
use crate::lifecycle::capacity;
use crate::lifecycle::shards::{Port, Shards};
use crate::listener::{BindError, Listeners, accept};
use crate::server::Server;

/// Sockets of the client port beyond the slots: health checks of the proxy, handshakes that get a
/// 503.
const SPARE_SOCKETS: usize = 128;
/// Sockets of the control port.
const CONTROL_SOCKETS: usize = 64;
/// How often the memory in use is read while few clients connect.
const MEMORY_READ_EVERY: Duration = Duration::from_millis(500);

/// Why the server does not start, or ends before SIGTERM.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("the open-file limit {0} is too low: raise it above 256")]
    OpenFiles(u64),
    #[error(transparent)]
    Signals(#[from] SignalError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot start the shards")]
    Shards(#[source] io::Error),
}

/// Raises the open-file limit to the hard one and lowers the capacity to what it leaves.
///
/// # Errors
/// If it leaves nothing.
pub fn fit_to_files(config: &mut Config) -> Result<(), StartError> {
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
    config.capacity = capacity::within_files(wanted, nofile).ok_or(StartError::OpenFiles(nofile))?;
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
pub async fn serve(args: &Args, config: Config) -> Result<(), StartError> {
    let mut signals = Signals::new()?;
    let listeners = Listeners::bind(args.port, args.control_port, config.shards)?;
    tracing::info!(
        clients = %listeners.addresses.0,
        control = %listeners.addresses.1,
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
        served = serve_until(listeners, Server::new(config), shutdown) => served.map_err(StartError::Shards)?,
        () = second => tracing::warn!("second signal; closing connections without close frames"),
    }
    Ok(())
}

/// Serves until `shutdown` is over and every client was asked to reconnect; new handshakes get 503
/// meanwhile.
async fn serve_until(
    listeners: Listeners,
    server: Arc<Server>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let slots = usize::try_from(server.admission.capacity.max()).unwrap_or(usize::MAX);
    let sockets = slots.saturating_add(SPARE_SOCKETS).min(Semaphore::MAX_PERMITS);
    let clients = Port {
        server: Arc::clone(&server),
        sockets: Arc::new(Semaphore::new(sockets)),
        refused: server.metrics.refused("client_sockets"),
    };
    let shards = Shards::start(listeners.clients, &clients)?;
    let tasks = [
        tokio::spawn(accept(
            listeners.control,
            0,
            admin::router(Arc::clone(&server)),
            Arc::new(Semaphore::new(CONTROL_SOCKETS)),
            server.metrics.refused("control_sockets"),
        )),
        tokio::spawn(shed(Arc::clone(&server))),
        tokio::spawn(read_memory(Arc::clone(&server))),
    ];
    shutdown.await;
    server.drain.terminate(&server.admission).await;
    for task in tasks {
        task.abort();
    }
    shards.end();
    Ok(())
}

async fn read_memory(server: Arc<Server>) -> Infallible {
    loop {
        server.admission.memory.look();
        tokio::time::sleep(MEMORY_READ_EVERY).await;
    }
}

async fn shed(server: Arc<Server>) -> Infallible {
    server.drain.shed(&server.admission).await
}
