//! Redis pub/sub: one connection that subscribes, one that publishes, both replaced together when
//! either fails.
//!
//! Reconnects are ours and visible. An open connection may deliver nothing, so a probe passes
//! both every second: published on one to a channel of this process, received on the other.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use redis::{ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use wsc_contract::redis::RedisUrl;
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

impl RedisConfig {
    /// The credentials given apart override those of the URL.
    ///
    /// # Errors
    /// When the client has no support for such an address.
    pub(crate) fn new(
        url: &RedisUrl,
        username: Option<&str>,
        password: Option<&str>,
        prefix: &str,
    ) -> Result<Self, RedisError> {
        let (host, port) = (url.host().to_owned(), url.port());
        let address = if url.is_tls() {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(i64::from(url.database()));
        if let Some(username) = username.or(url.username()) {
            settings = settings.set_username(username);
        }
        if let Some(password) = password.or(url.password()) {
            settings = settings.set_password(password);
        }
        let info = address.into_connection_info()?.set_redis_settings(settings);
        Ok(Self {
            client: redis::Client::open(info)?,
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

/// Keeps the two connections for as long as the process runs.
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

    fn config(url: &str, username: Option<&str>, password: Option<&str>) -> RedisConfig {
        RedisConfig::new(&url.parse().expect("url"), username, password, "x:").expect("config")
    }

    #[test]
    fn credentials_given_apart_win() {
        let url = "redis://u:p%40ss%2Fw%23rd%25@localhost:7000/3";
        for (apart, expected) in [
            ((None, None), (Some("u"), Some("p@ss/w#rd%"))),
            ((Some("v"), Some("q")), (Some("v"), Some("q"))),
        ] {
            let config = config(url, apart.0, apart.1);
            let settings = config.client.get_connection_info().redis_settings();
            assert_eq!((settings.username(), settings.password()), expected);
            assert_eq!(settings.db(), 3);
        }
    }

    #[test]
    fn the_scheme_decides_on_tls() {
        for url in ["redis://cache:7000", "rediss://cache", "redis://[2001:db8::1]"] {
            let info = config(url, None, None).client.get_connection_info().clone();
            // The client's own reading of the URL.
            let read = url.into_connection_info().expect("url");
            assert_eq!(info.addr(), read.addr(), "{url}");
        }
    }
}
