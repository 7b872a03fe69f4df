//! A plan in the making: what was decided so far. Steps read it and return intents;
//! [`Draft::resolve`] takes them in.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use wsc_api::v1alpha1::Decision;

use crate::goal::{Control, Goals, Intent, NAMES, Report};
use crate::memory::Memory;
use crate::moves::Moves;
use crate::observed::{ChildKey, Observed, Sample};
use crate::plan::{Event, EventKind, Plan};
use crate::pool::{Member, Pool};
use crate::resources;
use crate::scale::Scale;
use crate::serials;
use crate::validate::ValidCluster;

pub(crate) struct Draft<'a> {
    pub(crate) cluster: &'a ValidCluster,
    pub(crate) observed: &'a Observed,
    pub(crate) now: Timestamp,
    pub(crate) memory: Memory,
    pub(crate) plan: Plan,
    pub(crate) decision: Option<Decision>,
    pub(crate) goals: Goals,
    /// Why a rollout has no next step now.
    pub(crate) rollout_wait: Option<String>,
    /// A wanted child that is being deleted: its name is not free yet.
    pub(crate) awaited_child: Option<ChildKey>,
    /// By the place of the pod in the pool; empty until the goals are complete.
    pub(crate) controls: Vec<Control>,
    next_serial: i64,
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
            goals: Goals::default(),
            rollout_wait: None,
            awaited_child: None,
            controls: Vec::new(),
            next_serial: serials::next(observed),
        }
    }

    /// The goals by the labels of the pods. `unconfirmed`: names of pods whose last write the watch
    /// does not show yet.
    pub(crate) fn set_goals(&mut self, pool: &Pool<'_>, unconfirmed: &BTreeSet<String>) {
        let is_unconfirmed = |member: &Member<'_>| unconfirmed.contains(&member.view.name);
        self.goals = Goals::new(self.cluster, pool, is_unconfirmed, self.now);
    }

    /// What the pod gets in this pass.
    pub(crate) fn control(&self, member: &Member<'_>) -> Option<&Control> {
        self.controls.get(member.index)
    }

    /// The pod leaves, and is not deleted in this pass.
    pub(crate) fn is_draining(&self, member: &Member<'_>) -> bool {
        let control = self.control(member);
        control.is_some_and(|control| control.label.is_draining() && control.delete.is_none())
    }

    /// The moves of the pod, as far as they are remembered.
    pub(crate) fn moves(&self, sample: &Sample) -> Moves {
        let pod = self.memory.pods.get(&sample.pod_uid);
        pod.map_or_else(Moves::default, |pod| pod.moves.clone())
    }

    pub(crate) fn next_serial(&self) -> i64 {
        self.next_serial
    }

    /// Applies the intents of a step: one new goal per pod and pass. A second one is dropped and
    /// logged.
    pub(crate) fn resolve(&mut self, scale: &Scale, intents: Vec<Intent>) {
        for intent in intents {
            match intent {
                Intent::Pod { index, goal, report } => {
                    if !self.goals.resolve(index, goal) {
                        self.line(format!(
                            "dropped: another operation on the pod is pending: {report:?}"
                        ));
                    } else if let Some(report) = report {
                        self.report(scale, &report);
                    }
                }
                Intent::Create { pods, mut report } => {
                    let names = self.create(pods);
                    report.what = report.what.replace(NAMES, &listed(&names));
                    self.report(scale, &report);
                }
            }
        }
    }

    /// Reports a decision that changed something, with its inputs: in the log, as an event and in
    /// the status.
    fn report(&mut self, scale: &Scale, report: &Report) {
        let Report { action, reason, what } = report;
        let inputs = scale.inputs();
        self.line(format!("{action} ({reason}): {what}; {inputs}"));
        self.event(EventKind::Normal, reason, action, what.clone());
        self.decision = Some(scale.decision(report, self.now));
    }

    /// Creates pods under serials that are reserved first.
    fn create(&mut self, pods: usize) -> Vec<String> {
        let serials = serials::take(self.observed, &self.cluster.name, self.next_serial, pods);
        let path = self.observed.server_path();
        let mut names = Vec::new();
        for serial in serials {
            let pod = resources::server_pod(self.cluster, serial, path);
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

/// Names of a batch, of which there may be hundreds.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let (shown, rest) = names.split_at(names.len().min(SHOWN));
    let shown = shown.join(", ");
    if rest.is_empty() {
        return shown;
    }
    format!("{shown} and {} more", rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_names_is_cut() {
        let names = |count: usize| (0..count).map(|i| format!("chat-{i}")).collect::<Vec<_>>();
        assert_eq!(listed(&names(2)), "chat-0, chat-1");
        assert!(listed(&names(10)).ends_with("chat-9"));
        assert!(listed(&names(300)).ends_with("chat-9 and 290 more"));
    }
}
