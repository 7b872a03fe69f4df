//! The bus of a single process: a publish is a delivery. The lock of the hub makes the order.

use std::sync::Arc;

use bytes::Bytes;

use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::protocol::RoomName;
use crate::protocol::envelope;

/// Delivers at once. It holds no queue of its own.
#[derive(Debug)]
pub struct MemoryBus {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
}

impl MemoryBus {
    /// A bus for this hub.
    pub fn new(hub: Arc<Hub>, metrics: Arc<Metrics>) -> Self {
        Self { hub, metrics }
    }

    /// Delivers to the room's members.
    pub fn publish(&self, room: &RoomName, bytes: &Bytes) {
        self.metrics.published.inc();
        deliver(&self.hub, &self.metrics, room, bytes);
    }
}

/// Decodes an envelope and hands it to the hub; both buses end here.
pub(super) fn deliver(hub: &Hub, metrics: &Metrics, room: &RoomName, bytes: &Bytes) {
    let Some(envelope) = envelope::decode(bytes) else {
        metrics.dropped("malformed").inc();
        return;
    };
    if !hub.deliver(room, &envelope) {
        metrics.dropped("backlog").inc();
    }
}
