//! The road that every message takes, also between two clients of one pod: Redis, or this process alone.

pub mod backoff;
pub mod interest;
pub mod memory;
pub mod publisher;
pub mod redis;
mod subscriber;

use std::sync::Arc;

use bytes::Bytes;

use self::memory::MemoryBus;
use self::publisher::Reservation;
use self::redis::{RedisBus, RedisConfig};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::protocol::RoomName;

/// Which bus to use.
#[derive(Debug, Clone)]
pub enum BusConfig {
    /// One process, no Redis.
    Memory,
    /// Redis pub/sub.
    Redis(Box<RedisConfig>),
}

/// A running bus.
#[derive(Debug)]
pub enum Bus {
    /// See [`MemoryBus`].
    Memory(MemoryBus),
    /// See [`RedisBus`].
    Redis(RedisBus),
}

impl Bus {
    /// Starts the bus; it delivers into `hub` until it is dropped.
    pub fn start(config: &BusConfig, hub: Arc<Hub>, metrics: Arc<Metrics>) -> Self {
        match config {
            BusConfig::Memory => {
                metrics.bus_up.set(1);
                Self::Memory(MemoryBus::new(hub, metrics))
            }
            BusConfig::Redis(config) => Self::Redis(RedisBus::start(config, hub, metrics)),
        }
    }

    /// `redis` or `memory`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(_) => "redis",
        }
    }

    /// Whether messages travel now.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(bus) => bus.is_up(),
        }
    }

    /// Whether a message has made the round trip at least once.
    pub fn was_up(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(bus) => bus.was_up(),
        }
    }

    /// The hub gained or lost this room.
    pub fn interest_changed(&self, room: &RoomName) {
        if let Self::Redis(bus) = self {
            bus.interest_changed(room);
        }
    }

    /// Waits until messages of the room arrive here; returns at once while the bus is down, and after two seconds at the latest.
    pub async fn subscribed(&self, room: &RoomName) {
        if let Self::Redis(bus) = self {
            bus.subscribed(room).await;
        }
    }

    /// Room in the publish queue for a message of this size, if there is any now.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        match self {
            Self::Memory(_) => Some(Reservation::unbounded()),
            Self::Redis(bus) => bus.publisher().try_reserve(bytes),
        }
    }

    /// Waits for room in the publish queue; `None` after one second. The future does not borrow the bus.
    pub fn reserve(&self, bytes: usize) -> impl Future<Output = Option<Reservation>> + Send + use<> {
        let wait = match self {
            Self::Memory(_) => None,
            Self::Redis(bus) => Some(bus.publisher().reserve(bytes)),
        };
        async move {
            match wait {
                None => Some(Reservation::unbounded()),
                Some(wait) => wait.await,
            }
        }
    }

    /// Sends an envelope to all pods with members in the room, at most once.
    pub fn publish(&self, reservation: Reservation, room: &RoomName, envelope: Bytes) {
        match self {
            Self::Memory(bus) => bus.publish(room, &envelope),
            Self::Redis(bus) => bus.publish(reservation, room, envelope),
        }
    }
}
