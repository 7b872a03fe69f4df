//! What the operator remembers of one cluster between two plans, in memory only. Losing it is
//! always safe: nothing shrinks before one full window of fresh samples, and the move budget starts
//! empty.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use wsc_contract::agent::WorkerCounters;

use crate::budget::Budget;
use crate::common::CommonMetadata;
use crate::drift::Drift;
use crate::failures::{Failures, ObjectName, Problem};
use crate::moves::{Counter, Moves};
use crate::observed::{ChildKey, Drain, Observed, PodState, PodView};
use crate::pace::Pace;
use crate::reach;
use crate::starts::Starts;

/// Memory of one cluster. A plan contains the next one; the shell adds what became of its writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// When the first plan was made.
    pub(crate) started_at: Option<Timestamp>,
    /// Recommended replicas in the stabilization window, strictly falling, each with the last time
    /// of that recommendation.
    pub(crate) wanted: Vec<(Timestamp, i32)>,
    /// Since when every sample has been fresh; `None` after a start or while any is missing.
    pub(crate) fresh_since: Option<Timestamp>,
    /// Moves that may be granted, and how fast they come back.
    pub(crate) budget: Budget,
    /// The newest counters of each proxy's HAProxy, by pod name.
    pub(crate) workers: BTreeMap<String, WorkerCounters>,
    /// When HAProxy last refused a client for want of a server.
    pub(crate) refused_at: Option<Timestamp>,
    /// By pod uid. In boxes: a node of the map has room for eleven.
    pub(crate) pods: BTreeMap<String, Box<PodMemory>>,
    /// Connections moved since the resource was created, as far as it is not in the status yet.
    pub(crate) moved_total: i64,
    /// Until when a panic forbids scale-down and rollout.
    pub(crate) panic_until: Option<Timestamp>,
    /// When the pods of the current 15 s were created.
    pub(crate) created_at: Vec<Timestamp>,
    /// When status was last reported with new numbers.
    pub(crate) connections_reported_at: Option<Timestamp>,
    /// Starts that failed.
    pub(crate) starts: Starts,
    /// When the existence of the Secret of the managed Redis was last checked.
    pub(crate) secret_checked_at: Option<Timestamp>,
    /// It does not exist, and has to be replaced under another name.
    pub(crate) secret_lost: bool,
    /// Since when the managed Redis has had no ready pod.
    pub(crate) redis_down_since: Option<Timestamp>,
    /// What was found by comparing children.
    pub(crate) drift: Drift,
    /// Proxies whose agents have not applied what is published, by name, and since when.
    pub(crate) unsynced: BTreeMap<String, Timestamp>,
    /// Writes that did not succeed.
    pub(crate) failures: Failures,
}

/// What is remembered of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodMemory {
    /// Since when it has been active and not Ready, or lost.
    pub(crate) unready_since: Option<Timestamp>,
    /// Neither HAProxy nor the operator reaches it, whatever its Ready condition is.
    pub(crate) is_lost: bool,
    /// Since when it has been failed or succeeded.
    pub(crate) ended_since: Option<Timestamp>,
    /// Since when it has been draining and empty.
    pub(crate) empty_since: Option<Timestamp>,
    /// When it was first seen, when it was first Ready, and since when it has been Ready: by the
    /// clock of the operator. What was so when the operator started has the times of the API server
    /// and of the kubelet.
    pub(crate) first_seen: Option<Timestamp>,
    pub(crate) first_ready: Option<Timestamp>,
    pub(crate) ready_since: Option<Timestamp>,
    /// When it was last seen without a node, and without a connection to Redis before it was ever
    /// ready.
    pub(crate) unscheduled_at: Option<Timestamp>,
    pub(crate) redis_missing_at: Option<Timestamp>,
    /// Restarts of its server as last seen, and when the present process began at the latest.
    pub(crate) process: Option<(i32, Timestamp)>,
    /// Its end, or its missed deadline, was counted as a failure.
    pub(crate) failure_counted: bool,
    /// The last write on it, which the watch may not show yet.
    pub(crate) written: Option<Written>,
    /// Resource version on which a drain was decided, by a write that failed or whose result is
    /// unknown.
    pub(crate) unconfirmed_drain: Option<String>,
    /// Handshakes that its process rejected because it was full.
    pub(crate) rejected: Option<Counter>,
    /// When it last rejected clients, or accepted none below its limit, though it was in rotation,
    /// and how many it had.
    pub(crate) full: Option<(Timestamp, i64)>,
    pub(crate) moves: Moves,
    /// The rate at which its process makes them.
    pub(crate) pace: Option<Pace>,
}

/// What a pod became by a write that the watch may not show yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Of the pod that the write was decided on: a pod with another one has been seen anew.
    pub(crate) resource_version: String,
    pub(crate) at: Timestamp,
    pub(crate) change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Marked(PodState, Option<Drain>),
    Updated(CommonMetadata),
    Deleted,
}

impl Memory {
    /// The last plan's write on this pod failed, or its result is unknown: it is to be planned
    /// again.
    pub fn write_failed(&mut self, pod_uid: &str) {
        let Some(pod) = self.pods.get_mut(pod_uid) else {
            return;
        };
        if let Some(Written {
            change: Change::Marked(state, _),
            resource_version,
            ..
        }) = pod.written.take()
            && state.is_draining()
        {
            pod.unconfirmed_drain = Some(resource_version);
        }
    }

