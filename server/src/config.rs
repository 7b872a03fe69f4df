//! The settings of the server, checked.

use std::time::Duration;

use wsc_contract::close::CloseCode;
use wsc_contract::origin::OriginPolicy;

use crate::broker::BrokerConfig;
use crate::lifecycle::memory::Limit;

/// The settings of one server process.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pod's name; a request addressed to another pod is refused.
    pub(crate) pod: Option<String>,
    /// The path of room `main`, and the parent of all rooms.
    pub(crate) path: String,
    /// Connection slots.
    pub(crate) capacity: u64,
    /// Threads that serve clients.
    pub(crate) shards: usize,
    pub(crate) memory_limit: Limit,
    pub(crate) broker: BrokerConfig,
    /// Origins whose pages may connect.
    pub(crate) origins: OriginPolicy,
    /// Whether the last entry of `X-Forwarded-For` is trusted.
    pub(crate) trust_proxy: bool,
    /// The clamp of every rate that `/shed` asks for, in closes a second.
    pub(crate) max_sheds_per_second: f64,
    /// SIGTERM closes all clients within this time.
    pub(crate) drain: Duration,
    /// The close code of a request to reconnect.
    pub(crate) close_code: CloseCode,
    /// Upper bound of the random delay in a request to reconnect.
    pub(crate) close_jitter: Duration,
    /// Limits and heartbeat of one connection.
    pub(crate) limits: Limits,
}

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The largest message over all its fragments, in bytes.
    pub(crate) message_bytes: usize,
    /// The bound of the outgoing queue, in bytes.
    pub(crate) outbound_queue_bytes: usize,
    /// The bound of all outgoing queues together, in bytes.
    pub(crate) outbound_total_bytes: usize,
    /// A client that was silent for this long is pinged.
    pub(crate) heartbeat: Duration,
    /// A client that does not answer a ping for this long is dead.
    pub(crate) pong_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 << 10,
            outbound_queue_bytes: 256 << 10,
            outbound_total_bytes: 1 << 30,
            heartbeat: Duration::from_secs(25),
            pong_wait: Duration::from_secs(10),
        }
    }
}
