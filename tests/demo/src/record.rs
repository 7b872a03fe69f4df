//! What happened in a demo, as plain data: what clients observed, and what the programs counted.
//! All times are since the demo began.

use std::time::Duration;

use wsc_testing::clients::record;

/// Everything that a verdict is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// Connections and messages of all clients.
    pub(crate) clients: record::Record,
    /// Reconnects with a cookie.
    pub(crate) tries: Vec<CookieTry>,
    /// What the programs counted.
    pub(crate) counted: Counted,
    /// How many pods there were.
    pub(crate) pods: Pods,
    /// The same at each change.
    pub(crate) timeline: Vec<PodCounts>,
}

/// One reconnect with a cookie.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CookieTry {
    /// The pod that the cookie is of.
    pub(crate) pod: String,
    /// Did the client land there?
    pub(crate) returned: bool,
}

/// What the programs counted during the demo.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counted {
    /// Sheds, by the server pods.
    pub(crate) shed: u64,
    /// Granted moves, by the operator's metric.
    pub(crate) granted: u64,
    /// Moves, by the resource's status.
    pub(crate) moved: u64,
    /// Reloads of HAProxy, by the agents.
    pub(crate) reloads: u64,
    /// Changes of HAProxy's process, by the agents and by what was seen of them.
    pub(crate) pid_changes: u64,
}

/// Numbers of Active server pods.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pods {
    /// What the resource asks for at least.
    pub(crate) minimum: usize,
    /// When the resource became Ready.
    pub(crate) at_first: usize,
    /// The most at any time.
    pub(crate) peak: usize,
    /// When the record was closed.
    pub(crate) at_last: usize,
}

/// Numbers of server pods from a moment on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PodCounts {
    /// Since when.
    pub(crate) at: Duration,
    /// That the operator wants.
    pub(crate) desired: usize,
    /// That receive new clients.
    pub(crate) active: usize,
    /// That are drained.
    pub(crate) draining: usize,
}
