//! The broker of a single process: a publish is a delivery. The lock of the hub makes the order.

use std::sync::Arc;

use bytes::Bytes;
use wsc_contract::room::RoomName;

use super::deliver::deliver;
use crate::hub::Hub;
use crate::metrics::Metrics;

/// Delivers at once. It holds no queue of its own.
#[derive(Debug)]
pub(crate) struct InProcessBroker {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
}

impl InProcessBroker {
    /// A broker for this hub.
    pub(crate) fn new(hub: Arc<Hub>, metrics: Arc<Metrics>) -> Self {
        Self { hub, metrics }
    }

    /// Delivers to the room's members.
    pub(crate) fn publish(&self, room: &RoomName, bytes: &Bytes) {
        self.metrics.published.inc();
        deliver(&self.hub, &self.metrics, room, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::BACKLOG_BYTES;
    use crate::hub::member::Member;
    use crate::outbox::Outbox;
    use crate::protocol::{Opcode, Sender, envelope};

    #[test]
    fn full_shard_drops_and_counts() {
        let sender = Sender {
            process: 1,
            connection: 1,
        };
        let (hub, metrics) = (Arc::new(Hub::new(1, 64 << 20, 0)), Arc::new(Metrics::new()));
        let broker = InProcessBroker::new(Arc::clone(&hub), Arc::clone(&metrics));
        let bytes = envelope::encode(sender, Opcode::Binary, &vec![7; BACKLOG_BYTES.0 / 4]);
        let name = |name| RoomName::parse(name).unwrap();
        let outbox = Arc::new(Outbox::new(64 << 20, Arc::clone(hub.budget())));
        let member = Member {
            sender,
            outbox,
            echo: true,
        };
        let _membership = hub.join(0, &name("full"), member);
        let publish = |room, times: usize| (0..times).for_each(|_| broker.publish(&name(room), &bytes));
        // Four are not yet over it.
        publish("full", 5);
        publish("nobody", 5);
        assert_eq!(metrics.dropped("backlog").get(), 1);
        publish("full", 3);
        assert_eq!(
            (metrics.dropped("backlog").get(), metrics.published.get()),
            (4, 13)
        );
        let mut turn = hub.shard(0).turn(100, tokio::time::Instant::now());
        while hub.shard(0).backlog() > 0 {
            turn = hub.shard(0).turn(100, tokio::time::Instant::now());
        }
        assert_eq!(turn.overflowed, 0);
        publish("full", 1);
        assert_eq!(metrics.dropped("backlog").get(), 4, "there is room again");
    }
}
