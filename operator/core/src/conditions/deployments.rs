//! Rollouts of the Deployments of HAProxy and of the managed Redis, read from their status.

use super::finding::Facts;
use crate::observed::ChildKind;

/// A Deployment whose pods are not all of its template yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rollout {
    pub(super) name: String,
    /// Message of the Deployment controller, when the rollout makes no progress.
    pub(super) problem: Option<String>,
}

impl Rollout {
    pub(super) fn message(&self) -> String {
        let Self { name, problem } = self;
        match problem {
            None => format!("pods of the Deployment {name} are being replaced"),
            Some(problem) => format!("the rollout of the Deployment {name} makes no progress: {problem}"),
        }
    }
}

/// The rollout that needs attention first: one with a problem, or any.
pub(super) fn rollout(facts: Facts<'_>) -> Option<Rollout> {
    let plan = &facts.draft.plan;
    let children = facts.draft.observed.children.iter();
    let deployments = children.filter(|(key, view)| {
        key.kind == ChildKind::Deployment && !view.terminating && !plan.remove.contains(key)
    });
    let rollouts = deployments.filter_map(|(key, view)| {
        let is_changed = plan.apply.iter().any(|child| child.key() == *key);
        let problem = view.object.problem.clone();
        let is_complete = problem.is_none() && !is_changed && view.object.is_rolled_out;
        (!is_complete).then(|| Rollout {
            name: key.name.clone(),
            problem,
        })
    });
    rollouts.max_by_key(|rollout| rollout.problem.is_some())
}
