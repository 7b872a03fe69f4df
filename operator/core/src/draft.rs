//! A plan in the making: what was decided so far, and the rules that hold for every single step.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use wsc_api::v1alpha1::Decision;

use crate::memory::Memory;
use crate::observed::{Drain, Observed, PodState, PodView};
use crate::plan::{ControlCall, ControlVerb, Event, EventKind, Plan, PodDelete, PodMark};
use crate::resources;
use crate::serials;
use crate::validate::ValidCluster;

pub(crate) struct Draft<'a> {
    pub(crate) cluster: &'a ValidCluster,
    pub(crate) observed: &'a Observed,
    pub(crate) now: Timestamp,
    pub(crate) memory: Memory,
    pub(crate) plan: Plan,
    pub(crate) decision: Option<Decision>,
    /// Pods whose last write the watch does not show yet: one on what it shows would be refused.
    pub(crate) unconfirmed: BTreeSet<String>,
    states: BTreeMap<String, (PodState, Option<Drain>)>,
    deleted: BTreeSet<String>,
    next_serial: i64,
}

/// A decision to be told: in the log, as an event, and the most recent one in the status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    /// `ScaleUp`, `ScaleDown`, `CancelDrain` or `Replace`.
    pub(crate) action: &'static str,
    /// One word.
    pub(crate) reason: &'static str,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        cluster: &'a ValidCluster,
        observed: &'a Observed,
        memory: Memory,
        now: Timestamp,
    ) -> Self {
        Self {
            cluster,
            observed,
            now,
            memory,
            plan: Plan::default(),
            decision: None,
            unconfirmed: BTreeSet::new(),
            states: BTreeMap::new(),
            deleted: BTreeSet::new(),
            next_serial: serials::next(observed),
        }
    }

    /// The state of a pod once this plan is done.
    pub(crate) fn state(&self, pod: &PodView) -> PodState {
        self.states.get(&pod.name).map_or(pod.state, |(state, _)| *state)
    }

    /// The drain of a pod once this plan is done.
    pub(crate) fn drain<'b>(&'b self, pod: &'b PodView) -> Option<&'b Drain> {
        match self.states.get(&pod.name) {
            Some((_, drain)) => drain.as_ref(),
            None => pod.drain.as_ref(),
        }
    }

    pub(crate) fn is_deleted(&self, pod: &PodView) -> bool {
        self.deleted.contains(&pod.name)
    }

    /// This plan does something to the pod already, or the last one did: nothing else may.
    pub(crate) fn is_taken(&self, pod: &PodView) -> bool {
        self.states.contains_key(&pod.name) || self.is_deleted(pod) || self.unconfirmed.contains(&pod.name)
    }

    pub(crate) fn next_serial(&self) -> i64 {
        self.next_serial
    }

    /// One operation per pod and plan: a second one is dropped, and said so.
    pub(crate) fn mark(&mut self, pod: &PodView, state: PodState, drain: Option<Drain>) {
        if self.is_taken(pod) {
            self.line(format!(
                "dropped: {} to {}: another operation on the pod is pending",
                pod.name,
                state.as_str()
            ));
            return;
        }
        if pod.state == state && pod.drain == drain {
            return;
        }
        self.states.insert(pod.name.clone(), (state, drain));
        self.plan.mark_pods.push(PodMark {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version.clone(),
            state,
            drain,
        });
    }

    pub(crate) fn delete(&mut self, pod: &PodView, reason: String) {
        if self.is_taken(pod) {
            self.line(format!(
                "dropped: deletion of {}: another operation on the pod is pending",
                pod.name
            ));
            return;
        }
        self.deleted.insert(pod.name.clone());
        self.plan.delete_pods.push(PodDelete {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version.clone(),
            reason,
        });
    }

    pub(crate) fn call(&mut self, pod: &PodView, verb: ControlVerb) {
        let Some(address) = pod.ip else {
            return;
        };
        self.plan.calls.push(ControlCall {
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            address,
            verb,
        });
    }

    /// Creates pods under serials that are reserved first.
    pub(crate) fn create(&mut self, pods: usize) -> Vec<String> {
        let serials = serials::take(self.observed, &self.cluster.name, self.next_serial, pods);
        let mut names = Vec::new();
        for serial in serials {
            let pod = resources::server_pod(self.cluster, serial);
            names.extend(pod.metadata.name.clone());
            self.plan.create_pods.push(pod);
            self.memory.created_at.push(self.now);
            self.next_serial = serial + 1;
        }
        if !names.is_empty() {
            self.plan.reserve_serials = Some(self.next_serial);
        }
        names
    }

    pub(crate) fn line(&mut self, line: String) {
        self.plan.decisions.push(line);
    }

    pub(crate) fn event(&mut self, kind: EventKind, reason: &str, action: &str, note: String) {
        self.plan.events.push(Event {
            kind,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note,
        });
    }
}
