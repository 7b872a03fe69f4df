//! The end of every broker: an envelope goes to the hub.

use bytes::Bytes;
use wsc_contract::room::RoomName;

use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::protocol::envelope;

/// Decodes an envelope and hands it to the hub; both brokers end here.
pub(super) fn deliver(hub: &Hub, metrics: &Metrics, room: &RoomName, bytes: &Bytes) {
    let Some(envelope) = envelope::decode(bytes) else {
        metrics.dropped("malformed").inc();
        return;
    };
    if !hub.deliver(room, &envelope) {
        metrics.dropped("backlog").inc();
    }
}
