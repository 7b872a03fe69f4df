//! The schema as the API server applies it: structure, bounds and patterns by a small reader of it,
//! rules by kube's CEL.

mod gate;
mod releases;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::OnChange;
use gate::{Complaint, Gate};

#[derive(Deserialize)]
struct Cases {
    specs: Vec<Case>,
    good: Vec<Value>,
    unknown_fields: Vec<Case>,
    strings: Vec<Strings>,
    names: Examples,
    updates: Vec<Update>,
}

#[derive(Deserialize)]
struct Case {
    schema: String,
    spec: Value,
}

#[derive(Deserialize)]
struct Update {
    field: Option<String>,
    from: Value,
    to: Value,
}

impl Update {
    fn complaints(&self, gate: &Gate) -> Vec<Complaint> {
        gate.update(&resource("chat", &self.from), &resource("chat", &self.to))
    }
}

#[derive(Deserialize)]
struct Strings {
    field: String,
    #[serde(flatten)]
    examples: Examples,
}

#[derive(Deserialize)]
struct Examples {
    good: Vec<String>,
    bad: Vec<String>,
}

fn cases() -> Cases {
    serde_yaml::from_str(include_str!("cases.yaml")).unwrap()
}

fn resource(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "websocket-operator.io/v1alpha1",
        "kind": "WebSocketCluster",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": spec,
    })
}

/// `{"scaling": …}` with this string at this place.
fn with(field: &str, text: &str) -> Value {
    let mut value = json!(text);
    for part in field.split('.').rev() {
        value = match part.strip_suffix("[0]") {
            Some(list) => json!({list: [value]}),
            None => json!({part: value}),
        };
    }
    value["scaling"] = json!({"maxReplicas": 4});
    value
}

#[test]
fn bad_spec_is_rejected_naming_its_field() {
    let gate = Gate::new();
    let cases = cases();
    for case in cases.specs.iter().chain(&cases.unknown_fields) {
        let complaints = gate.complaints(&resource("chat", &case.spec));
        assert!(
            complaints.iter().any(|complaint| complaint.path == case.schema),
            "{}: {complaints:?}",
            case.spec
        );
    }
}

#[test]
fn only_strings_that_break_out_are_rejected() {
    let gate = Gate::new();
    for Strings { field, examples } in cases().strings {
        for good in examples.good {
            let complaints = gate.complaints(&resource("chat", &with(&field, &good)));
            assert!(complaints.is_empty(), "{field}: {good:?}: {complaints:?}");
        }
        for bad in examples.bad {
            let complaints = gate.complaints(&resource("chat", &with(&field, &bad)));
            assert!(
                complaints
                    .iter()
                    .any(|complaint| complaint.path == format!("spec.{field}")),
                "{field}: {bad:?}: {complaints:?}"
            );
        }
    }
}

#[test]
fn names_that_children_cannot_have_are_refused() {
    let gate = Gate::new();
    let Examples { good, bad } = cases().names;
    let spec = json!({"scaling": {"maxReplicas": 4}});
    for name in good {
        let complaints = gate.complaints(&resource(&name, &spec));
        assert!(complaints.is_empty(), "{name}: {complaints:?}");
    }
    for name in bad {
        let complaints = gate.complaints(&resource(&name, &spec));
        assert!(
            complaints
                .iter()
                .any(|complaint| complaint.message.contains("metadata.name")),
            "{name}: {complaints:?}"
        );
    }
}

#[test]
fn good_specs_pass() {
    let gate = Gate::new();
    for spec in [
        json!({"scaling": {"maxReplicas": 2}}),
        json!({"replicas": 0, "scaling": {"mode": "Replicas", "minReplicas": 1, "maxReplicas": 2000, "buffer": "90%", "targetUtilizationPercent": 100}}),
        json!({"scaling": {"maxReplicas": 4, "buffer": 0}, "redis": {"external": {"urlSecretRef": {"name": "a", "key": "url"}}}}),
        json!({
            "scaling": {"maxReplicas": 4, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}},
            "server": {"maxConnections": 60000, "env": [{"name": "A", "value": ""}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b.c"}}}],
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "podLabels": {"team": "x"}},
            "proxy": {"service": {"type": "LoadBalancer", "port": 443, "annotations": {"example.org/x": "y"}}, "sticky": {"sameSite": "None"}},
            "drain": {"naturalSeconds": 60, "deadlineSeconds": 60, "onDeadline": "Wait", "notice": {"closeCode": 4999, "jitterSeconds": 0}},
            "disruption": {"movesPerMinute": "100%", "maxMovesPerSecond": 1, "maxConcurrentDrains": 1},
        }),
    ] {
        let complaints = gate.complaints(&resource("chat", &spec));
        assert!(complaints.is_empty(), "{spec}: {complaints:?}");
    }
    for spec in cases().good {
        let complaints = gate.complaints(&resource("chat", &spec));
        assert!(complaints.is_empty(), "{spec}: {complaints:?}");
    }
}

