//! The state of one server process, shared by its listeners, sessions and control port.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Broker;
use crate::config::Config;
use crate::handshake::refusal::Refusal;
use crate::hub::Hub;
use crate::hub::shard::Turn;
use crate::lifecycle::admission::Admission;
use crate::lifecycle::drain::Drain;
use crate::lifecycle::pulse::Pulse;
use crate::lifecycle::wheel::Wheel;
use crate::metrics::Metrics;

/// The state of one server process.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Config,
    /// A random number: connections of all processes differ by it.
    pub(crate) process: u64,
    pub(crate) hub: Arc<Hub>,
    pub(crate) broker: Broker,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) admission: Admission,
    pub(crate) drain: Drain,
    pub(crate) pulse: Pulse,
    /// One per shard.
    wheels: Vec<Wheel>,
    started: Instant,
    connections: AtomicU64,
}

impl Server {
    /// Starts the broker, so it must be called within a tokio runtime.
    pub(crate) fn new(config: Config) -> Arc<Self> {
        let limits = config.limits;
        let hub = Arc::new(Hub::new(
            config.shards,
            limits.outbound_queue_bytes,
            limits.outbound_total_bytes,
        ));
        let metrics = Arc::new(Metrics::new());
        let broker = Broker::start(&config.broker, Arc::clone(&hub), Arc::clone(&metrics));
        metrics
            .capacity
            .set(i64::try_from(config.capacity).unwrap_or(i64::MAX));
        Arc::new(Self {
            process: rand::random(),
            admission: Admission::new(config.capacity, config.memory_limit),
            drain: Drain::new(&config, Arc::clone(&metrics)),
            pulse: Pulse::new(config.shards),
            wheels: (0..config.shards).map(|_| Wheel::default()).collect(),
            config,
            hub,
            broker,
            metrics,
            started: Instant::now(),
            connections: AtomicU64::new(0),
        })
    }

    /// Differs from that of an earlier process of the same pod.
    pub(crate) fn boot_id(&self) -> String {
        format!("{:016x}", self.process)
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The number of a new connection.
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        self.admission.count_refusal(refusal);
        self.metrics.refused(refusal.code()).inc();
    }

    /// The timing wheel of a shard's sessions.
    pub(crate) fn wheel(&self, shard: usize) -> &Wheel {
        &self.wheels[shard % self.wheels.len()]
    }

    /// Turns the timing wheel of a shard.
    pub(crate) async fn turn(&self, shard: usize) -> Infallible {
        let lag = self.metrics.loop_lag(shard);
        self.wheel(shard)
            .turn(|late| lag.observe(late.as_secs_f64()))
            .await
    }

    /// Delivers the messages of a shard to its members; only on the shard's own thread.
    pub(crate) async fn walk(&self, shard: usize) -> Infallible {
        self.hub.shard(shard).walk(|turn| self.account(&turn)).await
    }

    fn account(&self, turn: &Turn) {
        self.metrics.deliveries.inc_by(turn.delivered);
        self.metrics.delivered_bytes.inc_by(turn.bytes);
        for members in &turn.walks {
            let members = u32::try_from(*members).map_or(f64::INFINITY, f64::from);
            self.metrics.fanout_members.observe(members);
        }
        self.metrics.overflows.inc_by(turn.overflowed);
        let excess = self.hub.budget().excess();
        if excess > 0 {
            let closed = self.drain.clients.give_up(excess);
            tracing::warn!(
                excess_bytes = excess,
                closed,
                "outbound queues over their total limit; closing the longest"
            );
            self.metrics.overflows.inc_by(closed);
        }
    }

    /// Sets the gauges that are not updated at every change; before a scrape.
    pub(crate) fn refresh_gauges(&self) {
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let connections = self.admission.capacity.taken();
        self.metrics.connections.set(gauge(connections));
        self.metrics.rooms.set(gauge(self.hub.len() as u64));
        let outboxes = self.hub.budget().used() as u64;
        self.metrics.outbound_queue_bytes.set(gauge(outboxes));
        self.metrics.backlog_bytes.set(gauge(self.hub.backlog() as u64));
        self.metrics.memory_bytes.set(gauge(self.admission.memory.used()));
    }
}
