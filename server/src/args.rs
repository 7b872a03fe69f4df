//! The command line. Every flag is an environment variable too: the operator configures pods by
//! environment.

use std::ffi::OsString;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use redis::RedisError;
use thiserror::Error;
use wsc_contract::close::CloseCode;
use wsc_contract::control::Notice;
use wsc_contract::env::server as env;
use wsc_contract::origin::{OriginError, OriginPattern, OriginPolicy};
use wsc_contract::paths::{self, ClientPath};
use wsc_contract::ports;
use wsc_contract::redis::{RedisUrl, RedisUrlError};
use wsc_runtime::cli::{self, Exit};
use wsc_runtime::telemetry::LogFormat;

use crate::broker::BrokerConfig;
use crate::broker::publisher::MAX_MESSAGE_BYTES;
use crate::broker::redis::RedisConfig;
use crate::config::{Config, Limits};
use crate::hub::MAX_SHARDS;
use crate::lifecycle::memory::Limit;
use crate::lifecycle::{memory, shards};
use crate::outbox::FRAME_OVERHEAD_BYTES;
use crate::websocket::encode::MAX_HEADER_BYTES;

/// WebSocket server with rooms: a message to a room is delivered to every member of the room, on
/// every pod
#[derive(Debug, Parser)]
#[command(
    name = "wsc-server",
    version,
    about,
    max_term_width = 110,
    allow_negative_numbers = true
)]
pub struct Args {
    /// Name of the pod; a request with another name in `X-Wsc-Server` is rejected with 503
    #[arg(long, env = env::POD_NAME, value_name = "NAME")]
    pub(crate) pod_name: Option<String>,
    /// Port for clients; 0 selects a free port
    #[arg(long, env = env::PORT, default_value_t = ports::SERVER.number, value_parser = cli::number(0_u16..=65_535))]
    pub(crate) port: u16,
    /// Port for health, metrics and the operator; 0 selects a free port
    #[arg(long, env = env::CONTROL_PORT, default_value_t = ports::CONTROL.number, value_name = "PORT",
          value_parser = cli::number(0_u16..=65_535))]
    pub(crate) control_port: u16,
    /// Client path: PATH is room `main`, PATH/ROOM any other room
    #[arg(long, env = env::PATH, default_value = ClientPath::DEFAULT, value_parser = cli::checked(path_rule(), parse_path))]
    pub(crate) path: String,
    /// Maximum number of connections; lowered to the open-file limit minus 256
    #[arg(long, env = env::MAX_CONNECTIONS, default_value_t = 10_000, value_name = "N",
          value_parser = cli::number(1_u64..=1_000_000))]
    pub(crate) max_connections: u64,
    /// Threads that serve clients (default: the CPUs of the process, at most 4)
    #[arg(long, env = env::SHARDS, value_name = "N", value_parser = cli::number(1..=MAX_SHARDS as u64))]
    pub(crate) shards: Option<u64>,
    /// Message broker: `redis` between pods, `memory` within this process; required when POD_NAME
    /// is set
    #[arg(long, env = env::BROKER, value_enum)]
    pub(crate) broker: Option<BrokerKind>,
    /// Redis URL; TLS accepts the certificate authorities of the machine or of SSL_CERT_FILE
    #[arg(long, env = env::REDIS_URL, hide_env_values = true, value_name = "URL", value_parser = cli::text(REDIS_URL))]
    pub(crate) redis_url: Option<String>,
    /// Redis user; overrides the user of the URL
    #[arg(long, env = env::REDIS_USERNAME, hide_env_values = true, value_name = "NAME")]
    pub(crate) redis_username: Option<String>,
    /// Redis password; overrides the password of the URL. Prefer the variable: flags are visible in
    /// the process list
    #[arg(
        long,
        env = env::REDIS_PASSWORD,
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    pub(crate) redis_password: Option<String>,
    /// Prefix of every Redis channel; servers with different prefixes share no messages
    #[arg(long, env = env::REDIS_PREFIX, default_value = "wsc:", value_name = "PREFIX", value_parser = cli::text(REDIS_PREFIX))]
    pub(crate) redis_prefix: String,
    /// Allowed origins, comma-separated; the star of a host is one label, `*` is every origin but
    /// `null`; empty allows the host of the request
    #[arg(
        long,
        env = env::ORIGINS,
        default_value = "",
        value_name = "LIST",
        hide_default_value = true,
        value_parser = cli::text(format!("each {}", OriginPattern::RULE))
    )]
    pub(crate) origins: String,
    /// Take the client address from the last entry of `X-Forwarded-For`
    #[arg(long, env = env::TRUST_PROXY, action = ArgAction::Set, num_args = 0..=1, default_value_t = false,
          default_missing_value = "true", value_name = "BOOL")]
    pub(crate) trust_proxy: bool,
    /// Upper bound of the rate of `PUT /shed`, in closes per second
    #[arg(long, env = env::MAX_SHEDS_PER_SECOND, default_value_t = 100.0, value_name = "RATE", value_parser = cli::checked(RATE, parse_rate))]
    pub(crate) max_sheds_per_second: f64,
    /// Time over which all connections are closed evenly after SIGTERM
    #[arg(long, env = env::DRAIN_SECONDS, default_value_t = 25, value_name = "SECONDS",
          value_parser = cli::number(0_u64..=86_400))]
    pub(crate) drain_seconds: u64,
    /// Close code sent to clients that must reconnect
    #[arg(long, env = env::CLOSE_CODE, default_value_t = CloseCode::SERVICE_RESTART, value_name = "CODE",
          value_parser = cli::parsed::<CloseCode>(CloseCode::RULE))]
    pub(crate) close_code: CloseCode,
    /// Upper bound of the random reconnect delay in the close reason
    #[arg(long, env = env::CLOSE_JITTER_SECONDS, default_value_t = 30, value_name = "SECONDS",
          value_parser = cli::number(0_u64..=Notice::MAX_JITTER_SECONDS.into()))]
    pub(crate) close_jitter_seconds: u64,
    /// Maximum message size over all fragments; a larger message closes the
    /// connection with 1009
    #[arg(long, env = env::MAX_MESSAGE_BYTES, default_value_t = Limits::default().message_bytes, value_name = "BYTES",
          value_parser = cli::number(1..=MAX_MESSAGE_BYTES))]
    pub(crate) max_message_bytes: usize,
    /// Outbound queue of one client, including 64 bytes per frame; on overflow the client is closed
    /// with 1013
    #[arg(long, env = env::OUTBOUND_QUEUE_BYTES, default_value_t = Limits::default().outbound_queue_bytes, value_name = "BYTES",
          value_parser = cli::parsed::<usize>(outbound_queue_range()))]
    pub(crate) outbound_queue_bytes: usize,
    /// All outbound queues together; above it the clients with the longest queues are closed with
    /// 1013 (default: a quarter of the memory limit, 1 GiB without a limit)
    #[arg(long, env = env::OUTBOUND_TOTAL_BYTES, value_name = "BYTES", value_parser = cli::number(1_u64 << 20..))]
    pub(crate) outbound_total_bytes: Option<u64>,
    /// Memory limit: from 85 % usage on, until 82 %, handshakes are rejected with 503. Usage is the
    /// resident memory of the process, or memory without page cache for the limit of the cgroup
    /// (default: the memory limit of the cgroup)
    #[arg(long, env = env::MEMORY_LIMIT_BYTES, value_name = "BYTES", value_parser = cli::number(1_u64 << 20..))]
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Idle time before a client is pinged; it is closed if no pong arrives within 10 s
    #[arg(long, env = env::HEARTBEAT_SECONDS, default_value_t = 25, value_name = "SECONDS",
          value_parser = cli::number(1_u64..=3600))]
    pub(crate) heartbeat_seconds: u64,
    /// Log format; RUST_LOG sets the level (default `info`)
    #[arg(long, env = env::LOG_FORMAT, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// What `--redis-url` accepts.
