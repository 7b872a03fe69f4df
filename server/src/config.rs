//! What the server runs with, after everything was checked.

use std::time::Duration;

use wsc_contract::close::CloseCode;
use wsc_contract::origin::OriginPolicy;

use crate::broker::BrokerConfig;
use crate::memory::Limit;

/// The settings of one server process.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pod's name; a request that means another pod is refused.
    pub pod: Option<String>,
    /// The path of room `main`, and the parent of all rooms.
    pub path: String,
    /// Connection slots.
    pub capacity: u64,
    /// Threads that serve clients.
    pub shards: usize,
    /// What memory there is.
    pub memory_limit: Limit,
    /// How messages travel.
    pub broker: BrokerConfig,
    /// Which web pages may connect.
    pub origins: OriginPolicy,
    /// Whether `X-Forwarded-For` is the proxy's word.
    pub trust_proxy: bool,
    /// The clamp of every rate that `/shed` asks for, in closes a second.
    pub max_sheds_per_second: f64,
    /// SIGTERM closes everybody within this time.
    pub drain: Duration,
    /// The close code of a moved client.
    pub close_code: CloseCode,
    /// The upper end of the random wait that a moved client is asked for.
    pub close_jitter: Duration,
    /// Limits and heartbeat of one connection.
    pub limits: Limits,
}

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest message over all its fragments, in bytes.
    pub message_bytes: usize,
    /// The bound of the outgoing queue, in bytes.
    pub outbound_queue_bytes: usize,
    /// The bound of all outgoing queues together, in bytes.
    pub outbound_total_bytes: usize,
    /// A client that was silent for this long is pinged.
    pub heartbeat: Duration,
    /// A client that does not answer a ping for this long is dead.
    pub pong_wait: Duration,
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
