//! The path of every message, also between two clients of one pod: Redis, or this process alone.

mod deliver;
mod in_process;
mod interest;
pub(crate) mod publisher;
pub(crate) mod redis;
mod shared;
mod subscriber;

use std::sync::Arc;

use bytes::Bytes;
use wsc_contract::room::RoomName;

use self::in_process::InProcessBroker;
use self::publisher::Reservation;
use self::redis::{RedisBroker, RedisConfig};
use crate::hub::Hub;
use crate::metrics::Metrics;

#[derive(Debug, Clone)]
pub(crate) enum BrokerConfig {
    /// One process, no Redis.
    Memory,
    /// Redis pub/sub.
    Redis(Box<RedisConfig>),
}

/// A running broker.
#[derive(Debug)]
pub(crate) enum Broker {
    /// See [`InProcessBroker`].
    Memory(InProcessBroker),
    /// See [`RedisBroker`].
    Redis(RedisBroker),
}

impl Broker {
    /// Starts the broker; it delivers into `hub` until it is dropped.
    pub(crate) fn start(config: &BrokerConfig, hub: Arc<Hub>, metrics: Arc<Metrics>) -> Self {
        match config {
            BrokerConfig::Memory => {
                metrics.broker_up.set(1);
                Self::Memory(InProcessBroker::new(hub, metrics))
            }
            BrokerConfig::Redis(config) => Self::Redis(RedisBroker::start(config, hub, metrics)),
        }
    }

    /// `redis` or `memory`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(_) => "redis",
        }
    }

    /// Whether messages are delivered now.
    pub(crate) fn is_up(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(broker) => broker.is_up(),
        }
    }

    /// Whether a message has made the round trip at least once.
    pub(crate) fn was_up(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(broker) => broker.was_up(),
        }
    }

    /// The hub gained or lost this room.
    pub(crate) fn interest_changed(&self, room: &RoomName) {
        if let Self::Redis(broker) = self {
            broker.interest_changed(room);
        }
    }

    /// Waits until messages of the room arrive here; returns at once while the broker is down, and
    /// after two seconds at the latest.
    pub(crate) async fn subscribed(&self, room: &RoomName) {
        if let Self::Redis(broker) = self {
            broker.subscribed(room).await;
        }
    }

    /// Room in the publish queue for a message of this size, if there is any now.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        match self {
            Self::Memory(_) => Some(Reservation::unbounded()),
            Self::Redis(broker) => broker.publisher().try_reserve(bytes),
        }
    }

    /// Waits for room in the publish queue; `None` after one second. The future does not borrow the
    /// broker.
    pub(crate) fn reserve(&self, bytes: usize) -> impl Future<Output = Option<Reservation>> + Send + use<> {
        let wait = match self {
            Self::Memory(_) => None,
            Self::Redis(broker) => Some(broker.publisher().reserve(bytes)),
        };
        async move {
            match wait {
                None => Some(Reservation::unbounded()),
                Some(wait) => wait.await,
            }
        }
    }

    /// Sends an envelope to all pods with members in the room, at most once.
    pub(crate) fn publish(&self, reservation: Reservation, room: &RoomName, envelope: Bytes) {
        match self {
            Self::Memory(broker) => broker.publish(room, &envelope),
            Self::Redis(broker) => broker.publish(reservation, room, envelope),
        }
    }
}