const REDIS_URL: &str = "redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], or rediss:// for TLS";
/// What `--redis-prefix` accepts.
const REDIS_PREFIX: &str = "1 to 200 printable ASCII characters without spaces";
/// What `--max-sheds-per-second` accepts.
const RATE: &str = "a number above 0, for example 2.5";
/// The largest outbound queue of one client.
const MAX_OUTBOUND_QUEUE_BYTES: usize = 64 << 20;
/// What a message takes in an outbound queue besides its payload.
const FRAME_BYTES: usize = MAX_HEADER_BYTES + FRAME_OVERHEAD_BYTES;

/// The words of `--broker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BrokerKind {
    /// Redis pub/sub, between pods
    Redis,
    /// In-process, a single server
    Memory,
}

/// A value that is missing, or invalid beside the others.
#[derive(Debug, Error)]
enum ConfigError {
    #[error("--broker (WSC_BROKER) is required when POD_NAME is set: WSC_BROKER=redis or WSC_BROKER=memory")]
    Broker,
    #[error(
        "--redis-url (WSC_REDIS_URL) is required: set --redis-url redis://HOST:6379, or --broker memory for a single process"
    )]
    NoRedisUrl,
    #[error("--redis-url (WSC_REDIS_URL): {0}; the form is redis://HOST:6379")]
    RedisUrl(#[from] RedisUrlError),
    #[error("--redis-url (WSC_REDIS_URL): {0}")]
    Redis(#[from] RedisError),
    #[error("--redis-prefix (WSC_REDIS_PREFIX) must be {REDIS_PREFIX}, for example wsc:; received {0:?}")]
    RedisPrefix(String),
    #[error("--origins (WSC_ORIGINS): {0}")]
    Origins(#[from] OriginError),
    #[error(
        "--outbound-queue-bytes (WSC_OUTBOUND_QUEUE_BYTES) must be {least} (one message of maximum size) to {MAX_OUTBOUND_QUEUE_BYTES}; received \"{received}\""
    )]
    OutboundQueueBytes { least: usize, received: usize },
}