#[test]
fn only_forbidden_changes_are_rejected() {
    let gate = Gate::new();
    for update in cases().updates {
        let complaints = update.complaints(&gate);
        let paths: Vec<_> = complaints.iter().map(|complaint| &complaint.path).collect();
        assert_eq!(
            paths,
            Vec::from_iter(&update.field),
            "{} to {}",
            update.from,
            update.to
        );
    }
}

/// A rule that cannot be read would refuse everything, and one in a place that is not looked at
/// nothing.
#[test]
fn every_rule_has_a_breaking_case() {
    let gate = Gate::new();
    let cases = cases();
    let specs = cases.specs.iter().map(|case| case.spec.clone());
    let strings = cases.strings.iter().flat_map(|strings| {
        let bad = strings.examples.bad.iter();
        bad.map(|bad| with(&strings.field, bad))
    });
    let mut broken: Vec<String> = specs
        .chain(strings)
        .flat_map(|spec| gate.complaints(&resource("chat", &spec)))
        .map(|complaint| complaint.message)
        .collect();
    let names = cases.names.bad.iter();
    let spec = json!({"scaling": {"maxReplicas": 4}});
    broken.extend(names.flat_map(|name| {
        let complaints = gate.complaints(&resource(name, &spec));
        complaints.into_iter().map(|complaint| complaint.message)
    }));
    let updates = cases.updates.iter().flat_map(|update| update.complaints(&gate));
    broken.extend(updates.map(|complaint| complaint.message));
    for message in gate.rules() {
        assert!(broken.contains(&message), "no case breaks: {message}");
    }
}

/// Unit, default and range are in the schema and the effect of a change is a marker: none of it is
/// repeated in prose.
#[test]
fn field_descriptions_are_short_and_complete() {
    let gate = Gate::new();
    let mut problems = Vec::new();
    gate.each_field(|path, schema, _| {
        let text = schema["description"].as_str().unwrap_or_default();
        let sentences = text.matches(". ").count() + usize::from(text.ends_with('.'));
        if !(1..=2).contains(&sentences) || !text.ends_with('.') {
            problems.push(format!("{path}: {sentences} sentences: {text}"));
        }
        for phrase in ["A change", "(default", "at most", "characters", "required"] {
            if text.contains(phrase) && !(phrase == "at most" && path == "spec.drain.naturalSeconds") {
                problems.push(format!("{path} repeats the schema ({phrase}): {text}"));
            }
        }
    });
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn every_leaf_field_has_a_change_effect() {
    let gate = Gate::new();
    let effects = crate::on_change();
    let (mut leaves, mut missing) = (std::collections::BTreeSet::new(), Vec::new());
    gate.each_field(|path, schema, _| {
        let embedded = ["affinity", "tolerations", "resources"];
        let is_leaf = |schema: &Value| !schema["properties"].is_object();
        let name = path.rsplit('.').next().unwrap_or_default();
        if embedded.contains(&name) || (is_leaf(schema) && is_leaf(&schema["items"])) {
            leaves.insert(path.to_owned());
            if !effects.contains_key(path) {
                missing.push(path.to_owned());
            }
        }
    });
    assert!(missing.is_empty(), "no effect: {missing:?}");
    let unknown: Vec<_> = effects.keys().filter(|path| !leaves.contains(*path)).collect();
    assert!(unknown.is_empty(), "no such leaf: {unknown:?}");
    assert_eq!(
        ["server", "proxy", "redis.managed"].map(|owner| effects[&format!("spec.{owner}.nodeSelector")]),
        [
            OnChange::RollsServers,
            OnChange::RollsProxies,
            OnChange::RestartsRedis
        ],
    );
}

#[test]
fn the_crd_contains_no_change_marker() {
    let crd = serde_json::to_string(&crate::crd()).unwrap();
    assert!(!crd.contains("x-on-change") && !crd.contains("RollsServers"));
}
