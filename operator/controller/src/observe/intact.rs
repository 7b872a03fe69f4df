//! Does a live object still hold what was applied? The API server adds defaults and writes quantities its own way, so the question
//! is whether every field that we set is there with our value.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};

/// Maps of which we own every key: another one changes what is selected or published.
const WHOLE_MAPS: [&str; 4] = ["selector", "matchLabels", "nodeSelector", "data"];
/// Lists that others add to by right.
const SHARED_LISTS: [&str; 2] = ["ownerReferences", "finalizers"];
/// Maps whose values are Kubernetes quantities, and the one field that is one by itself.
const QUANTITY_MAPS: [&str; 2] = ["limits", "requests"];
const QUANTITY_FIELD: &str = "sizeLimit";

/// True if every field of `wanted` is in `live` with the same value.
pub fn holds(wanted: &Value, live: &Value) -> bool {
    field_holds("", wanted, live)
}

/// A number that changes whenever the live object does, apart from its status and what is counted in its metadata.
pub fn fingerprint(live: &Value) -> u64 {
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

/// A merge patch that takes away what others have added where everything is ours: server-side apply leaves keys and list items of
/// other field managers alone. `None` if there is nothing of the kind.
pub fn pruned(wanted: &Value, live: &Value) -> Option<Value> {
    field_pruned("", wanted, live)
}

fn field_pruned(name: &str, wanted: &Value, live: &Value) -> Option<Value> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let foreign = live
                .keys()
                .filter(|key| is_whole(name, wanted) && !wanted.contains_key(*key));
            let mut patch: Map<_, _> = foreign.map(|key| (key.clone(), Value::Null)).collect();
            for (key, value) in wanted {
                let pruned = live.get(key).and_then(|live| field_pruned(key, value, live));
                patch.extend(pruned.map(|pruned| (key.clone(), pruned)));
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (Value::Array(_), Value::Array(_)) if !SHARED_LISTS.contains(&name) => {
            (!field_holds(name, wanted, live)).then(|| wanted.clone())
        }
        _ => None,
    }
}

/// Every key of this map is ours.
fn is_whole(name: &str, wanted: &Map<String, Value>) -> bool {
    WHOLE_MAPS.contains(&name) && wanted.values().all(Value::is_string)
}

fn field_holds(name: &str, wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let quantities = QUANTITY_MAPS.contains(&name);
            (!is_whole(name, wanted) || live.keys().all(|key| wanted.contains_key(key)))
                && wanted.iter().all(|(key, value)| {
                    let name = if quantities { QUANTITY_FIELD } else { key };
                    field_holds(name, value, live.get(key).unwrap_or(&Value::Null))
                })
        }
        (Value::Array(wanted), Value::Array(live)) if SHARED_LISTS.contains(&name) => wanted
            .iter()
            .all(|item| live.iter().any(|other| field_holds("", item, other))),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len()
                && wanted
                    .iter()
                    .zip(live)
                    .all(|(wanted, live)| field_holds("", wanted, live))
        }
        (wanted, Value::Null) => is_empty(wanted),
        (Value::String(wanted), Value::String(live)) if name == QUANTITY_FIELD => {
            wanted == live || quantity(wanted).is_some_and(|amount| Some(amount) == quantity(live))
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

/// A quantity in thousandths: `0.5`, `500m`, `1Gi`. `None` for what it does not know; then only equal text is equal.
fn quantity(text: &str) -> Option<i128> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    let (number, suffix) = text.split_at(split.unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.is_empty() || fraction.len() > 3 {
        return None;
    }
    let thousandths: i128 = format!("{whole}{fraction:0<3}").parse().ok()?;
    let factor = match suffix {
        "m" if thousandths % 1000 == 0 => return Some(thousandths / 1000),
        "" => 1,
        "k" => 1000,
        "M" => 1000_i128.pow(2),
        "G" => 1000_i128.pow(3),
        "T" => 1000_i128.pow(4),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1_i128 << 40,
        _ => return None,
    };
    thousandths.checked_mul(factor)
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
                "name": "chat", "uid": "x", "resourceVersion": "7", "labels": {"a": "b", "added": "by somebody"},
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
    fn defaults_and_other_spellings_change_nothing() {
        assert!(holds(&wanted(), &live()));
    }

    #[test]
    fn every_edit_of_what_we_set_is_seen() {
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
                !holds(&wanted(), &edited(pointer, value.clone())),
                "{pointer}: {value}"
            );
        }
    }

    #[test]
    fn what_was_added_to_published_data_is_seen() {
        let wanted = json!({"data": {"a": "1"}});
        assert!(holds(&wanted, &json!({"data": {"a": "1"}, "binaryData": {}})));
        assert!(!holds(&wanted, &json!({"data": {"a": "1", "b": "2"}})));
    }

    #[test]
    fn what_others_added_is_taken_away_and_nothing_else() {
        assert_eq!(pruned(&wanted(), &live()), None);
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
        assert_eq!(pruned(&wanted(), &live), Some(patch));
    }

    #[test]
    fn quantities_are_compared_by_value() {
        for (a, b) in [("500m", "0.5"), ("1", "1000m"), ("1Gi", "1024Mi"), ("2k", "2000")] {
            assert_eq!(quantity(a).unwrap(), quantity(b).unwrap(), "{a} {b}");
        }
        assert_ne!(quantity("1G"), quantity("1Gi"));
        assert_eq!(quantity("1e3"), None);
        assert_eq!(quantity(""), None);
    }

    #[test]
    fn a_fingerprint_ignores_the_status_and_sees_the_rest() {
        let before = fingerprint(&live());
        assert_eq!(before, fingerprint(&edited("/status/readyReplicas", json!(2))));
        assert_eq!(
            before,
            fingerprint(&edited("/metadata/resourceVersion", json!("8")))
        );
        assert_ne!(before, fingerprint(&edited("/spec/replicas", json!(3))));
        assert_ne!(before, fingerprint(&edited("/metadata/labels", json!({}))));
    }
}
