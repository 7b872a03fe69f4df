//! What makes an object the same one in the eyes of the next version.

use serde_json::{Value, json};

/// Name, owner, labels, selectors, and the names of containers and ports that other objects refer
/// to.
pub(super) fn of(object: &Value) -> Vec<(&'static str, Value)> {
    let metadata = &object["metadata"];
    let spec = &object["spec"];
    let template = &spec["template"];
    let pod = if spec["containers"].is_array() {
        spec
    } else {
        &template["spec"]
    };
    vec![
        ("apiVersion", object["apiVersion"].clone()),
        ("kind", object["kind"].clone()),
        ("name", metadata["name"].clone()),
        ("namespace", metadata["namespace"].clone()),
        ("owner", metadata["ownerReferences"].clone()),
        ("labels", labels(&metadata["labels"])),
        ("annotations", keys(&metadata["annotations"])),
        ("selector", spec["selector"].clone()),
        ("pod selector", spec["podSelector"].clone()),
        ("labels of the pods", labels(&template["metadata"]["labels"])),
        ("containers", names(&pod["containers"])),
        ("ports", ports(&pod["containers"])),
        ("service ports", names(&spec["ports"])),
        ("data", keys(&object["data"])),
        ("strategy", spec["strategy"]["type"].clone()),
        ("service account", pod["serviceAccountName"].clone()),
        ("role", object["roleRef"].clone()),
    ]
}

/// Names of the variables of the first container.
pub(super) fn variables(pod: &Value) -> Vec<String> {
    let variables = pod["spec"]["containers"][0]["env"]
        .as_array()
        .into_iter()
        .flatten();
    variables
        .filter_map(|variable| Some(variable["name"].as_str()?.to_owned()))
        .collect()
}

/// A template's hash may change: then the pods are rolled.
fn labels(labels: &Value) -> Value {
    let mut labels = labels.clone();
    if let Some(hash) = labels.get_mut("websocket-operator.io/template-hash") {
        *hash = Value::Null;
    }
    labels
}

fn keys(map: &Value) -> Value {
    let keys = map.as_object().into_iter().flatten().map(|(key, _)| key.clone());
    keys.collect()
}

fn names(list: &Value) -> Value {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| item["name"].clone()).collect()
}

fn ports(containers: &Value) -> Value {
    let containers = containers.as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports
        .map(|port| json!([port["name"], port["containerPort"]]))
        .collect()
}
