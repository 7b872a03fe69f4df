//! Drift: whether a live child still contains what was applied. The API server adds defaults and
//! writes quantities its own way, so every field that the operator sets must be there with its
//! value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::live::{LiveChild, content_hash};
use crate::observed::ChildKey;
use crate::quantity;

/// Maps of which the operator owns every key: another one changes what is selected or published.
const WHOLE_MAPS: [&str; 4] = ["selector", "matchLabels", "nodeSelector", "data"];
/// Lists that other controllers may add to.
const SHARED_LISTS: [&str; 2] = ["ownerReferences", "finalizers"];
/// Maps whose values are Kubernetes quantities, and the one field that is one by itself.
const QUANTITY_MAPS: [&str; 2] = ["limits", "requests"];
const QUANTITY_FIELD: &str = "sizeLimit";

/// True if every field of `wanted` is in `live` with the same value.
pub fn contains(wanted: &Value, live: &Value) -> bool {
    field_contains("", wanted, live)
}

/// A merge patch that removes what others have added where the operator owns everything:
/// server-side apply keeps keys and list items of other field managers. `None` if there is nothing
/// to remove.
pub fn removal_patch(wanted: &Value, live: &Value) -> Option<Value> {
    field_removal_patch("", wanted, live)
}

fn field_removal_patch(name: &str, wanted: &Value, live: &Value) -> Option<Value> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let foreign = live
                .keys()
                .filter(|key| is_whole(name, wanted) && !wanted.contains_key(*key));
            let mut patch: Map<_, _> = foreign.map(|key| (key.clone(), Value::Null)).collect();
            for (key, value) in wanted {
                let pruned = live
                    .get(key)
                    .and_then(|live| field_removal_patch(key, value, live));
                patch.extend(pruned.map(|pruned| (key.clone(), pruned)));
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (Value::Array(_), Value::Array(_)) if !SHARED_LISTS.contains(&name) => {
            (!field_contains(name, wanted, live)).then(|| wanted.clone())
        }
        _ => None,
    }
}

/// The operator owns every key of this map.
fn is_whole(name: &str, wanted: &Map<String, Value>) -> bool {
    WHOLE_MAPS.contains(&name) && wanted.values().all(Value::is_string)
}

fn field_contains(name: &str, wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let quantities = QUANTITY_MAPS.contains(&name);
            (!is_whole(name, wanted) || live.keys().all(|key| wanted.contains_key(key)))
                && wanted.iter().all(|(key, value)| {
                    let name = if quantities { QUANTITY_FIELD } else { key };
                    field_contains(name, value, live.get(key).unwrap_or(&Value::Null))
                })
        }
        (Value::Array(wanted), Value::Array(live)) if SHARED_LISTS.contains(&name) => wanted
            .iter()
            .all(|item| live.iter().any(|other| field_contains("", item, other))),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len()
                && wanted
                    .iter()
                    .zip(live)
                    .all(|(wanted, live)| field_contains("", wanted, live))
        }
        (wanted, Value::Null) => is_empty(wanted),
        (Value::String(wanted), Value::String(live)) if name == QUANTITY_FIELD => {
            wanted == live || quantity::is_same(wanted, live)
        }
        (wanted, live) => wanted == live,
    }
}

/// What the API server leaves out of an answer.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Live children that do not contain what was applied right after it was: another field manager (an
/// admission webhook, say) overrides them, and applying them again would change nothing. The hash
/// of what each looked like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drift(BTreeMap<ChildKey, u64>);

impl Drift {
    pub(crate) fn accept(&mut self, key: &ChildKey, live: &Value) {
        self.0.insert(key.clone(), content_hash(live));
    }

    pub(crate) fn forget(&mut self, key: &ChildKey) {
        self.0.remove(key);
    }

