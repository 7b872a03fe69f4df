//! What one client holds in the server. Dropping it gives everything back, exactly once, wherever the connection ends.

use std::sync::Arc;

use crate::app::Server;
use crate::capacity::Slot;
use crate::clients::Registration;
use crate::hub::Member;
use crate::listen::SocketPermit;
use crate::outbox::Outbox;
use crate::protocol::raw::Target;
use crate::protocol::{RoomName, Sender};

/// A member of a room with a slot; at first only a handshake, later a session.
#[derive(Debug)]
pub struct Connection {
    /// The process it lives in.
    pub server: Arc<Server>,
    /// What waits for it.
    pub outbox: Arc<Outbox>,
    sender: Sender,
    room: RoomName,
    via: Option<String>,
    registration: Option<Registration>,
    opened: bool,
    slot: Option<Slot>,
    _permit: Option<SocketPermit>,
}

impl Connection {
    /// Joins the room.
    pub fn join(
        server: &Arc<Server>,
        slot: Slot,
        target: Target,
        via: Option<String>,
        permit: Option<SocketPermit>,
    ) -> Self {
        let outbox = Arc::new(Outbox::new(
            server.config.limits.outbox_bytes,
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
        if server.hub.join(&target.room, member) {
            server.bus.interest_changed(&target.room);
        }
        Self {
            server: Arc::clone(server),
            outbox,
            sender,
            room: target.room,
            via,
            registration: None,
            opened: false,
            slot: Some(slot),
            _permit: permit,
        }
    }

    /// The upgrade is answered: from now on the connection can be asked to leave.
    pub fn open(&mut self) {
        let (clients, outbox) = (&self.server.clients, Arc::clone(&self.outbox));
        self.registration = Some(clients.register(self.sender.connection, self.via.as_deref(), outbox));
        self.opened = true;
        self.server.metrics.accepted.inc();
        self.server.wake_shedding();
    }

    /// The connection ends for a reason of its own: nobody may ask it to leave or send to it any more.
    pub fn finish(&mut self) -> bool {
        if self.server.hub.leave(&self.room, self.sender.connection) {
            self.server.bus.interest_changed(&self.room);
        }
        self.outbox.finish()
    }

    /// Its number; later connections have higher ones.
    pub fn number(&self) -> u64 {
        self.sender.connection
    }

    /// Who it is to the other members.
    pub fn sender(&self) -> Sender {
        self.sender
    }

    /// Its room.
    pub fn room(&self) -> &RoomName {
        &self.room
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.finish();
        self.registration = None;
        self.slot = None;
        if self.opened {
            self.server.connection_closed();
        }
    }
}
