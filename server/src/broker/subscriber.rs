//! The two Redis connections from connect to failure: connect, subscribe, prove the round trip,
//! then serve until something fails.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::deliver::deliver;
use super::publisher::Link;
use super::shared::Shared;

/// Each attempt to connect.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Each command. A Redis that answers later than this is as good as gone.
const RESPONSE_WAIT: Duration = Duration::from_secs(2);
/// The time between two probes.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// With the time between probes this keeps the detection of a deaf connection under five seconds.
const PROBE_WAIT: Duration = Duration::from_secs(3);
/// The most channels in one SUBSCRIBE.
const BATCH: usize = 256;

/// Why the connections are given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("no probe returned within {} s", PROBE_WAIT.as_secs())]
    Deaf,
    #[error("connection lost")]
    Broken,
}

/// Connects and serves. Ends only by failing.
pub(super) async fn run(shared: &Arc<Shared>) -> Result<Infallible, Failure> {
    let (echo, echoes) = watch::channel(0_u64);
    // Of these connections only: a late failure of an earlier one must not end them.
    let failed = Arc::new(Notify::new());
    let mut subscriber = connect(shared, &failed, Some(echo)).await?;
    let publisher = connect(shared, &failed, None).await?;
    subscriber.subscribe(&shared.probe_channel).await?;
    shared.interest.restart(shared.hub.rooms());
    update_subscriptions(shared, &mut subscriber).await?;
    let mut probe = Probe {
        shared,
        publisher: publisher.clone(),
        echoes,
        number: 0,
    };
    probe.round_trip().await?;
    shared.link.send_replace(Some(Link {
        connection: publisher,
        failed: Arc::clone(&failed),
    }));
    shared.set_up(true);
    tokio::select! {
        failure = follow_interest(shared, &mut subscriber) => failure,
        failure = probe.repeat() => failure,
        () = failed.notified() => Err(Failure::Broken),
    }
}

/// A connection; with `echo` it is the one that receives.
async fn connect(
    shared: &Arc<Shared>,
    failed: &Arc<Notify>,
    echo: Option<watch::Sender<u64>>,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_WAIT))
        .set_response_timeout(Some(RESPONSE_WAIT));
    let (weak, failed) = (Arc::downgrade(shared), Arc::clone(failed));
    // Called in the task that reads the connection: there is no queue between Redis and the
    // clients' outboxes.
    let config = config.set_push_sender(move |push: PushInfo| -> Result<(), Infallible> {
        if push.kind == PushKind::Disconnection {
            failed.notify_one();
        } else if let Some(shared) = weak.upgrade() {
            receive(&shared, echo.as_ref(), push);
        }
        Ok(())
    });
    shared
        .client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

fn receive(shared: &Shared, echo: Option<&watch::Sender<u64>>, push: PushInfo) {
    if push.kind != PushKind::Message {
        return;
    }
    let mut data = push.data.into_iter();
    let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) = (data.next(), data.next())
    else {
        return;
    };
    let Ok(channel) = std::str::from_utf8(&channel) else {
        return;
    };
    if let Some(room) = shared.room(channel) {
        deliver(&shared.hub, &shared.metrics, &room, &Bytes::from(payload));
    } else if channel == shared.probe_channel
        && let Some(echo) = echo
        && let Ok(number) = String::from_utf8_lossy(&payload).parse()
    {
        echo.send_replace(number);
    }
}

/// Subscribes and unsubscribes as the hub's rooms come and go.
async fn follow_interest(
    shared: &Shared,
    subscriber: &mut MultiplexedConnection,
) -> Result<Infallible, Failure> {
    loop {
        shared.dirty.notified().await;
        update_subscriptions(shared, subscriber).await?;
    }
}

async fn update_subscriptions(
    shared: &Shared,
    subscriber: &mut MultiplexedConnection,
) -> Result<(), RedisError> {
    loop {
        let changes = shared.interest.take(BATCH, |room| shared.hub.has(room));
        if changes.subscribe.is_empty() && changes.unsubscribe.is_empty() {
            return Ok(());
        }
        let channels = |rooms: &[_]| rooms.iter().map(|r| shared.channel(r)).collect::<Vec<_>>();
        if !changes.unsubscribe.is_empty() {
            subscriber.unsubscribe(channels(&changes.unsubscribe)).await?;
        }
        if !changes.subscribe.is_empty() {
            subscriber.subscribe(channels(&changes.subscribe)).await?;
            shared.interest.confirm(changes.subscribe);
        }
        shared.progress.send_modify(|n| *n += 1);
    }
}

struct Probe<'a> {
    shared: &'a Shared,
    publisher: MultiplexedConnection,
    echoes: watch::Receiver<u64>,
    number: u64,
}

impl Probe<'_> {
    async fn repeat(&mut self) -> Result<Infallible, Failure> {
        loop {
            tokio::time::sleep(PROBE_EVERY).await;
            self.round_trip().await?;
        }
    }

    async fn round_trip(&mut self) -> Result<(), Failure> {
        self.number += 1;
        let (number, started) = (self.number, Instant::now());
        let _: Value = self.publisher.publish(&self.shared.probe_channel, number).await?;
        let back = timeout_at(started + PROBE_WAIT, self.echoes.wait_for(|n| *n >= number)).await;
        match back {
            Ok(Ok(_)) => {
                self.shared
                    .metrics
                    .probe_seconds
                    .observe(started.elapsed().as_secs_f64());
                Ok(())
            }
            Ok(Err(_)) => Err(Failure::Broken),
            Err(_) => Err(Failure::Deaf),
        }
    }
}
