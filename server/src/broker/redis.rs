//! Redis pub/sub: one connection that subscribes, one that publishes, both replaced together when
//! either fails.
//!
//! Reconnects are ours and visible. A connection can look alive and be deaf, so a probe goes
//! through both all the time: published on one to a channel of this process, it has to come back on
//! the other.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use redis::{IntoConnectionInfo, RedisError};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use wsc_contract::room::RoomName;

use super::publisher::{Publisher, Reservation};
use super::shared::Shared;
use super::subscriber;
use crate::hub::Hub;
use crate::metrics::Metrics;

/// How long a handshake waits for the subscription to a new room.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(2);
/// A connection that lasted this long was a good one: the next attempt starts without a wait.
const STABLE: Duration = Duration::from_secs(5);
/// Delivery must resume within two seconds of Redis, so the longest wait is 1 s: the jitter, which
/// keeps pods from reconnecting in step, adds up to as much again.
const RETRY: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(25))
    .with_max_delay(Duration::from_millis(500))
    .without_max_times()
    .with_jitter();

/// Where Redis is and what is ours in it.
#[derive(Debug, Clone)]
pub(crate) struct RedisConfig {
    /// Address, TLS and credentials.
    pub(crate) client: redis::Client,
    /// What all channels start with, for example `wsc:ns:chat:`.
    pub(crate) prefix: String,
}

/// Why a URL cannot be used; without the password.
#[derive(Debug, Error)]
pub(crate) enum RedisUrlError {
    /// Another scheme, or none.
    #[error("the Redis URL must start with redis:// or rediss://")]
    Scheme,
    /// Anything else.
    #[error("invalid Redis URL: {0}")]
    Invalid(#[from] RedisError),
}

impl RedisConfig {
    /// Reads a `redis://` or `rediss://` URL; the credentials given apart win over those in it.
    ///
    /// # Errors
    /// Names what is wrong, without the password.
    pub(crate) fn new(
        url: &str,
        username: Option<&str>,
        password: Option<&str>,
        prefix: &str,
    ) -> Result<Self, RedisUrlError> {
        if !url.starts_with("redis://") && !url.starts_with("rediss://") {
            return Err(RedisUrlError::Scheme);
        }
        let info = url.into_connection_info()?;
        let mut settings = info
            .redis_settings()
            .clone()
            .set_protocol(redis::ProtocolVersion::RESP3);
        if let Some(username) = username {
            settings = settings.set_username(username);
        }
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        let client = redis::Client::open(info.set_redis_settings(settings))?;
        Ok(Self {
            client,
            prefix: prefix.to_owned(),
        })
    }
}

/// The broker of a pod.
#[derive(Debug)]
pub(crate) struct RedisBroker {
    shared: Arc<Shared>,
    publisher: Publisher,
    tasks: [JoinHandle<()>; 2],
}

impl RedisBroker {
    /// Starts to connect.
    pub(crate) fn start(config: &RedisConfig, hub: Arc<Hub>, metrics: Arc<Metrics>) -> Self {
        let (link, links) = watch::channel(None);
        let (publisher, pump) = Publisher::start(links, Arc::clone(&metrics));
        let (client, prefix) = (config.client.clone(), config.prefix.clone());
        let shared = Arc::new(Shared::new(client, prefix, hub, metrics, link));
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared)));
        Self {
            shared,
            publisher,
            tasks: [pump, supervisor],
        }
    }

    /// Whether both connections work and the last probe came back.
    pub(crate) fn is_up(&self) -> bool {
        self.shared.is_up()
    }

    /// Whether a probe ever came back.
    pub(crate) fn was_up(&self) -> bool {
        self.shared.was_up()
    }

    /// The hub gained or lost this room.
    pub(crate) fn interest_changed(&self, room: &RoomName) {
        self.shared.interest.mark(room);
        self.shared.dirty.notify_one();
    }

    /// Waits until the room is subscribed, the broker is down or two seconds are over.
    pub(crate) async fn subscribed(&self, room: &RoomName) {
        let mut progress = self.shared.progress.subscribe();
        let done = || !self.is_up() || self.shared.interest.is_active(room);
        // An end of the wait by time is no error: the client then joins a room that is about to be
        // subscribed.
        let _ = timeout(SUBSCRIBE_WAIT, progress.wait_for(|_| done())).await;
    }

    pub(super) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Queues an envelope.
    pub(crate) fn publish(&self, reservation: Reservation, room: &RoomName, envelope: Bytes) {
        self.publisher
            .push(reservation, self.shared.channel(room), envelope);
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Keeps the two connections for as long as the process lives.
async fn supervise(shared: Arc<Shared>) {
    let mut waits = RETRY.build();
    let mut last_error = String::new();
    loop {
        let started = Instant::now();
        shared.metrics.broker_connect_attempts.inc();
        let Err(error) = subscriber::run(&shared).await;
        shared.link.send_replace(None);
        if shared.is_up() {
            shared.metrics.broker_disconnects.inc();
        }
        shared.set_up(false);
        let error = error.to_string();
        // The same refusal every second is one line, not thousands.
        if error != last_error {
            let redis = shared.client.get_connection_info().addr().to_string();
            tracing::warn!(%error, redis, "Redis unavailable; retrying");
            last_error = error;
        }
        if started.elapsed() > STABLE {
            waits = RETRY.build();
            last_error.clear();
        }
        // Without a maximum number of attempts there is always a next wait.
        tokio::time::sleep(waits.next().unwrap_or_default()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_one_second() {
        let longest = [50, 100, 200, 400, 800, 1000, 1000].map(Duration::from_millis);
        for (wait, longest) in RETRY.build().zip(longest) {
            assert!((longest / 2..=longest).contains(&wait), "{wait:?} of {longest:?}");
        }
        assert!(
            RETRY.build().nth(1_000_000).is_some(),
            "there is always a next wait"
        );
    }

    #[test]
    fn credentials_given_apart_win() {
        let url = "redis://u:p@localhost:7000/3";
        let config = RedisConfig::new(url, None, None, "x:").expect("url");
        let settings = config.client.get_connection_info().redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("u"), Some("p"), 3)
        );
        let config = RedisConfig::new(url, Some("v"), Some("q"), "x:").expect("url");
        let settings = config.client.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("v"), Some("q")));
    }

    #[test]
    fn urls_that_are_not_redis_are_refused_without_the_password() {
        for bad in ["", "http://h", "unix:///tmp/s", "redis:", "redis://u:secret@"] {
            let error = RedisConfig::new(bad, None, Some("secret"), "x:").expect_err(bad);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(RedisConfig::new("rediss://h:1", None, None, "x:").is_ok());
    }
}
