//! A live child as it was last seen: the object as text, and what every plan reads of it. As a tree it needs several times the memory.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

/// A live child; every plan reads its fields, and few plans the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveChild {
    json: Box<str>,
    /// Another one after every change of the object.
    pub(crate) digest: u64,
    /// A Deployment whose pods are all of its template.
    pub(crate) is_rolled_out: bool,
    /// Why a Deployment does not get on, in the words of its controller.
    pub(crate) problem: Option<String>,
    /// Secrets that its pods mount.
    secrets: Vec<String>,
}

impl LiveChild {
    pub fn new(object: &Value) -> Self {
        let json = object.to_string().into_boxed_str();
        let mut hasher = DefaultHasher::new();
        json.hash(&mut hasher);
        Self {
            json,
            digest: hasher.finish(),
            is_rolled_out: is_complete(object),
            problem: problem(object),
            secrets: secrets(object),
        }
    }

    /// The whole object.
    pub(crate) fn object(&self) -> Value {
        // It was written by the same library.
        serde_json::from_str(&self.json).unwrap_or_default()
    }

    /// Its pods mount this Secret.
    pub(crate) fn mounts(&self, secret: &str) -> bool {
        self.secrets.iter().any(|name| name == secret)
    }
}

fn secrets(object: &Value) -> Vec<String> {
    let volumes = object.pointer("/spec/template/spec/volumes");
    let volumes = volumes.and_then(Value::as_array).into_iter().flatten();
    let names = volumes.filter_map(|volume| volume["secret"]["secretName"].as_str());
    names.map(str::to_owned).collect()
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
    fn object_survives_as_text() {
        let volumes =
            json!([{"name": "a", "secret": {"secretName": "password"}}, {"name": "b", "emptyDir": {}}]);
        let object = json!({"spec": {"template": {"spec": {"volumes": volumes}}}});
        let live = LiveChild::new(&object);
        assert_eq!(live.object(), object);
        assert!(live.mounts("password") && !live.mounts("a"));
        let other = LiveChild::new(&json!({"spec": {"replicas": 1}}));
        assert_ne!(live.digest, other.digest);
        assert!(!other.mounts("password"));
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
