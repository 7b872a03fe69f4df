//! Threads of the client port: each has its own listener on the port, and keeps the connections that it accepted to itself, so that
//! what a connection allocates is freed by the thread that allocated it.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::app::Server;
use crate::handshake::Handshakes;
use crate::listen::accept;

/// The most that are started by themselves; with more, waking each other costs more than they bring.
const DEFAULT_MOST: usize = 4;
/// More than the allocator has ready among small blocks.
const NUDGE_BYTES: usize = 1 << 20;
/// How often a shard says that it goes on, and how long it may say nothing.
const BEAT: Duration = Duration::from_secs(1);
const STILL: Duration = Duration::from_secs(5);

/// As many as there are CPUs for this process, by its affinity and its quota.
pub fn default_count() -> usize {
    thread::available_parallelism().map_or(1, |cpus| cpus.get().min(DEFAULT_MOST))
}

/// When each shard last went on.
#[derive(Debug)]
pub struct Pulse {
    started: Instant,
    beats: Vec<AtomicU64>,
}

impl Pulse {
    /// Of so many shards, all of which go on now.
    pub fn new(shards: usize) -> Self {
        Self {
            started: Instant::now(),
            beats: (0..shards).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether every shard goes on.
    pub fn goes_on(&self) -> bool {
        let now = self.millis();
        let still = u64::try_from(STILL.as_millis()).unwrap_or(u64::MAX);
        let mut beats = self.beats.iter();
        beats.all(|beat| now.saturating_sub(beat.load(Ordering::Relaxed)) <= still)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn beat(&self, shard: usize) -> Infallible {
        loop {
            self.beats[shard % self.beats.len()].store(self.millis(), Ordering::Relaxed);
            nudge_allocator();
            sleep(BEAT).await;
        }
    }
}

/// The allocator gives memory back some time after it is free, and only while it is asked for something: after a mass disconnect
/// nobody asks.
fn nudge_allocator() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(NUDGE_BYTES)));
}

/// What the shards share.
#[derive(Debug, Clone)]
pub struct Port {
    /// The process.
    pub server: Arc<Server>,
    /// Sockets of all shards together.
    pub sockets: Arc<Semaphore>,
    /// Counts who finds none.
    pub refused: Counter,
}

/// One shard: serves until it is dropped. What it does are tasks like the sessions, so that all have their turn one after the other.
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

/// The running shards: the first one in the runtime of the caller, the others in threads of their own.
#[derive(Debug)]
pub struct Shards {
    stop: CancellationToken,
    first: tokio::task::JoinHandle<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Shards {
    /// Starts one for each listener.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(listeners: Vec<StdListener>, port: &Port) -> io::Result<Self> {
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
    pub fn end(self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_stands_still_is_noticed() {
        let pulse = Pulse::new(2);
        tokio::time::advance(STILL).await;
        assert!(pulse.goes_on());
        let _ = tokio::time::timeout(Duration::from_mins(1), pulse.beat(0)).await;
        assert!(!pulse.goes_on(), "the second one never said anything");
        let both = async { tokio::join!(pulse.beat(0), pulse.beat(1)) };
        let _ = tokio::time::timeout(Duration::from_mins(1), both).await;
        assert!(pulse.goes_on());
    }
}
