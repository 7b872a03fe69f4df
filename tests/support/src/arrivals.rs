//! New clients, one after the other: whether a pool refuses a client at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::{Client, Options};

/// Between two arrivals.
const INTERVAL: Duration = Duration::from_millis(100);

/// Handshakes that began at the same moment, one by each of the options.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub begun: Instant,
    pub ended: Instant,
    /// HTTP statuses in the order of the options; 0 where there was none.
    pub statuses: Vec<u16>,
}

/// A new client every 100 ms by each of some options, until the end.
#[derive(Debug)]
pub struct Arrivals {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Arrival>>,
}

impl Arrivals {
    pub fn start(options: Vec<Options>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                let begun = Instant::now();
                let statuses = join_all(options.iter().map(status)).await;
                let ended = Instant::now();
                seen.push(Arrival {
                    begun,
                    ended,
                    statuses,
                });
                sleep(INTERVAL.saturating_sub(begun.elapsed())).await;
            }
            seen
        });
        Self { stop, task }
    }

    /// Everything that was seen, in its order.
    ///
    /// # Errors
    /// If the clients failed, or none arrived.
    pub async fn end(self) -> Result<Vec<Arrival>> {
        self.stop.store(true, Ordering::Release);
        let seen = self.task.await.context("the arriving clients")?;
        (!seen.is_empty()).then_some(seen).context("no client arrived")
    }
}

/// The HTTP status of a handshake; 0 where there was none.
pub async fn status(options: &Options) -> u16 {
    match Client::connect(options).await {
        Ok(client) => client.opened().status.as_u16(),
        Err(refused) => refused.status().map_or(0, |status| status.as_u16()),
    }
}