    /// The Secret of the managed Redis does not exist, though it was created.
    pub fn redis_secret_lost(&mut self) {
        self.secret_lost = true;
    }

    /// Pods were not created, this one the last: one failure, however many were planned.
    pub fn creates_failed(&mut self, name: &str, problem: Problem, now: Timestamp) {
        self.starts.create_failed(&problem, now);
        self.failures
            .create_failed(ObjectName::new("Pod", name), problem, now);
    }

    /// The API server accepted all pods that were planned.
    pub fn creates_accepted(&mut self) {
        self.starts.create_succeeded();
        self.failures.create_succeeded();
    }

    /// The outlook has not changed until now, so the last recommendation was made until now.
    pub(crate) fn still_recommended(&mut self, now: Timestamp) {
        if let Some((at, _)) = self.wanted.last_mut() {
            *at = now.max(*at);
        }
    }

    /// A write on this object did not succeed. `hash`: of what was to be applied, where a failed
    /// write delays only the same one.
    pub fn apply_failed(
        &mut self,
        kind: &str,
        name: &str,
        hash: Option<String>,
        problem: Problem,
        now: Timestamp,
    ) {
        let object = ObjectName::new(kind, name);
        self.failures.failed(object, hash, problem, now);
    }

    /// The last write on the pod failed a moment ago: the next one is not due yet.
    pub(crate) fn is_mark_delayed(&self, pod: &PodView, now: Timestamp) -> bool {
        let object = ObjectName::new("Pod", pod.name.as_str());
        !self.failures.is_due(&object, None, now)
    }

    /// A write on this object succeeded.
    pub fn apply_succeeded(&mut self, kind: &str, name: &str) {
        self.failures.succeeded(&ObjectName::new(kind, name));
    }

    /// Of the wanted objects of this kind, those whose write is due. Failures of other objects of
    /// the kind are dropped.
    pub fn due(&mut self, kind: &str, wanted: &[String], now: Timestamp) -> Vec<String> {
        let failures = &mut self.failures;
        failures.retain(|object| object.kind != kind || wanted.contains(&object.name));
        let is_due = |name: &&String| failures.is_due(&ObjectName::new(kind, name.as_str()), None, now);
        wanted.iter().filter(is_due).cloned().collect()
    }

    /// The child still differs from what was just applied: applying it again would change nothing
    /// until it changes.
    pub fn accept_drift(&mut self, key: &ChildKey, live: &Value) {
        self.drift.accept(key, live);
    }

    /// The child contains what was applied.
    pub fn forget_drift(&mut self, key: &ChildKey) {
        self.drift.forget(key);
    }

    /// Records which pods exist and which of them are unready or terminated.
    pub(crate) fn look(&mut self, observed: &Observed, revision: &str, now: Timestamp) {
        let is_start = self.started_at.is_none();
        self.started_at.get_or_insert(now);
        let started_at = self.started_at;
        for pod in observed.pods.values() {
            let memory = match self.pods.get_mut(&pod.uid) {
                Some(memory) => memory,
                None => self.pods.entry(pod.uid.clone()).or_default(),
            };
            let first = |since: Option<Timestamp>, is: bool| is.then(|| since.unwrap_or(now));
            memory.ended_since = first(memory.ended_since, pod.has_ended());
            let by_our_clock = |theirs: Timestamp| if is_start { theirs.min(now) } else { now };
            memory.first_seen = memory.first_seen.or(Some(by_our_clock(pod.created)));
            let ready_since = pod.ready_since.filter(|_| pod.ready);
            memory.ready_since = ready_since.map(|at| memory.ready_since.unwrap_or(by_our_clock(at)));
            // A pod that was restarted has been Ready before, as far as is known.
            let was_restarted = is_start && pod.restarts > 0;
            let first_ready = memory
                .ready_since
                .map(|at| if was_restarted { pod.created } else { at });
            memory.first_ready = memory.first_ready.or(first_ready);
            memory.is_lost =
                !reach::is_awaited(started_at, memory.ready_since, now) && reach::is_lost(pod, observed, now);
            let unready = pod.state == PodState::Active && (!pod.ready || memory.is_lost);
            memory.unready_since = first(memory.unready_since, unready);
        }
        if self.pods.len() > observed.pods.len() {
            let there: BTreeSet<&str> = observed.pods.values().map(|pod| pod.uid.as_str()).collect();
            self.pods.retain(|uid, _| there.contains(uid.as_str()));
        }
        self.starts.update(revision);
    }

    /// Follows which agents have applied the published list of servers. What an agent reports as
    /// `synced` is what it has received: an agent that receives nothing any more is behind too.
    pub(crate) fn follow_agents(&mut self, observed: &Observed, published: &str, now: Timestamp) {
        let unsynced = observed.proxies.iter().filter(|proxy| {
            let agent = proxy.agent.as_ref();
            !proxy.terminating && agent.is_some_and(|agent| !agent.synced || agent.applied_hash != published)
        });
        self.unsynced = unsynced
            .map(|proxy| {
                let since = self.unsynced.get(&proxy.name);
                (proxy.name.clone(), since.copied().unwrap_or(now))
            })
            .collect();
    }

    /// What is remembered of this pod.
    pub(crate) fn pod(&mut self, uid: &str) -> &mut PodMemory {
        self.pods.entry(uid.to_owned()).or_default()
    }
}
