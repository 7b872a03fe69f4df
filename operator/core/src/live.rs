//! A live child as it was last seen: what every plan reads of it, and the object as text until a
//! comparison has shown that nothing has to be applied. The texts of its children would be a third
//! of the memory that a cluster takes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// A live child; every plan reads its fields, and the first plan after a change the object.
#[derive(Debug)]
pub struct LiveChild {
    /// The object; `None` once it was found to contain what was applied.
    text: Mutex<Option<Box<str>>>,
    /// For assertions, also after a comparison.
    #[cfg(test)]
    object: Value,
    /// Another one after every change of the object.
    digest: u64,
    /// The pod template of a Deployment as text: pins are restored from it.
    template: Option<Box<str>>,
    pub(crate) content_hash: u64,
    /// A Deployment whose pods are all of its template.
    pub(crate) is_rolled_out: bool,
    /// Why a Deployment does not get on, in the words of its controller.
    pub(crate) problem: Option<String>,
    /// Secrets that its pods mount.
    secrets: Vec<String>,
}

impl LiveChild {
    pub fn new(object: &Value) -> Self {
        let text = object.to_string().into_boxed_str();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self {
            text: Mutex::new(Some(text)),
            #[cfg(test)]
            object: object.clone(),
            digest: hasher.finish(),
            template: object
                .pointer("/spec/template")
                .map(|template| template.to_string().into_boxed_str()),
            content_hash: content_hash(object),
            is_rolled_out: is_complete(object),
            problem: problem(object),
            secrets: secrets(object),
        }
    }

    /// The object contains what was applied; `compare` decides it once. Its annotation with the
    /// hash of what was applied makes it another object whenever that changes.
    pub(crate) fn is_intact(&self, compare: impl FnOnce(&Value) -> bool) -> bool {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(json) = text.as_deref() else {
            return true;
        };
        // It was written by the same library.
        let is_intact = compare(&serde_json::from_str(json).unwrap_or_default());
        if is_intact {
            *text = None;
        }
        is_intact
    }

    #[cfg(test)]
    pub(crate) fn object(&self) -> Value {
        self.object.clone()
    }

    /// The pod template of a Deployment.
    pub(crate) fn template(&self) -> Option<Value> {
        serde_json::from_str(self.template.as_deref()?).ok()
    }

    /// Its pods mount this Secret.
    pub(crate) fn mounts(&self, secret: &str) -> bool {
        self.secrets.iter().any(|name| name == secret)
    }
}

/// The same object, whether or not its text is still there.
impl PartialEq for LiveChild {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for LiveChild {}

/// A number that changes whenever the live object does, apart from its status and what is counted
/// in its metadata.
pub(crate) fn content_hash(live: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Value::Object(fields) = live {
        for (name, value) in fields {
            if name != "status" && name != "metadata" {
                (name, value.to_string()).hash(&mut hasher);
            }
        }
        let labels = live.pointer("/metadata/labels").map(Value::to_string);
        labels.hash(&mut hasher);
    }
    hasher.finish()
}

fn secrets(object: &Value) -> Vec<String> {
    let volumes = object.pointer("/spec/template/spec/volumes");
    let volumes = volumes.and_then(Value::as_array).into_iter().flatten();
    let names = volumes.filter_map(|volume| volume["secret"]["secretName"].as_str());
    names.map(str::to_owned).collect()
}

/// The controller has seen the template, all pods of it exist, and none of an older one is left. A
/// pod that is not available for a moment is no rollout.
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
    fn text_is_dropped_after_a_match() {
        let object = json!({"spec": {"replicas": 1}});
        let live = LiveChild::new(&object);
        assert!(!live.is_intact(|_| false));
        assert!(live.is_intact(|found| *found == object));
        assert!(live.is_intact(|_| panic!("it is compared again")));
        assert_eq!(*live.text.lock().unwrap(), None);
        assert_eq!(live, LiveChild::new(&object));
    }

    #[test]
    fn mounted_secrets_are_read() {
        let volumes =
            json!([{"name": "a", "secret": {"secretName": "password"}}, {"name": "b", "emptyDir": {}}]);
        let object = json!({"spec": {"template": {"spec": {"volumes": volumes}}}});
        let live = LiveChild::new(&object);
        assert!(live.mounts("password") && !live.mounts("a"));
        let other = LiveChild::new(&json!({"spec": {"replicas": 1}}));
        assert_ne!(live, other);
        assert!(!other.mounts("password"));
    }

    #[test]
    fn rollout_ends_without_older_pods() {
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
