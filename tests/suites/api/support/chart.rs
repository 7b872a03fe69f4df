//! What the chart renders to, as objects.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use wsc_testing::cluster::Cluster;

/// One permission: API group, resource, verb.
pub(crate) type Permission = (String, String, String);

/// The objects of the chart with these values.
pub(crate) async fn render(
    cluster: &Cluster,
    release: &str,
    namespace: &str,
    values: &[&str],
) -> Result<Vec<Value>> {
    let chart = cluster.environment.chart.display().to_string();
    let mut args = vec!["template", release, &chart, "--namespace", namespace];
    for value in values {
        args.extend(["--set", value]);
    }
    let text = cluster.helm().run(args).await?;
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let object = Value::deserialize(document).context("what helm template printed")?;
        if !object.is_null() {
            objects.push(object);
        }
    }
    Ok(objects)
}

/// Those of one kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Name of an object.
pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Everything that a role permits, one by one.
pub(crate) fn permissions(role: &Value) -> Vec<Permission> {
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.map(|text| text.as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let mut all = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let verbs = texts(&rule["verbs"]).into_iter();
                all.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
        // A path like /metrics, which is not an object.
        for path in texts(&rule["nonResourceURLs"]) {
            all.push(("a path".to_owned(), path, String::new()));
        }
    }
    all
}
