//! The numbers of `GET /metrics`; docs/server.md lists them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The one label of a family of counters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: &'static str,
}

type ByReason = Family<Reason, Counter>;

/// Each reason is there from the start with 0: a query for the increase of a counter that appears with 1 finds nothing.
const CLOSED: [&str; 8] = [
    "client",
    "lost",
    "moved",
    "slow",
    "heartbeat",
    "too_large",
    "utf8",
    "protocol",
];
const REFUSED: [&str; 10] = [
    "bad_request",
    "origin",
    "not_found",
    "method",
    "upgrade_required",
    "full",
    "draining",
    "wrong_pod",
    "client_sockets",
    "control_sockets",
];
const DROPPED: [&str; 4] = ["expired", "queue_full", "failed", "malformed"];

/// Every metric of the server. Labels are words of the program, never of a client.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections that hold a slot.
    pub connections: Gauge,
    /// Slots.
    pub capacity: Gauge,
    /// Rooms with members.
    pub rooms: Gauge,
    /// Upgrades answered.
    pub accepted: Counter,
    closed: ByReason,
    refused: ByReason,
    dropped: ByReason,
    /// Messages that clients sent.
    pub received: Counter,
    /// Messages handed to the bus.
    pub published: Counter,
    /// Messages queued for a client.
    pub deliveries: Counter,
    /// Clients that were too slow for a message.
    pub overflows: Counter,
    /// Connections closed because `/shed` asked for it.
    pub shed: Counter,
    /// Connections closed because of SIGTERM.
    pub drained: Counter,
    /// 1 while messages travel.
    pub bus_up: Gauge,
    /// Times that a working bus was lost.
    pub bus_losses: Counter,
    /// Attempts to reach Redis, the first one included; between two of them the back-off waits.
    pub bus_attempts: Counter,
    /// Round trips through Redis.
    pub probe_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("wsc_server"),
            connections: Gauge::default(),
            capacity: Gauge::default(),
            rooms: Gauge::default(),
            accepted: Counter::default(),
            closed: Family::default(),
            refused: Family::default(),
            dropped: Family::default(),
            received: Counter::default(),
            published: Counter::default(),
            deliveries: Counter::default(),
            overflows: Counter::default(),
            shed: Counter::default(),
            drained: Counter::default(),
            bus_up: Gauge::default(),
            bus_losses: Counter::default(),
            bus_attempts: Counter::default(),
            // 0.1 ms to 3.3 s, the longest that a probe may take being 3 s.
            probe_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
        };
        metrics.register();
        for reason in CLOSED {
            metrics.closed(reason);
        }
        for reason in REFUSED {
            metrics.refused(reason);
        }
        for reason in DROPPED {
            metrics.dropped(reason);
        }
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "connections",
            "Connections that hold a slot",
            self.connections.clone(),
        );
        registry.register("capacity", "Connection slots", self.capacity.clone());
        registry.register("rooms", "Rooms with members on this pod", self.rooms.clone());
        registry.register("accepted", "Upgrades answered", self.accepted.clone());
        registry.register("closed", "Connections ended, by reason", self.closed.clone());
        registry.register("refused", "Handshakes refused, by reason", self.refused.clone());
        registry.register(
            "messages_dropped",
            "Messages not published or not delivered, by reason",
            self.dropped.clone(),
        );
        registry.register(
            "messages_received",
            "Messages that clients sent",
            self.received.clone(),
        );
        registry.register(
            "messages_published",
            "Messages handed to the bus",
            self.published.clone(),
        );
        registry.register(
            "deliveries",
            "Messages queued for a client",
            self.deliveries.clone(),
        );
        registry.register(
            "overflows",
            "Clients too slow for a message",
            self.overflows.clone(),
        );
        registry.register("shed", "Closes begun because /shed asked", self.shed.clone());
        registry.register("drained", "Closes begun because of SIGTERM", self.drained.clone());
        registry.register("bus_up", "1 while messages travel", self.bus_up.clone());
        registry.register(
            "bus_losses",
            "Times that a working bus was lost",
            self.bus_losses.clone(),
        );
        registry.register(
            "bus_attempts",
            "Attempts to reach Redis",
            self.bus_attempts.clone(),
        );
        registry.register(
            "bus_probe_seconds",
            "Round trips through the bus",
            self.probe_seconds.clone(),
        );
    }

    /// Connections ended for this reason.
    pub fn closed(&self, reason: &'static str) -> Counter {
        self.closed.get_or_create_owned(&Reason { reason })
    }

    /// Handshakes refused for this reason.
    pub fn refused(&self, reason: &'static str) -> Counter {
        self.refused.get_or_create_owned(&Reason { reason })
    }

    /// Messages dropped for this reason.
    pub fn dropped(&self, reason: &'static str) -> Counter {
        self.dropped.get_or_create_owned(&Reason { reason })
    }

    /// The page in the OpenMetrics text format.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut page, &self.registry);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_and_every_reason_is_in_the_documentation() {
        let documentation = include_str!("../../docs/server.md");
        let page = Metrics::new().page();
        let mut count = 0;
        for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').expect("a name and a type");
            let total = if kind == "counter" { "_total" } else { "" };
            let documented = ["`", "{reason}`"].map(|end| format!("`{name}{total}{end}"));
            assert!(
                documented.iter().any(|word| documentation.contains(word)),
                "{name} is not in docs/server.md"
            );
            count += 1;
        }
        for reason in CLOSED.iter().chain(&REFUSED).chain(&DROPPED) {
            assert!(
                documentation.contains(&format!("`{reason}`")),
                "{reason} is not in docs/server.md"
            );
            assert!(page.contains(&format!("{{reason=\"{reason}\"}} 0")), "{page}");
        }
        assert!(count > 15 && page.ends_with("# EOF\n"), "{page}");
    }
}
