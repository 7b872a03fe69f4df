//! What the clients of a pool observed, as plain data. All times are since the record began.

use std::time::Duration;

/// What all clients of a pool observed.
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
    /// Frames that are no message of this pool.
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
    /// The server, with the request to reconnect.
    Move,
    /// The server in another way, or a broken connection.
    Server {
        /// Of the close frame; a connection that broke has none.
        code: Option<u16>,
        /// Of the close frame, or the error.
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

impl Record {
    /// Three or any other number of steady clients that connect at 0.5 s, send one message a second
    /// in turn from 1 s on, and receive each: what a checker has to pass, and where its tests start
    /// from.
    pub fn flawless(clients: usize, messages: u64) -> Self {
        let client = ClientRecord {
            in_room: true,
            steady: true,
            connections: vec![Connection {
                opened: Duration::from_millis(500),
                delivered: (0..messages).collect(),
                ..Connection::default()
            }],
            left: None,
        };
        let senders = (0..clients).cycle();
        let message = |(id, client)| Message {
            id,
            client,
            connection: 0,
            sent: Duration::from_secs(id + 1),
        };
        Self {
            messages: (0..messages).zip(senders).map(message).collect(),
            clients: vec![client; clients],
            until: Duration::from_secs(2 * messages),
        }
    }

    /// All connections of all clients.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.clients.iter().flat_map(|client| &client.connections)
    }

    /// When the server requested a reconnect.
    pub fn moves(&self) -> Vec<Duration> {
        self.closes(|by| *by == ClosedBy::Move)
    }

    /// When connections ended that neither the client closed nor the server asked to reconnect.
    pub fn drops(&self) -> Vec<Duration> {
        self.closes(|by| matches!(by, ClosedBy::Server { .. }))
    }

    fn closes(&self, wanted: impl Fn(&ClosedBy) -> bool) -> Vec<Duration> {
        let closes = self
            .connections()
            .filter_map(|connection| connection.close.as_ref());
        let mut times: Vec<_> = closes
            .filter(|close| wanted(&close.by))
            .map(|close| close.begun)
            .collect();
        times.sort_unstable();
        times
    }

    /// How many clients are connected, from each change on. Of two changes at the same moment the
    /// end counts first.
    pub fn connected(&self) -> Vec<(Duration, usize)> {
        let ends = self
            .connections()
            .filter_map(|connection| Some((connection.close.as_ref()?.begun, false)));
        let opened = self.connections().map(|connection| (connection.opened, true));
        let mut changes: Vec<_> = opened.chain(ends).collect();
        changes.sort_unstable();
        let mut open = 0_usize;
        let counts = changes.into_iter().map(|(at, opened)| {
            open = if opened { open + 1 } else { open.saturating_sub(1) };
            (at, open)
        });
        counts.collect()
    }
}

impl ClientRecord {
    /// The longest time without a connection, from an end to the next upgrade.
    pub(super) fn longest_gap(&self) -> Duration {
        let pairs = self.connections.windows(2);
        let gaps =
            pairs.filter_map(|pair| Some(pair[1].opened.saturating_sub(pair[0].close.as_ref()?.begun)));
        gaps.max().unwrap_or_default()
    }
}