    /// Forgets children that are no longer wanted.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(&ChildKey) -> bool) {
        self.0.retain(|key, _| is_wanted(key));
    }

    /// The live object differs from what is wanted, and not only in what was accepted. `wanted` is
    /// made for a comparison only.
    pub(crate) fn has_drifted(
        &self,
        key: &ChildKey,
        wanted: impl FnOnce() -> Value,
        live: &LiveChild,
    ) -> bool {
        !live.is_intact(|object| contains(&wanted(), object)) && self.0.get(key) != Some(&live.content_hash)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted() -> Value {
        json!({
            "metadata": {"name": "chat", "labels": {"a": "b"}, "ownerReferences": [{"uid": "u", "controller": true}]},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "chat"}},
                "template": {"spec": {
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "c",
                        "env": [{"name": "E", "value": ""}],
                        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
                        "volumeMounts": [],
                    }],
                    "volumes": [{"name": "v", "emptyDir": {}}],
                }},
            },
        })
    }

    fn live() -> Value {
        json!({
            "metadata": {
                "name": "chat", "uid": "x", "resourceVersion": "7", "labels": {"a": "b", "added": "by another"},
                "ownerReferences": [{"uid": "other"}, {"uid": "u", "controller": true, "kind": "K"}],
            },
            "spec": {
                "replicas": 2,
                "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": {"app": "chat"}},
                "template": {"spec": {
                    "automountServiceAccountToken": false,
                    "restartPolicy": "Always",
                    "containers": [{
                        "name": "c",
                        "env": [{"name": "E"}],
                        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
                        "terminationMessagePath": "/dev/termination-log",
                    }],
                    "volumes": [{"name": "v", "emptyDir": {}}],
                }},
            },
            "status": {"readyReplicas": 1},
        })
    }

    fn edited(pointer: &str, value: Value) -> Value {
        let mut live = live();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        match live.pointer_mut(parent).unwrap() {
            Value::Object(fields) => {
                fields.insert(field.to_owned(), value);
            }
            Value::Array(items) => items.push(value),
            other => panic!("{other}"),
        }
        live
    }

    #[test]
    fn defaults_and_spellings_are_no_drift() {
        assert!(contains(&wanted(), &live()));
    }

    #[test]
    fn edit_of_an_applied_field_is_drift() {
        let container = "/spec/template/spec/containers/0";
        for (pointer, value) in [
            ("/spec/replicas", json!(3)),
            ("/spec/replicas", Value::Null),
            ("/metadata/labels", json!({})),
            ("/metadata/ownerReferences", json!([])),
            ("/spec/selector/matchLabels", json!({"app": "chat", "foo": "bar"})),
            ("/spec/template/spec/automountServiceAccountToken", Value::Null),
            ("/spec/template/spec/containers/+", json!({"name": "sidecar"})),
            ("/spec/template/spec/containers", json!([])),
            (&format!("{container}/env"), json!([{"name": "E", "value": "x"}])),
            (
                &format!("{container}/resources"),
                json!({"requests": {"cpu": "2", "memory": "1Gi"}}),
            ),
            (
                "/spec/template/spec/volumes",
                json!([{"name": "v"}, {"name": "w"}]),
            ),
        ] {
            assert!(
                !contains(&wanted(), &edited(pointer, value.clone())),
                "{pointer}: {value}"
            );
        }
    }

    #[test]
    fn added_published_data_is_drift() {
        let wanted = json!({"data": {"a": "1"}});
        assert!(contains(&wanted, &json!({"data": {"a": "1"}, "binaryData": {}})));
        assert!(!contains(&wanted, &json!({"data": {"a": "1", "b": "2"}})));
    }

    #[test]
    fn removal_patch_removes_only_foreign_fields() {
        assert_eq!(removal_patch(&wanted(), &live()), None);
        let edits = [
            ("/spec/selector/matchLabels/more", json!("x")),
            ("/spec/replicas", json!(3)),
            ("/spec/paused", json!(true)),
        ];
        let mut live = live();
        for (pointer, value) in edits {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            live.pointer_mut(parent).unwrap()[field] = value;
        }
        let containers = live.pointer_mut("/spec/template/spec/containers").unwrap();
        containers
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "injected"}));
        let template = json!({"spec": {"containers": wanted().pointer("/spec/template/spec/containers")}});
        let patch = json!({"spec": {"selector": {"matchLabels": {"more": null}}, "template": template}});
        assert_eq!(removal_patch(&wanted(), &live), Some(patch));
    }

    #[test]
    fn content_hash_ignores_status_and_versions() {
        let before = content_hash(&live());
        assert_eq!(before, content_hash(&edited("/status/readyReplicas", json!(2))));
        assert_eq!(
            before,
            content_hash(&edited("/metadata/resourceVersion", json!("8")))
        );
        assert_ne!(before, content_hash(&edited("/spec/replicas", json!(3))));
        assert_ne!(before, content_hash(&edited("/metadata/labels", json!({}))));
    }
}
