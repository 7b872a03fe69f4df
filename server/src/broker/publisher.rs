//! The publish queue and the task that pipelines it into Redis.
//!
//! Bounds: 1 MiB of messages or one larger one, each at most one second old when it is sent. A
//! message is sent at most once: after an error it is unknown whether Redis received it, and a loss
//! is better than a duplicate.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::metrics::Metrics;

/// The bound of the queue.
const QUEUE_BYTES: usize = 1 << 20;
/// The largest single message that may be configured. One that is larger than the queue has it for
/// itself.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// What a message costs on top of its bytes; bounds floods of empty messages.
const OVERHEAD_BYTES: usize = 256;
/// The oldest message that is still sent.
const MAX_AGE: Duration = Duration::from_secs(1);
/// The most messages in one pipeline.
const BATCH: usize = 512;

/// Room in the queue for one message.
#[derive(Debug)]
pub(crate) struct Reservation(
    #[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>,
);

impl Reservation {
    /// For a broker without a queue.
    pub(super) fn unbounded() -> Self {
        Self(None)
    }
}

#[derive(Debug)]
struct Item {
    channel: String,
    envelope: Bytes,
    since: Instant,
    _reservation: Reservation,
}

/// The sending end of the queue.
#[derive(Debug)]
pub(crate) struct Publisher {
    budget: Arc<Semaphore>,
    // Unbounded by itself; every item holds a part of the budget.
    queue: mpsc::UnboundedSender<Item>,
}

/// A connection to publish on.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    /// Notified when a pipeline fails, so that this connection is replaced, and no later one.
    pub(super) failed: Arc<Notify>,
}

impl Publisher {
    /// The queue and its pump, which uses the connection of the moment.
    pub(super) fn start(
        links: watch::Receiver<Option<Link>>,
        metrics: Arc<Metrics>,
    ) -> (Self, JoinHandle<()>) {
        let (queue, items) = mpsc::unbounded_channel();
        let pump = Pump {
            items,
            links,
            metrics,
        };
        let publisher = Self {
            budget: Arc::new(Semaphore::new(QUEUE_BYTES)),
            queue,
        };
        (publisher, tokio::spawn(pump.run()))
    }

    /// Room for a message of this size, if there is any now.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let permit = Arc::clone(&self.budget)
            .try_acquire_many_owned(cost(bytes))
            .ok()?;
        Some(Reservation(Some(permit)))
    }

    /// Waits for room; `None` after one second.
    pub(crate) fn reserve(&self, bytes: usize) -> impl Future<Output = Option<Reservation>> + Send + use<> {
        let permit = Arc::clone(&self.budget).acquire_many_owned(cost(bytes));
        async move {
            let permit = timeout(MAX_AGE, permit).await.ok()?.ok()?;
            Some(Reservation(Some(permit)))
        }
    }

    pub(super) fn push(&self, reservation: Reservation, channel: String, envelope: Bytes) {
        let item = Item {
            channel,
            envelope,
            since: Instant::now(),
            _reservation: reservation,
        };
        // The pump ends only with the process.
        let _ = self.queue.send(item);
    }
}

/// A message larger than all of the queue is charged all of it, so that it waits its turn instead
/// of forever.
fn cost(bytes: usize) -> u32 {
    u32::try_from((bytes + OVERHEAD_BYTES).min(QUEUE_BYTES)).unwrap_or(u32::MAX)
}

struct Pump {
    items: mpsc::UnboundedReceiver<Item>,
    links: watch::Receiver<Option<Link>>,
    metrics: Arc<Metrics>,
}

impl Pump {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.items.recv_many(&mut batch, BATCH).await > 0 {
            // Without a connection only what is too old is dropped; the younger messages wait on.
            while let Some(oldest) = batch.first() {
                let link = self.link_until(oldest.since + MAX_AGE).await;
                self.drop_expired(&mut batch);
                if let Some(link) = link {
                    self.send(link, &batch).await;
                    batch.clear();
                }
            }
        }
    }

    /// The connection, as soon as there is one and no later than the deadline.
    async fn link_until(&mut self, deadline: Instant) -> Option<Link> {
        let link = timeout_at(deadline, self.links.wait_for(Option::is_some)).await;
        link.ok()?.ok()?.clone()
    }

    fn drop_expired(&self, batch: &mut Vec<Item>) {
        let before = batch.len();
        batch.retain(|item| item.since.elapsed() < MAX_AGE);
        self.metrics
            .dropped("expired")
            .inc_by((before - batch.len()) as u64);
    }

    async fn send(&self, mut link: Link, batch: &[Item]) {
        if batch.is_empty() {
            return;
        }
        let mut pipeline = redis::Pipeline::with_capacity(batch.len());
        for item in batch {
            pipeline
                .cmd("PUBLISH")
                .arg(&item.channel)
                .arg(item.envelope.as_ref())
                .ignore();
        }
        match pipeline.exec_async(&mut link.connection).await {
            Ok(()) => {
                self.metrics.published.inc_by(batch.len() as u64);
            }
            Err(error) => {
                tracing::warn!(%error, messages = batch.len(), "publish failed; messages may be lost");
                self.metrics.dropped("failed").inc_by(batch.len() as u64);
                link.failed.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher() -> (Publisher, watch::Sender<Option<Link>>, Arc<Metrics>) {
        let (link, links) = watch::channel(None);
        let metrics = Arc::new(Metrics::new());
        let (publisher, _pump) = Publisher::start(links, Arc::clone(&metrics));
        (publisher, link, metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn without_redis_messages_drop_after_a_second() {
        let (publisher, _link, metrics) = publisher();
        let reservation = publisher.try_reserve(10).expect("room");
        publisher.push(reservation, "c".into(), Bytes::from_static(b"x"));
        tokio::time::timeout(Duration::from_secs(5), async {
            while metrics.dropped("expired").get() == 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .expect("dropped");
        assert_eq!(
            publisher.budget.available_permits(),
            QUEUE_BYTES,
            "its room is free again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn young_message_outlives_an_old_one() {
        let (publisher, _link, metrics) = publisher();
        let push = || publisher.push(publisher.try_reserve(10).expect("room"), "c".into(), Bytes::new());
        let (start, mut dropped) = (Instant::now(), Vec::new());
        push();
        for (after_ms, young) in [
            (900, true),
            (1100, false),
            (1850, true),
            (1950, false),
            (2950, false),
        ] {
            tokio::time::advance(start + Duration::from_millis(after_ms) - Instant::now()).await;
            if young {
                push();
            }
            // The pump is ready to run after an advance, but it has not run yet.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            dropped.push(metrics.dropped("expired").get());
        }
        assert_eq!(dropped, [0, 1, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_by_bytes() {
        let (publisher, _link, _metrics) = publisher();
        let held: Vec<_> = std::iter::from_fn(|| publisher.try_reserve(64 << 10)).collect();
        assert_eq!(held.len(), QUEUE_BYTES / ((64 << 10) + OVERHEAD_BYTES));
        assert!(
            publisher.reserve(64 << 10).await.is_none(),
            "gives up after a second"
        );
        drop(held);
        assert!(publisher.reserve(64 << 10).await.is_some());
    }
}
