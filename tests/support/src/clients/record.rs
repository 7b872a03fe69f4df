//! What clients saw, as plain data: connections, messages and deliveries. All times are since the record began.

use std::time::Duration;

/// What all clients of a pool saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// One entry per client; a client keeps its place however often it reconnects.
    pub clients: Vec<ClientRecord>,
    /// Messages that were sent to the room, in no order.
    pub messages: Vec<Message>,
    /// When the record was closed: what happened later is not judged.
    pub until: Duration,
}

/// One client.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientRecord {
    /// Is it in the room that messages are sent to?
    pub in_room: bool,
    /// Does it publish, and stay until the end?
    pub steady: bool,
    /// Its connections, the first one first; they never overlap.
    pub connections: Vec<Connection>,
    /// When it closed for the last time, by itself.
    pub left: Option<Duration>,
}

/// From the answer of an upgrade to the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connection {
    /// When the upgrade was answered.
    pub opened: Duration,
    /// How it ended, if it did.
    pub close: Option<Close>,
    /// The messages that it received, in their order, by their numbers.
    pub delivered: Vec<u64>,
    /// Frames that are no message of this record.
    pub foreign: u64,
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Close {
    /// When the client began to close, the close frame of the server came, or the loss was seen.
    pub begun: Duration,
    /// Which side closed.
    pub by: ClosedBy,
}

/// Which side closed a connection, and why.
#[derive(Clone, Debug, PartialEq)]
pub enum ClosedBy {
    /// The client.
    Client,
    /// The server, with the request to reconnect (1012 with `drain` or `shed`).
    Move,
    /// The server in another way, or a broken connection.
    Server {
        /// Of the close frame; a connection that broke has none.
        code: Option<u16>,
        /// Of the close frame, or what was seen.
        reason: String,
    },
}

/// One message to the room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message {
    /// Its number.
    pub id: u64,
    /// Its sender, as an index of `clients`.
    pub client: usize,
    /// On which connection of that client.
    pub connection: usize,
    /// When, just before the send.
    pub sent: Duration,
}
