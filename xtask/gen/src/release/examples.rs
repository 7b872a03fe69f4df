//! The resources of a snapshot.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use wsc_api::v1alpha1::WebSocketCluster;

/// Those that are rendered.
const FOLDERS: [&str; 2] = ["tests/releases/examples", "docs/examples"];

/// `operator/api`'s list of strings and names that the schema accepts.
const CASES: &str = include_str!("../../../../operator/api/src/cases.yaml");

/// The rendered examples by name. Namespace and uid, which the API server adds, are the same in
/// each.
pub(super) fn all(root: &Path) -> Result<BTreeMap<String, WebSocketCluster>> {
    let mut examples = BTreeMap::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(root.join(folder)).with_context(|| format!("reading {folder}"))?;
        for entry in entries {
            let path = entry?.path();
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let mut resource: WebSocketCluster =
                serde_yaml::from_str(&text).with_context(|| format!("parsing {}", path.display()))?;
            resource.metadata.namespace = Some("ns".to_owned());
            resource.metadata.uid = Some("5f1c1a5e-8a3b-4a86-9d1c-3f2f3f1f2a10".to_owned());
            resource.metadata.generation = Some(1);
            examples.insert(name, resource);
        }
    }
    Ok(examples)
}

#[derive(Deserialize)]
struct Cases {
    strings: Vec<Strings>,
    names: Examples,
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
}

/// Resources that the schema of this version accepts, with a value at its limits in each. They are
/// not rendered.
pub(super) fn accepted() -> Result<Vec<Value>> {
    let cases: Cases = serde_yaml::from_str(CASES).context("parsing cases.yaml")?;
    let mut resources: Vec<Value> = cases
        .names
        .good
        .iter()
        .map(|name| resource(name, &json!({"scaling": {"maxReplicas": 4}})))
        .collect();
    for Strings { field, examples } in cases.strings {
        resources.extend(
            examples
                .good
                .iter()
                .map(|text| resource("chat", &spec_with(&field, text))),
        );
    }
    Ok(resources)
}

fn resource(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "websocket-operator.io/v1alpha1",
        "kind": "WebSocketCluster",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": spec,
    })
}

/// A spec with this text at a place like `proxy.origins[0]`.
fn spec_with(field: &str, text: &str) -> Value {
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
