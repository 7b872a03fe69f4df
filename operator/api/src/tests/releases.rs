//! Resources that earlier versions accepted.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::Gate;

fn releases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/releases");
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let releases: Vec<_> = paths.filter(|path| path.join("crd.yaml").exists()).collect();
    assert!(!releases.is_empty());
    releases
}

#[expect(clippy::disallowed_methods, reason = "a snapshot is a folder of files")]
fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    documents
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// With their status, which is patched as a whole.
#[test]
fn old_resources_pass_the_schema() {
    let gate = Gate::new();
    for release in releases() {
        let mut resources = documents(&release.join("accepted.yaml"));
        for cluster in fs::read_dir(release.join("clusters")).unwrap() {
            resources.extend(documents(&cluster.unwrap().path().join("resource.yaml")));
        }
        assert!(resources.len() > 30, "{}", resources.len());
        for resource in resources {
            let complaints = gate.complaints(&resource);
            assert!(complaints.is_empty(), "{resource}: {complaints:?}");
        }
    }
}

/// A field that disappears is lost from every stored resource.
#[test]
fn old_fields_are_still_there() {
    let today = serde_json::to_value(crate::crd()).unwrap();
    for release in releases() {
        let old = documents(&release.join("crd.yaml")).remove(0);
        for place in ["/metadata/name", "/spec/names", "/spec/scope", "/spec/group"] {
            assert_eq!(today.pointer(place), old.pointer(place), "{place}");
        }
        let version = |crd: &Value| crd["spec"]["versions"][0].clone();
        let (old, today) = (version(&old), version(&today));
        assert_eq!(
            (&today["name"], &today["subresources"]),
            (&old["name"], &old["subresources"])
        );
        let mut missing = Vec::new();
        // A default is what a change of the mode alone would scale the pool to.
        let without_default = ".spec.replicas: default was 1, is null";
        let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
        compare(&schema(&old), &schema(&today), "", &mut missing);
        missing.retain(|problem| problem != without_default);
        assert!(missing.is_empty(), "{missing:#?}");
    }
}

/// The default of an object may have more fields.
fn contains(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => old
            .iter()
            .all(|(key, old)| new.get(key).is_some_and(|new| contains(new, old))),
        _ => new == old,
    }
}

#[test]
fn defaults_gain_fields_but_change_none() {
    let default = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let old = default(r#"{"port": 8080, "pod": {"a": 1}}"#);
    assert!(contains(
        &default(r#"{"port": 8080, "pod": {"a": 1, "b": 2}, "c": 3}"#),
        &old
    ));
    assert!(!contains(&default(r#"{"port": 8081, "pod": {"a": 1}}"#), &old));
    assert!(!contains(&default(r#"{"port": 8080}"#), &old));
    assert!(!contains(&Value::Null, &old));
}

/// Fields of the old schema that the new one does not have, or has with another type or default.
fn compare(old: &Value, new: &Value, path: &str, missing: &mut Vec<String>) {
    for key in ["type", "default", "x-kubernetes-int-or-string"] {
        if !contains(&new[key], &old[key]) {
            missing.push(format!("{path}: {key} was {}, is {}", old[key], new[key]));
        }
    }
    for (name, old) in old["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match new["properties"].get(name) {
            Some(new) => compare(old, new, &path, missing),
            None => missing.push(format!("{path} is gone")),
        }
    }
    for below in ["items", "additionalProperties"] {
        if old[below].is_object() {
            compare(&old[below], &new[below], &format!("{path}[]"), missing);
        }
    }
}
