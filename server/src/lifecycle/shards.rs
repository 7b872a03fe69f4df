//! Threads of the client port: each has its own listener on the port, and keeps the connections
//! that it accepted to itself, so that what a connection allocates is freed by the thread that
//! allocated it.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::handshake::Handshakes;
use crate::listener::accept;
use crate::server::Server;

/// The most that are started by themselves; with more, waking each other costs more than they
/// bring.
const DEFAULT_MOST: usize = 4;

/// As many as there are CPUs for this process, by its affinity and its quota.
pub(crate) fn default_count() -> usize {
    thread::available_parallelism().map_or(1, |cpus| cpus.get().min(DEFAULT_MOST))
}

/// What the shards share.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) server: Arc<Server>,
    /// Sockets of all shards together.
    pub(crate) sockets: Arc<Semaphore>,
    /// Counts connections that find none.
    pub(crate) refused: Counter,
}

/// One shard: serves until it is dropped. What it does are tasks like the sessions, so that all
/// have their turn one after the other.
async fn shard(index: usize, listener: StdListener, port: Port) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let handshakes = Handshakes(Arc::clone(&port.server));
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, index, handshakes, port.sockets, port.refused));
    let server = Arc::clone(&port.server);
    tasks.spawn(async move { server.walk(index).await });
    let server = Arc::clone(&port.server);
    tasks.spawn(async move { server.turn(index).await });
    let server = port.server;
    tasks.spawn(async move { server.pulse.beat(index).await });
    match tasks.join_next().await {
        Some(Err(error)) => Err(io::Error::other(error)),
        _ => Ok(()),
    }
}

/// The running shards: the first one in the runtime of the caller, the others in threads of their
/// own.
#[derive(Debug)]
pub(crate) struct Shards {
    stop: CancellationToken,
    first: tokio::task::JoinHandle<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Shards {
    /// Starts one for each listener.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(crate) fn start(listeners: Vec<StdListener>, port: &Port) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut listeners = listeners.into_iter();
        let first = run(0, listeners.next(), port.clone(), stop.clone());
        let mut threads = Vec::new();
        for (listener, index) in listeners.zip(1..) {
            let run = run(index, Some(listener), port.clone(), stop.clone());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let thread = thread::Builder::new().name(format!("shard-{index}"));
            threads.push(thread.spawn(move || runtime.block_on(run))?);
        }
        Ok(Self {
            stop,
            first: tokio::spawn(first),
            threads,
        })
    }

    /// Ends them with all their connections.
    pub(crate) fn end(self) {
        self.stop.cancel();
        self.first.abort();
        for thread in self.threads {
            // One that panicked has ended as well.
            let _ = thread.join();
        }
    }
}

async fn run(index: usize, listener: Option<StdListener>, port: Port, stop: CancellationToken) {
    let Some(listener) = listener else { return };
    tokio::select! {
        () = stop.cancelled() => {}
        ended = shard(index, listener, port) => if let Err(error) = ended {
            tracing::error!(%error, shard = index, "shard failed");
        },
    }
}
