//! What is to become of each pod. A step of the plan proposes intents from what it sees;
//! [`Goals::resolve`] gives each pod at most one new goal in a pass, so that no step can undo
//! another.

use k8s_openapi::jiff::Timestamp;
use wsc_contract::agent::ServerState;

use crate::numbers::{signed, whole_second};
use crate::observed::{Drain, DrainReason, PodState};
use crate::plan::ControlVerb;
use crate::pool::{Member, Pool, Role};
use crate::validate::ValidCluster;

/// What is to become of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// It starts or serves.
    Keep,
    /// It accepts no new clients, loses those that it has, and is deleted.
    Leave(Drain),
    /// It has no clients: it is deleted at once, for this reason.
    Delete(String),
}

/// What a pod gets in this pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Control {
    pub(crate) label: PodState,
    pub(crate) drain: Option<Drain>,
    /// `None`: HAProxy does not have it.
    pub(crate) server: Option<ServerState>,
    pub(crate) calls: Vec<ControlVerb>,
    /// Deleted in this pass.
    pub(crate) delete: Option<Deletion>,
    /// Its mark failed a moment ago and is written again later.
    pub(crate) is_delayed: bool,
}

/// Why a pod is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// Its drain is over.
    Drained(DrainReason, &'static str),
    /// It has no clients.
    Unused(String),
}

/// Placeholder of the names of created pods in a report.
pub(crate) const NAMES: &str = "{names}";

/// What a step proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Another goal for a pod, by its place in the pool.
    Pod {
        index: usize,
        goal: Goal,
        report: Option<Report>,
    },
    /// New pods with the current template; the report has [`NAMES`] where their names go.
    Create { pods: usize, report: Report },
}

/// A decision to be reported: in the log, as an event, and the most recent one in the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// `ScaleUp`, `ScaleDown`, `CancelDrain` or `Replace`.
    pub(crate) action: &'static str,
    /// One word.
    pub(crate) reason: &'static str,
    pub(crate) what: String,
}

/// The goals of all pods, by their place in the pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Goals {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    goal: Goal,
    /// The goal is new in this pass.
    is_new: bool,
    /// The watch does not show the last write on the pod yet: another one would be rejected.
    is_unconfirmed: bool,
}

impl Intent {
    pub(crate) fn pod(member: &Member<'_>, goal: Goal, report: Report) -> Self {
        Self::Pod {
            index: member.index,
            goal,
            report: Some(report),
        }
    }

    /// A deletion that is no decision about the size of the pool.
    pub(crate) fn delete(member: &Member<'_>, reason: impl Into<String>) -> Self {
        Self::Pod {
            index: member.index,
            goal: Goal::Delete(reason.into()),
            report: None,
        }
    }
}

impl Goal {
    /// A drain that starts now.
    pub(crate) fn leave(cluster: &ValidCluster, reason: DrainReason, now: Timestamp) -> Self {
        Self::Leave(new_drain(cluster, reason, now))
    }
}

fn new_drain(cluster: &ValidCluster, reason: DrainReason, now: Timestamp) -> Drain {
    let since = whole_second(now);
    Drain {
        reason,
        since,
        deadline: since + signed(cluster.drain.deadline),
    }
}

impl Goals {
    /// The goals in the labels of the pods: those of the last pass.
    pub(crate) fn new(
        cluster: &ValidCluster,
        pool: &Pool<'_>,
        is_unconfirmed: impl Fn(&Member<'_>) -> bool,
        now: Timestamp,
    ) -> Self {
        let entry = |member: &Member<'_>| {
            let goal = match (member.role, member.view.drain) {
                (Role::Draining, Some(drain)) => Goal::Leave(drain),
                // A label without annotations: a person, or a write that was cut in two.
                (Role::Draining, None) => Goal::leave(cluster, DrainReason::ScaleDown, now),
                _ => Goal::Keep,
            };
            Entry {
                goal,
                is_new: false,
                is_unconfirmed: is_unconfirmed(member),
            }
        };
        Self {
            entries: pool.members.iter().map(entry).collect(),
        }
    }

    pub(crate) fn of(&self, member: &Member<'_>) -> &Goal {
        // Every member of the pool has an entry.
        self.entries
            .get(member.index)
            .map_or(&Goal::Keep, |entry| &entry.goal)
    }

    pub(crate) fn is_leaving(&self, member: &Member<'_>) -> bool {
        matches!(self.of(member), Goal::Leave(_))
    }

    /// Nothing else may happen to the pod in this pass.
    pub(crate) fn is_taken(&self, member: &Member<'_>) -> bool {
        let entry = self.entries.get(member.index);
        entry.is_some_and(|entry| entry.is_new || entry.is_unconfirmed)
    }

    /// The watch does not show the last write on the pod yet.
    pub(crate) fn is_unconfirmed(&self, member: &Member<'_>) -> bool {
        self.entries
            .get(member.index)
            .is_some_and(|entry| entry.is_unconfirmed)
    }

    /// Gives the pod a new goal, unless something else happens to it already.
    pub(crate) fn resolve(&mut self, index: usize, goal: Goal) -> bool {
        let Some(entry) = self.entries.get_mut(index) else {
            return false;
        };
        if entry.is_new || entry.is_unconfirmed {
            return false;
        }
        entry.goal = goal;
        entry.is_new = true;
        true
    }
}
