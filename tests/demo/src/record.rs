//! What happened in a demo, as plain data: connections, sends and deliveries, and what the programs counted themselves.
//!
//! All times are since the demo began.

use std::time::Duration;

/// Everything that a verdict is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// One entry per client; a client keeps its place however often it reconnects.
    pub clients: Vec<Client>,
    /// Messages that were sent to the room, in no order.
    pub messages: Vec<Message>,
    /// Reconnects with a cookie.
    pub tries: Vec<CookieTry>,
    /// What the programs counted.
    pub counted: Counted,
    /// How many pods there were.
    pub pods: Pods,
    /// The same at each change.
    pub timeline: Vec<PodCounts>,
    /// When the record was closed: what happened later says nothing about the pool.
    pub until: Duration,
}

/// One client, as a person would count them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Client {
    /// Is it in the room that messages are sent to?
    pub in_room: bool,
    /// Was it told to stay for the whole demo?
    pub steady: bool,
    /// Its connections, the first one first; they never overlap.
    pub connections: Vec<Connection>,
    /// When it went for good, by its own will.
    pub left: Option<Duration>,
}

/// From the answer of an upgrade to the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connection {
    /// When the upgrade was answered.
    pub opened: Duration,
    /// How it ended, if it did.
    pub close: Option<Close>,
    /// The messages that came, in their order, by their numbers.
    pub delivered: Vec<u64>,
    /// Frames that were none of the demo's messages.
    pub garbled: u64,
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Close {
    /// When it began: the client said goodbye, the server's close frame came, or the loss was seen.
    pub begun: Duration,
    /// By whose will.
    pub how: How,
}

/// By whose will a connection ended.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// The client's.
    Own,
    /// Not the client's.
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
    /// Who sent it, as an index of `clients`.
    pub client: usize,
    /// On which connection of that client.
    pub connection: usize,
    /// When, just before the send.
    pub sent: Duration,
}

/// One reconnect with a cookie.
#[derive(Clone, Debug, PartialEq)]
pub struct CookieTry {
    /// The pod that the cookie is of.
    pub pod: String,
    /// Did the client land there?
    pub returned: bool,
}

/// What the programs counted during the demo.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// Sheds, by the server pods.
    pub shed: u64,
    /// Granted moves, by the operator's metric.
    pub granted: u64,
    /// Moves, by the resource's status.
    pub moved: u64,
    /// Reloads of HAProxy, by the agents.
    pub reloads: u64,
    /// Changes of HAProxy's process, by the agents and by what was seen of them.
    pub pid_changes: u64,
}

/// Numbers of Active server pods.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pods {
    /// What the resource asks for at least.
    pub minimum: usize,
    /// When the resource became Ready.
    pub at_first: usize,
    /// The most at any time.
    pub peak: usize,
    /// When the record was closed.
    pub at_last: usize,
}

/// Numbers of server pods from a moment on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PodCounts {
    /// Since when.
    pub at: Duration,
    /// That the operator wants.
    pub desired: usize,
    /// That receive new clients.
    pub active: usize,
    /// That are drained.
    pub draining: usize,
}
