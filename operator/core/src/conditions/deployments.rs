//! Rollouts of the Deployments of HAProxy and of the managed Redis, read from their status.

use serde_json::Value;

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
        let problem = problem(&view.object);
        let is_complete = problem.is_none() && !is_changed && is_complete(&view.object);
        (!is_complete).then(|| Rollout {
            name: key.name.clone(),
            problem,
        })
    });
    rollouts.max_by_key(|rollout| rollout.problem.is_some())
}

/// The controller has seen the template, all pods of it exist, and none of an older one is left. A pod that is not available for a
/// moment is no rollout.
fn is_complete(deployment: &Value) -> bool {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64);
    let wanted = number("/spec/replicas").unwrap_or(1);
    let updated = number("/status/updatedReplicas").unwrap_or(0);
    let all = number("/status/replicas").unwrap_or(0);
    number("/status/observedGeneration") >= number("/metadata/generation")
        && updated >= wanted
        && all <= updated
}

/// Its pods are rejected, or a rollout makes no progress.
fn problem(deployment: &Value) -> Option<String> {
    let conditions = deployment.pointer("/status/conditions")?.as_array()?;
    let is_problem = |condition: &&Value| match condition["type"].as_str() {
        Some("ReplicaFailure") => condition["status"] == "True",
        Some("Progressing") => condition["reason"] == "ProgressDeadlineExceeded",
        _ => false,
    };
    let problem = conditions.iter().filter(is_problem).max_by_key(|condition| {
        // The cause rather than its effect.
        condition["type"] == "ReplicaFailure"
    });
    problem?["message"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: i64, updated: i64, conditions: &Value) -> Value {
        json!({
            "metadata": {"generation": 3},
            "spec": {"replicas": 2},
            "status": {
                "observedGeneration": 3, "replicas": replicas, "updatedReplicas": updated, "conditions": conditions,
            },
        })
    }

    #[test]
    fn rollout_ends_when_no_older_pod_is_left() {
        assert!(is_complete(&deployment(2, 2, &json!([]))));
        assert!(
            !is_complete(&deployment(3, 2, &json!([]))),
            "an older pod is left"
        );
        assert!(!is_complete(&deployment(2, 1, &json!([]))));
        let mut unseen = deployment(2, 2, &json!([]));
        unseen["metadata"]["generation"] = 4.into();
        assert!(!is_complete(&unseen), "the controller has not seen the change");
        assert!(!is_complete(
            &json!({"metadata": {"generation": 1}, "spec": {"replicas": 2}})
        ));
    }

    #[test]
    fn a_problem_is_what_the_controller_says() {
        let condition = |type_: &str, status: &str, reason: &str| json!({"type": type_, "status": status, "reason": reason, "message": format!("{type_} message")});
        let stuck = condition("Progressing", "False", "ProgressDeadlineExceeded");
        let rejected = condition("ReplicaFailure", "True", "FailedCreate");
        let of = |conditions: Value| problem(&deployment(2, 2, &conditions));
        assert_eq!(
            of(json!([condition(
                "Progressing",
                "True",
                "NewReplicaSetAvailable"
            )])),
            None
        );
        assert_eq!(of(json!([stuck])).as_deref(), Some("Progressing message"));
        assert_eq!(
            of(json!([stuck, rejected])).as_deref(),
            Some("ReplicaFailure message")
        );
    }
}