impl Args {
    /// Reads command line and environment.
    ///
    /// # Errors
    /// What to print instead of starting.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        // Ignored, it would leave a bound of the user's at its default.
        for (old, new) in env::RENAMED {
            if std::env::var_os(old).is_some() {
                return Err(Exit::Usage(format!("{old} is now {new}")));
            }
        }
        cli::parse(args)
    }

    /// Checks what belongs together. The capacity is still without the open-file limit.
    ///
    /// # Errors
    /// One line with the remedy.
    pub fn config(&self) -> Result<Config, Exit> {
        self.checked().map_err(|error| Exit::Usage(error.to_string()))
    }

    fn checked(&self) -> Result<Config, ConfigError> {
        Ok(Config {
            pod: self.pod_name.clone().filter(|p| !p.is_empty()),
            path: self.path.clone(),
            capacity: self.max_connections,
            shards: self
                .shards
                .and_then(|shards| usize::try_from(shards).ok())
                .unwrap_or_else(shards::default_count),
            memory_limit: self.memory_limit(),
            broker: self.broker()?,
            origins: OriginPolicy::parse(&self.origins)?,
            trust_proxy: self.trust_proxy,
            max_sheds_per_second: self.max_sheds_per_second,
            drain: Duration::from_secs(self.drain_seconds),
            close_code: self.close_code,
            close_jitter: Duration::from_secs(self.close_jitter_seconds),
            limits: self.limits()?,
        })
    }

    fn broker(&self) -> Result<BrokerConfig, ConfigError> {
        let in_pod = self.pod_name.as_ref().is_some_and(|p| !p.is_empty());
        match self.broker {
            Some(BrokerKind::Memory) => return Ok(BrokerConfig::Memory),
            None if in_pod => return Err(ConfigError::Broker),
            Some(BrokerKind::Redis) | None => {}
        }
        // A Secret made from a file ends in a line break.
        let url = self.redis_url.as_deref().map(str::trim_ascii);
        let Some(url) = url.filter(|url| !url.is_empty()) else {
            return Err(ConfigError::NoRedisUrl);
        };
        let url: RedisUrl = url.parse()?;
        if !(1..=200).contains(&self.redis_prefix.len())
            || !self.redis_prefix.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(ConfigError::RedisPrefix(self.redis_prefix.clone()));
        }
        let (user, password) = (self.redis_username.as_deref(), self.redis_password.as_deref());
        let not_empty = |text: &&str| !text.is_empty();
        let config = RedisConfig::new(
            &url,
            user.filter(not_empty),
            password.filter(not_empty),
            &self.redis_prefix,
        )?;
        Ok(BrokerConfig::Redis(Box::new(config)))
    }

    fn memory_limit(&self) -> Limit {
        let said = self.memory_limit_bytes.map(Limit::Said);
        let cgroup = || memory::cgroup_limit().map(Limit::Cgroup);
        said.or_else(cgroup).unwrap_or(Limit::None)
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        let least = self.max_message_bytes + FRAME_BYTES;
        let received = self.outbound_queue_bytes;
        if !(least..=MAX_OUTBOUND_QUEUE_BYTES).contains(&received) {
            return Err(ConfigError::OutboundQueueBytes { least, received });
        }
        let memory = self.memory_limit().bytes();
        let outboxes = self
            .outbound_total_bytes
            .unwrap_or_else(|| memory::default_outboxes(memory));
        Ok(Limits {
            message_bytes: self.max_message_bytes,
            outbound_queue_bytes: self.outbound_queue_bytes,
            outbound_total_bytes: usize::try_from(outboxes).unwrap_or(usize::MAX),
            heartbeat: Duration::from_secs(self.heartbeat_seconds),
            ..Limits::default()
        })
    }
}

