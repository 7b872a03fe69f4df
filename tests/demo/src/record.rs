//! What happened in a demo, as plain data: what clients observed, and what the programs counted.
//! All times are since the demo began.

use std::time::Duration;

use wsc_testing::clients::record;

/// Everything that a verdict is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Connections and messages of all clients.
    pub clients: record::Record,
    /// Reconnects with a cookie.
    pub tries: Vec<CookieTry>,
    /// What the programs counted.
    pub counted: Counted,
    /// How many pods there were.
    pub pods: Pods,
    /// The same at each change.
    pub timeline: Vec<PodCounts>,
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
