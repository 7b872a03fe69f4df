//! How many server pods there should be.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use wsc_api::v1alpha1::Decision;

use crate::capacity::Capacity;
use crate::goal::Report;
use crate::hold::{Forbids, Hold, Holds};
use crate::numbers::whole_second;
use crate::validate::Mode;

/// The pool shrinks only while its clients fit into this share of the target of the pods that
/// remain.
const MARGIN_PERCENT: i64 = 10;

/// The connections of a pool, seen from both sides of what is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// For growing: what is missing counts as nothing.
    pub(crate) up: i64,
    /// For shrinking: what is missing counts as full.
    pub(crate) down: i64,
    /// The same, but what is missing counts with the connections that HAProxy has to the pod, where
    /// these are known.
    pub(crate) by_proxies: i64,
    /// Pods that ought to have samples, and of these the ones that have a fresh one, and the ones
    /// that should have had one.
    pub(crate) sampled: usize,
    pub(crate) fresh: usize,
    pub(crate) stale: usize,
    /// Pods with an unknown number of connections.
    pub(crate) unknown: usize,
}

/// Why the desired number differs from the recommended one or that of `spec.replicas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    AtMinimum,
    AtMaximum,
    /// In mode `Replicas`: the clients would not fit into fewer pods.
    InsufficientCapacity,
}

/// How many pods, and why.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent findings, each with its own meaning"
)]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale {
    /// Connections that a new pod should have.
    pub(crate) target_per_pod: i64,
    pub(crate) capacity: Capacity,
    pub(crate) load: Load,
    pub(crate) serving: i32,
    /// Of these, pods that are not Ready at the moment.
    pub(crate) in_grace: i32,
    pub(crate) starting: i32,
    /// Pods whose target is the connections there are now; 0 where they are not known or do not
    /// decide.
    pub(crate) needed: i64,
    /// Asked for now, unclamped.
    pub(crate) asked: i64,
    /// Wanted now.
    pub(crate) want: i32,
    /// The most that was wanted in the stabilization window.
    pub(crate) stable: i32,
    /// What the pool is brought to.
    pub(crate) desired: i32,
    /// What it would be brought to if nothing held it.
    pub(crate) free: i32,
    pub(crate) limit: Option<Limit>,
    /// Too little is known about connections to decide anything.
    pub(crate) blind: bool,
    /// No sample at all, as right after a start.
    pub(crate) unknown: bool,
    /// HAProxy refused a client, or a serving pod accepted no more connections, within the window.
    pub(crate) rejected: bool,
    pub(crate) panic: bool,
    pub(crate) holds: Holds,
    pub(crate) max_replicas: i32,
    pub(crate) mode: Mode,
}

impl Scale {
    /// Whether the clients fit into this number of pods.
    pub(crate) fn fits(&self, pods: i32) -> bool {
        // Above the maximum there is nothing to weigh.
        pods >= self.max_replicas
            || self.load.down * 100 <= self.capacity.target(pods) * (100 - MARGIN_PERCENT)
    }

    /// Why no pod may be drained to shrink the pool now.
    pub(crate) fn shrink_hold(&self) -> Option<&Hold> {
        self.holds.forbids(Forbids::Shrink)
    }

    /// The hold without which the pool would be shrunk now.
    pub(crate) fn held(&self) -> Option<&Hold> {
        let smaller = self.free < self.desired || self.serving > self.desired;
        self.shrink_hold().filter(|_| smaller)
    }

    /// The inputs of decisions as text.
    pub(crate) fn inputs(&self) -> String {
        let Load { up, down, .. } = self.load;
        let connections = if up == down {
            up.to_string()
        } else {
            format!("{up} to {down}")
        };
        format!(
            "{connections} connections, target {} per pod, recommended {}, stabilized {}, desired {}, serving {}, starting {}",
            self.target_per_pod, self.want, self.stable, self.desired, self.serving, self.starting
        )
    }

    /// A decision as the status shows it.
    pub(crate) fn decision(&self, report: &Report, now: Timestamp) -> Decision {
        Decision {
            time: Time(whole_second(now)),
            action: report.action.to_owned(),
            reason: report.reason.to_owned(),
            message: format!("{}; {}", report.what, self.inputs()),
            desired_replicas: self.desired,
            connections: self.load.up,
            target_per_pod: self.target_per_pod,
        }
    }
}
