//! The metrics of `GET /metrics`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use wsc_contract::handshake::HandshakeError;

/// The one label of a family of counters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    reason: &'static str,
}

/// The one label of the metrics of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Shard {
    shard: usize,
}

type ByReason = Family<Reason, Counter>;

/// Each reason is there from the start with 0: a query for the increase of a counter that appears
/// with 1 finds nothing.
const CLOSED: [&str; 8] = [
    "client",
    "lost",
    "reconnect",
    "slow",
    "heartbeat",
    "too_large",
    "utf8",
    "protocol",
];
/// Besides the error codes of the handshake.
const REFUSED: [&str; 3] = ["http", "client_sockets", "control_sockets"];
const DROPPED: [&str; 5] = ["expired", "queue_full", "failed", "malformed", "backlog"];

/// What the words of `reason` mean, for the generated reference: the word, its metric, the meaning.
/// The other words of `refused` are the error codes of the handshake.
pub const REASONS: [(&str, &str, &str); 16] = [
    ("client", "closed", "the client sent a close frame"),
    ("lost", "closed", "the connection ended without a close frame"),
    (
        "reconnect",
        "closed",
        "request to reconnect, by `/shed` or SIGTERM",
    ),
    ("slow", "closed", "the client did not read fast enough"),
    ("heartbeat", "closed", "no answer to a ping"),
    ("too_large", "closed", "a message over `--max-message-bytes`"),
    ("utf8", "closed", "text that is not UTF-8"),
    ("protocol", "closed", "any other violation of RFC 6455"),
    (
        "http",
        "refused",
        "malformed HTTP/1.1, headers too many or too long, or incomplete after 10 s",
    ),
    (
        "client_sockets",
        "refused",
        "socket limit of the client port reached",
    ),
    (
        "control_sockets",
        "refused",
        "socket limit of the control port reached",
    ),
    (
        "expired",
        "messages_dropped",
        "older than 1 s while Redis was unavailable",
    ),
    (
        "queue_full",
        "messages_dropped",
        "the publish queue was full for 1 s",
    ),
    (
        "failed",
        "messages_dropped",
        "the publish command failed; the message may have been delivered",
    ),
    (
        "malformed",
        "messages_dropped",
        "received from Redis and not a valid envelope",
    ),
    (
        "backlog",
        "messages_dropped",
        "the delivery backlog of a shard was at its limit, 1 to 32 MiB",
    ),
];

/// All words of `reason` of `wsc_server_refused_total`.
fn refused_reasons() -> impl Iterator<Item = &'static str> {
    HandshakeError::ALL
        .map(HandshakeError::code)
        .into_iter()
        .chain(REFUSED)
}

