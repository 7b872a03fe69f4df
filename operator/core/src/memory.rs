//! What the operator remembers of one cluster between two plans, in memory only. Losing it is always safe: nothing shrinks
//! before one full window of fresh samples, and the move budget starts empty.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::budget::Budget;
use crate::drift::AcceptedDrift;
use crate::observed::{ChildKey, Drain, Observed, PodState};
use crate::starts::Starts;

/// Memory of one cluster. A plan contains the next one; the shell adds what became of its writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// When the first plan was made.
    pub(crate) started_at: Option<Timestamp>,
    /// Recommended replicas in the stabilization window, strictly falling, each with the last time of that recommendation.
    pub(crate) wanted: Vec<(Timestamp, i32)>,
    /// Since when every sample has been fresh; `None` after a start or while any is missing.
    pub(crate) fresh_since: Option<Timestamp>,
    /// Moves that may be granted, and how fast they come back.
    pub(crate) budget: Budget,
    /// The highest `total` that was granted, by pod uid; the pod may not have accepted it yet.
    pub(crate) granted: BTreeMap<String, Granted>,
    /// What each pod's process was seen to shed, by pod uid: boot id and `shed_total`.
    pub(crate) shed_seen: BTreeMap<String, (String, i64)>,
    /// Connections moved since the resource was created, as far as it is not in the status yet.
    pub(crate) moved_total: i64,
    /// `refused_full` of each process, by pod uid: boot id and count.
    pub(crate) refused_full: BTreeMap<String, (String, i64)>,
    /// Until when a panic forbids scale-down and rollout.
    pub(crate) panic_until: Option<Timestamp>,
    /// Since when draining pods have been found empty, by pod uid.
    pub(crate) empty_since: BTreeMap<String, Timestamp>,
    /// Since when active pods have not been Ready, by pod uid.
    pub(crate) unready_since: BTreeMap<String, Timestamp>,
    /// Since when pods have been seen as failed or succeeded, by pod uid.
    pub(crate) dead_since: BTreeMap<String, Timestamp>,
    /// Writes of the last plans on pods, by pod uid.
    pub(crate) expected: BTreeMap<String, Expected>,
    /// When the pods of the current 15 s were created.
    pub(crate) created_at: Vec<Timestamp>,
    /// When status was last reported with new numbers.
    pub(crate) connections_reported_at: Option<Timestamp>,
    /// Starts that failed.
    pub(crate) starts: Starts,
    /// When the Secret of the managed Redis was last planned.
    pub(crate) secret_asked_at: Option<Timestamp>,
    /// Since when the managed Redis has had no ready pod.
    pub(crate) redis_down_since: Option<Timestamp>,
    /// Children that another field manager overrides.
    pub(crate) accepted_drift: AcceptedDrift,
}

/// What a pod became by a write that the watch may not show yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Of the pod that the write was decided on: a pod with another one has been seen anew.
    pub(crate) resource_version: String,
    pub(crate) at: Timestamp,
    pub(crate) change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Marked(PodState, Option<Drain>),
    Deleted,
}

/// The highest `total` that one process was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) boot_id: String,
    pub(crate) total: i64,
    /// When the last moves were granted.
    pub(crate) at: Timestamp,
    /// Connections without a grant then. Those with one still count as connections until they are closed.
    pub(crate) left: i64,
    /// The grant of all remaining connections at the deadline.
    pub(crate) final_grant: Option<FinalGrant>,
}

/// Progress of a pod that closes its remaining connections at the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FinalGrant {
    /// The newest that was seen.
    pub(crate) shed_total: i64,
    /// When it last rose, or when the grant was made.
    pub(crate) progress_at: Timestamp,
    /// Between two clients.
    pub(crate) interval: SignedDuration,
}

impl Memory {
    /// The last plan's write on this pod failed, or its result is unknown: it is to be planned again.
    pub fn write_failed(&mut self, pod_uid: &str) {
        self.expected.remove(pod_uid);
    }

    /// The API server rejected pods: one failed start, however many were planned.
    pub fn creates_rejected(&mut self, reason: String, now: Timestamp) {
        self.starts.failed(reason, now);
    }

    /// The child still differs from what was just applied: applying it again would change nothing until it changes.
    pub fn accept_drift(&mut self, key: &ChildKey, live: &Value) {
        self.accepted_drift.accept(key, live);
    }

    /// The child contains what was applied.
    pub fn forget_drift(&mut self, key: &ChildKey) {
        self.accepted_drift.forget(key);
    }

    /// Records which pods exist and which of them are unready or terminated.
    pub(crate) fn look(&mut self, observed: &Observed, revision: &str, now: Timestamp) {
        self.started_at.get_or_insert(now);
        for pod in observed.pods.values() {
            let note = |map: &mut BTreeMap<String, Timestamp>, so: bool| {
                if so {
                    map.entry(pod.uid.clone()).or_insert(now);
                } else {
                    map.remove(&pod.uid);
                }
            };
            note(
                &mut self.unready_since,
                pod.state == PodState::Active && !pod.ready,
            );
            note(&mut self.dead_since, pod.has_ended());
        }
        let there = |uid: &String| observed.pods.values().any(|pod| pod.uid == *uid);
        self.unready_since.retain(|uid, _| there(uid));
        self.dead_since.retain(|uid, _| there(uid));
        self.granted.retain(|uid, _| there(uid));
        self.empty_since.retain(|uid, _| there(uid));
        self.shed_seen.retain(|uid, _| there(uid));
        self.refused_full.retain(|uid, _| there(uid));
        self.starts.update(revision, there);
    }
}
