//! The effect of a change of each field of the spec, for the column "on change" of
//! `docs/reference.md`.
//!
//! The marker stands beside the field as the schema extension `x-on-change`. Structural schemas of
//! a CRD allow no such extension: the conversion to the CRD drops it, and [`crate::on_change()`]
//! reads it from the schema before that.

use serde::{Deserialize, Serialize};
use wsc_contract::labels::Component;

/// Effect of a change of a field on a pool in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnChange {
    /// Used by the next decision of the operator; no pod is added or replaced for it.
    Immediate,
    /// Adds or drains server pods.
    ScalesServers,
    /// Adds or deletes HAProxy pods.
    ScalesProxies,
    /// Used by drains that start later.
    NewDrainsOnly,
    /// Updates the client Service.
    UpdatesService,
    /// Reloads HAProxy in its pods.
    ReloadsProxies,
    /// Updates HAProxy in its pods at run time, without a reload.
    UpdatesProxies,
    /// Replaces the server pods.
    RollsServers,
    /// Replaces the HAProxy pods.
    RollsProxies,
    /// Replaces the managed Redis.
    RestartsRedis,
    /// Replaces the pods of the section that the field belongs to.
    RollsOwnPods,
    /// Updates all objects and the server pods in place; the pods of Deployments are replaced.
    UpdatesAllObjects,
}

impl OnChange {
    /// Text of the reference.
    pub fn text(self) -> &'static str {
        match self {
            Self::Immediate => "takes effect at once",
            Self::ScalesServers => "adds or drains server pods",
            Self::ScalesProxies => "adds or deletes HAProxy pods; clients of a deleted one reconnect",
            Self::NewDrainsOnly => "applies to drains that start later",
            Self::UpdatesService => "updates the Service",
            Self::ReloadsProxies => "reloads HAProxy",
            Self::UpdatesProxies => "updates HAProxy at run time; no connection ends",
            Self::RollsServers => "rolls the server pods",
            Self::RollsProxies => "rolls the HAProxy pods; their clients reconnect",
            Self::RestartsRedis => "restarts Redis; messages published meanwhile are lost",
            Self::RollsOwnPods => "rolls the pods",
            Self::UpdatesAllObjects => {
                "updates all objects, and the server pods in place; rolls the HAProxy pods (their clients reconnect) and restarts Redis"
            }
        }
    }

    pub(crate) fn of(self, owner: Option<Component>) -> Self {
        match (self, owner) {
            (Self::RollsOwnPods, Some(Component::Server)) => Self::RollsServers,
            (Self::RollsOwnPods, Some(Component::Proxy)) => Self::RollsProxies,
            (Self::RollsOwnPods, Some(Component::Redis)) => Self::RestartsRedis,
            (effect, _) => effect,
        }
    }
}