/// Every metric of the server. Labels are words of the program, never of a client.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections that hold a slot.
    pub(crate) connections: Gauge,
    /// Slots.
    pub(crate) capacity: Gauge,
    /// Rooms with members.
    pub(crate) rooms: Gauge,
    /// Bytes that wait for clients that read slowly.
    pub(crate) outbound_queue_bytes: Gauge,
    /// Bytes of messages that wait for their walk.
    pub(crate) backlog_bytes: Gauge,
    /// Memory in use.
    pub(crate) memory_bytes: Gauge,
    /// Upgrades answered.
    pub(crate) accepted: Counter,
    closed: ByReason,
    refused: ByReason,
    dropped: ByReason,
    /// Messages that clients sent.
    pub(crate) received: Counter,
    /// Their payload.
    pub(crate) received_bytes: Counter,
    /// Messages, pings, pongs and closes that clients sent.
    pub(crate) frames_received: Counter,
    /// Messages handed to the broker.
    pub(crate) published: Counter,
    /// Messages queued for a client.
    pub(crate) deliveries: Counter,
    /// Bytes of all their frames.
    pub(crate) delivered_bytes: Counter,
    /// Members of a room at the end of a walk through it.
    pub(crate) fanout_members: Histogram,
    loop_lag: Family<Shard, Histogram, fn() -> Histogram>,
    /// Clients that were too slow for a message.
    pub(crate) overflows: Counter,
    /// Connections closed because `/shed` asked for it.
    pub(crate) shed: Counter,
    /// Connections closed because of SIGTERM.
    pub(crate) drained: Counter,
    /// 1 while messages travel.
    pub(crate) broker_up: Gauge,
    /// Times that a working broker was lost.
    pub(crate) broker_disconnects: Counter,
    /// Attempts to reach Redis, the first one included; between two of them the back-off waits.
    pub(crate) broker_connect_attempts: Counter,
    /// Round trips through Redis.
    pub(crate) probe_seconds: Histogram,
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
            outbound_queue_bytes: Gauge::default(),
            backlog_bytes: Gauge::default(),
            memory_bytes: Gauge::default(),
            accepted: Counter::default(),
            closed: Family::default(),
            refused: Family::default(),
            dropped: Family::default(),
            received: Counter::default(),
            received_bytes: Counter::default(),
            frames_received: Counter::default(),
            published: Counter::default(),
            deliveries: Counter::default(),
            delivered_bytes: Counter::default(),
            // 1 to 16,384.
            fanout_members: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
            // 1 ms, which the timer of the runtime takes, to 4 s.
            loop_lag: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.002, 3.0, 8))),
            overflows: Counter::default(),
            shed: Counter::default(),
            drained: Counter::default(),
            broker_up: Gauge::default(),
            broker_disconnects: Counter::default(),
            broker_connect_attempts: Counter::default(),
            // 0.1 ms to 3.3 s, the longest that a probe may take being 3 s.
            probe_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
        };
        metrics.register();
        for reason in CLOSED {
            metrics.closed(reason);
        }
        for reason in refused_reasons() {
            metrics.refused(reason);
        }
        for reason in DROPPED {
            metrics.dropped(reason);
        }
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        macro_rules! register {
            ($($metric:ident: $name:literal, $help:literal;)*) => {
                $(registry.register($name, $help, self.$metric.clone());)*
            };
        }
        register! {
            connections: "connections", "Connection slots in use, including handshakes in progress";
            capacity: "capacity", "Connection slots";
            rooms: "rooms", "Rooms with at least one member on this server";
            accepted: "accepted", "WebSocket handshakes accepted";
            refused: "refused", "Handshakes rejected, by error code, and sockets closed on accept because the port was at its socket limit";
            closed: "closed", "WebSocket connections closed, by reason";
            frames_received: "frames_received", "Messages, ping, pong and close frames received from clients";
            received: "messages_received", "Messages received from clients";
            received_bytes: "received_bytes", "Payload bytes of the messages received from clients";
            published: "messages_published", "Messages published to the broker";
            dropped: "messages_dropped", "Messages dropped before publication or delivery, by reason";
            deliveries: "deliveries", "Messages written to a client or to its outbound queue";
            delivered_bytes: "delivered_bytes", "Bytes of the frames of the delivered messages";
            fanout_members: "fanout_members", "Members of the room per completed fan-out on a shard";
            backlog_bytes: "backlog_bytes", "Bytes of messages that wait for their fan-out, including 128 bytes per message";
            outbound_queue_bytes: "outbound_queue_bytes", "Bytes in the outbound queues of all clients, including 64 bytes per frame";
            overflows: "overflows", "Outbound queue overflows; each one closes the client with 1013";
            shed: "shed", "Connections closed with a request to reconnect because of PUT /shed";
            drained: "drained", "Connections closed with a request to reconnect because of SIGTERM";
            loop_lag: "loop_lag_seconds", "Delay of the timer tick of a shard, measured ten times per second; 1 to 2 ms on an idle machine";
            memory_bytes: "memory_bytes", "Memory in use: of the cgroup if it has a limit, otherwise resident memory of the process";
            broker_up: "broker_up", "1 while the broker delivers messages, otherwise 0";
            broker_disconnects: "broker_disconnects", "Losses of an established Redis connection";
            broker_connect_attempts: "broker_connect_attempts", "Connection attempts to Redis, including the first one";
            probe_seconds: "broker_probe_seconds", "Round-trip time of the probe message through Redis";
        }
    }

    /// How late a shard comes to what it has to do.
    pub fn loop_lag(&self, shard: usize) -> Histogram {
        self.loop_lag.get_or_create_owned(&Shard { shard })
    }

    /// Connections ended for this reason.
    pub(crate) fn closed(&self, reason: &'static str) -> Counter {
        self.closed.get_or_create_owned(&Reason { reason })
    }

    /// Handshakes refused for this reason.
    pub(crate) fn refused(&self, reason: &'static str) -> Counter {
        self.refused.get_or_create_owned(&Reason { reason })
    }

    /// Messages dropped for this reason.
    pub(crate) fn dropped(&self, reason: &'static str) -> Counter {
        self.dropped.get_or_create_owned(&Reason { reason })
    }

    /// All of them.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The page in the OpenMetrics text format.
    pub fn page(&self) -> String {
        wsc_runtime::admin::metrics_text(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_explained_and_initialised() {
        let page = Metrics::new().page();
        let errors = HandshakeError::ALL.map(HandshakeError::code);
        for reason in CLOSED.into_iter().chain(refused_reasons()).chain(DROPPED) {
            let meant = REASONS.iter().any(|(word, _, _)| *word == reason);
            assert!(meant || errors.contains(&reason), "{reason}");
            assert!(page.contains(&format!("{{reason=\"{reason}\"}} 0")), "{page}");
        }
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
}
