//! What one client holds in the server. Dropping it releases everything, exactly once, wherever the
//! connection ends.

use std::sync::Arc;

use tokio::time::Instant;
use wsc_contract::room::RoomName;

use crate::handshake::target::Target;
use crate::hub::Membership;
use crate::hub::member::Member;
use crate::lifecycle::capacity::Slot;
use crate::lifecycle::clients::Registration;
use crate::listener::Arrival;
use crate::outbox::Outbox;
use crate::protocol::Sender;
use crate::server::Server;

/// A member of a room with a slot; at first only a handshake, later a session.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) server: Arc<Server>,
    pub(crate) outbox: Arc<Outbox>,
    sender: Sender,
    room: RoomName,
    membership: Option<Membership>,
    via: Option<String>,
    registration: Option<Registration>,
    opened: bool,
    slot: Option<Slot>,
    arrival: Arrival,
}

impl Connection {
    /// Joins the room, on the shard of this thread.
    pub(crate) fn join(
        server: &Arc<Server>,
        slot: Slot,
        target: Target,
        via: Option<String>,
        arrival: Arrival,
    ) -> Self {
        let outbox = Arc::new(Outbox::new(
            server.config.limits.outbound_queue_bytes,
            Arc::clone(server.hub.budget()),
        ));
        let sender = Sender {
            process: server.process,
            connection: server.next_connection(),
        };
        let member = Member {
            sender,
            outbox: Arc::clone(&outbox),
            echo: target.echo,
        };
        let (membership, appeared) = server.hub.join(arrival.shard, &target.room, member);
        if appeared {
            server.broker.interest_changed(&target.room);
        }
        Self {
            server: Arc::clone(server),
            outbox,
            sender,
            room: target.room,
            membership: Some(membership),
            via,
            registration: None,
            opened: false,
            slot: Some(slot),
            arrival,
        }
    }

    /// The upgrade is answered: from now on the connection can be drained.
    pub(crate) fn open(&mut self) {
        let (clients, outbox) = (&self.server.drain.clients, Arc::clone(&self.outbox));
        self.registration = Some(clients.register(self.sender.connection, self.via.as_deref(), outbox));
        self.opened = true;
        self.server.metrics.accepted.inc();
        self.server.drain.wake_shedding();
    }

    /// The connection ends for a reason of its own: it is no longer drained or delivered to.
    pub(crate) fn finish(&mut self) -> bool {
        if let Some(membership) = self.membership.take()
            && self.server.hub.leave(&membership)
        {
            self.server.broker.interest_changed(&self.room);
        }
        self.outbox.finish()
    }

    /// Schedules a wake-up of the session at about this time; returns when.
    pub(crate) fn wake_at(&self, time: Instant) -> Instant {
        let wheel = self.server.wheel(self.arrival.shard);
        wheel.wake_at(time, &self.outbox)
    }

    /// Its number; later connections have higher ones.
    pub(crate) fn number(&self) -> u64 {
        self.sender.connection
    }

    pub(crate) fn sender(&self) -> Sender {
        self.sender
    }

    pub(crate) fn room(&self) -> &RoomName {
        &self.room
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.finish();
        self.registration = None;
        self.slot = None;
        if self.opened {
            self.server.drain.connection_closed();
        }
    }
}