fn path_rule() -> String {
    format!("{}, not {} or below it", ClientPath::RULE, paths::RESERVED)
}

fn parse_path(text: &str) -> Option<String> {
    text.parse::<ClientPath>().ok().map(String::from)
}

/// The least holds one message of maximum size.
fn outbound_queue_range() -> String {
    format!("--max-message-bytes + {FRAME_BYTES} to {MAX_OUTBOUND_QUEUE_BYTES}")
}

fn parse_rate(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[&str]) -> Result<Config, Exit> {
        let words = ["wsc-server"].iter().chain(flags).map(OsString::from);
        Args::read(words)?.config()
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = config(&["--broker", "memory"]).expect("config");
        assert_eq!((config.path.as_str(), config.capacity), ("/ws", 10_000));
        assert_eq!(
            (config.close_code, config.close_jitter),
            (CloseCode::SERVICE_RESTART, Duration::from_secs(30))
        );
        assert_eq!(
            (config.drain, config.max_sheds_per_second),
            (Duration::from_secs(25), 100.0)
        );
        assert_eq!(
            (config.limits.message_bytes, config.limits.outbound_queue_bytes),
            (65_536, 262_144)
        );
        assert_eq!(config.limits.heartbeat, Duration::from_secs(25));
        assert_eq!(
            (config.origins, config.pod, config.trust_proxy),
            (OriginPolicy::SameHost, None, false)
        );
    }

    #[test]
    fn a_switch_may_have_a_value() {
        for (flags, on) in [
            (&["--trust-proxy"][..], true),
            (&["--trust-proxy", "false"], false),
        ] {
            let flags = [&["--broker", "memory"], flags].concat();
            assert_eq!(config(&flags).expect("config").trust_proxy, on, "{flags:?}");
        }
    }

    #[test]
    fn redis_url_may_end_in_newline() {
        let read = config(&["--redis-url", "redis://cache:7000\n"]).expect("config");
        let BrokerConfig::Redis(redis) = read.broker else {
            unreachable!("a URL of a Redis");
        };
        let address = redis.client.get_connection_info().addr().to_string();
        assert_eq!(address, "cache:7000");
        assert!(config(&["--redis-url", "redis://ca\nche"]).is_err());
    }

    #[test]
    fn outbox_holds_one_largest_message() {
        let with = |bytes: &str| {
            config(&[
                "--broker",
                "memory",
                "--max-message-bytes",
                "1000",
                "--outbound-queue-bytes",
                bytes,
            ])
        };
        assert!(with("1074").is_ok());
        let error = with("1073").expect_err("too small");
        assert!(
            matches!(&error, Exit::Usage(line) if line.contains("1074")),
            "{error:?}"
        );
    }
}
