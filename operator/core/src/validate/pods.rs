//! Settings of pods: what the API server would only reject in the pods, far from the resource.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value};
use wsc_api::v1alpha1::PodSettings;
use wsc_api::{embedded, syntax};
use wsc_contract::labels;

use super::checks::{at_most, invalid, object_name};
use super::values::Invalid;
use crate::quantity;

pub(super) fn settings(field: &str, settings: &PodSettings) -> Result<(), Invalid> {
    let PodSettings {
        resources: amounts,
        node_selector,
        tolerations,
        affinity,
        priority_class_name,
        image_pull_secrets,
        pod_labels,
        pod_annotations,
    } = settings;
    for (name, length, most) in [
        ("tolerations", tolerations.len(), 16),
        ("imagePullSecrets", image_pull_secrets.len(), 8),
    ] {
        at_most(&format!("{field}.{name}"), length, most)?;
    }
    labelled(&format!("{field}.nodeSelector"), node_selector)?;
    added_labels(&format!("{field}.podLabels"), pod_labels)?;
    let length = syntax::ANNOTATION_LENGTH;
    annotations(&format!("{field}.podAnnotations"), pod_annotations, 16, length)?;
    if let Some(name) = priority_class_name {
        priority_class(&format!("{field}.priorityClassName"), name)?;
    }
    for (index, secret) in image_pull_secrets.iter().enumerate() {
        object_name(&format!("{field}.imagePullSecrets[{index}].name"), &secret.name)?;
    }
    for (index, one) in tolerations.iter().enumerate() {
        toleration(&format!("{field}.tolerations[{index}]"), one)?;
    }
    if let Some(given) = affinity {
        affinities(&format!("{field}.affinity"), given)?;
    }
    amounts.as_ref().map_or(Ok(()), |given| resources(field, given))
}

/// Labels that are not the operator's.
pub(super) fn added_labels(field: &str, added: &BTreeMap<String, String>) -> Result<(), Invalid> {
    not_ours(field, added, &[labels::GROUP, "app.kubernetes.io"])?;
    labelled(field, added)
}

/// Annotations that are not the operator's: at most this many, each of this length.
pub(super) fn annotations(
    field: &str,
    annotations: &BTreeMap<String, String>,
    most: u32,
    length: u32,
) -> Result<(), Invalid> {
    at_most(field, annotations.len(), most as usize)?;
    not_ours(field, annotations, &[labels::GROUP])?;
    for (key, value) in annotations {
        if !syntax::is_annotation_key(key) {
            return Err(invalid(
                format!("{field}[{key}]"),
                format!("must be {}", syntax::KEY_RULE),
            ));
        }
        if value.chars().count() > length as usize {
            return Err(invalid(
                format!("{field}[{key}]"),
                format!("must be at most {length} characters long"),
            ));
        }
    }
    Ok(())
}

fn labelled(field: &str, labels: &BTreeMap<String, String>) -> Result<(), Invalid> {
    at_most(field, labels.len(), 16)?;
    for (key, value) in labels {
        let rule = if !syntax::is_qualified_name(key) {
            syntax::KEY_RULE
        } else if !syntax::is_label_value(value) {
            syntax::LABEL_VALUE_RULE
        } else {
            continue;
        };
        return Err(invalid(format!("{field}[{key}]"), format!("must be {rule}")));
    }
    Ok(())
}

/// None of the keys has one of these prefixes.
fn not_ours(field: &str, map: &BTreeMap<String, String>, prefixes: &[&str]) -> Result<(), Invalid> {
    let ours = |key: &&String| {
        let prefix = key.split_once('/').map(|(prefix, _)| prefix);
        prefix.is_some_and(|prefix| prefixes.contains(&prefix))
    };
    match map.keys().find(ours) {
        Some(key) => Err(invalid(format!("{field}[{key}]"), "is set by the operator")),
        None => Ok(()),
    }
}

fn priority_class(field: &str, name: &str) -> Result<(), Invalid> {
    object_name(field, name)?;
    if name.starts_with("system-") {
        return Err(invalid(
            field,
            "must not start with system-: these classes are reserved for the cluster",
        ));
    }
    Ok(())
}

fn toleration(field: &str, toleration: &Toleration) -> Result<(), Invalid> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (key, operator) = (text(&toleration.key), text(&toleration.operator));
    let (value, effect) = (text(&toleration.value), text(&toleration.effect));
    let refuse = |name: &str, problem: String| Err(invalid(format!("{field}.{name}"), problem));
    if !embedded::TOLERATION_OPERATORS.contains(&operator.as_str()) {
        return refuse("operator", "must be Equal or Exists".to_owned());
    }
    if !embedded::TOLERATION_EFFECTS.contains(&effect.as_str()) {
        return refuse(
            "effect",
            "must be NoSchedule, PreferNoSchedule or NoExecute".to_owned(),
        );
    }
    if !key.is_empty() && !syntax::is_qualified_name(&key) {
        return refuse("key", format!("must be {}", syntax::KEY_RULE));
    }
    if key.is_empty() && operator != "Exists" {
        return refuse("operator", "must be Exists where key is empty".to_owned());
    }
    if operator == "Exists" && !value.is_empty() {
        return refuse("value", "must be empty where operator is Exists".to_owned());
    }
    if !syntax::is_label_value(&value) {
        return refuse("value", format!("must be {}", syntax::LABEL_VALUE_RULE));
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        return refuse(
            "effect",
            "must be NoExecute where tolerationSeconds is set".to_owned(),
        );
    }
    Ok(())
}

fn affinities(field: &str, affinity: &Affinity) -> Result<(), Invalid> {
    let Affinity {
        node_affinity,
        pod_affinity,
        pod_anti_affinity,
    } = affinity;
    let json = |part: Option<Result<Value, serde_json::Error>>| part.and_then(Result::ok).unwrap_or_default();
    let node = node_affinity.as_ref().map(serde_json::to_value);
    let pod = pod_affinity.as_ref().map(serde_json::to_value);
    let anti = pod_anti_affinity.as_ref().map(serde_json::to_value);
    expressions(
        &format!("{field}.nodeAffinity"),
        &json(node),
        &embedded::NODE_OPERATORS,
    )?;
    expressions(
        &format!("{field}.podAffinity"),
        &json(pod),
        &embedded::LABEL_OPERATORS,
    )?;
    expressions(
        &format!("{field}.podAntiAffinity"),
        &json(anti),
        &embedded::LABEL_OPERATORS,
    )
}

/// Checks by the names of fields, which have one meaning in all kinds of affinity.
fn expressions(field: &str, part: &Value, operators: &[&str]) -> Result<(), Invalid> {
    for (index, item) in part.as_array().into_iter().flatten().enumerate() {
        expressions(&format!("{field}[{index}]"), item, operators)?;
    }
    if let Some(object) = part.as_object() {
        values_fit(field, object)?;
    }
    for (name, value) in part.as_object().into_iter().flatten() {
        let field = format!("{field}.{name}");
        let text = value.as_str().unwrap_or_default();
        let rule = match name.as_str() {
            "weight" if !(1..=100).contains(&value.as_i64().unwrap_or_default()) => "1 to 100".to_owned(),
            "key" | "topologyKey" if !syntax::is_qualified_name(text) => syntax::KEY_RULE.to_owned(),
            "operator" if !operators.contains(&text) => format!("one of {}", operators.join(", ")),
            "nodeSelectorTerms" if value == &Value::Array(Vec::new()) => "one term at least".to_owned(),
            "values" => {
                label_values(&field, value.as_array().into_iter().flatten().enumerate())?;
                continue;
            }
            "matchLabels" => {
                label_values(&field, value.as_object().into_iter().flatten())?;
                continue;
            }
            _ => {
                expressions(&field, value, operators)?;
                continue;
            }
        };
        return Err(invalid(field, format!("must be {rule}")));
    }
    Ok(())
}

/// The values of an expression over labels, which its operator needs or forbids.
fn values_fit(field: &str, expression: &Map<String, Value>) -> Result<(), Invalid> {
    let Some(operator) = expression.get("operator").and_then(Value::as_str) else {
        return Ok(());
    };
    let values = expression.get("values").and_then(Value::as_array);
    let values = values.map_or(&[][..], Vec::as_slice);
    let is_integer = |value: &Value| value.as_str().is_some_and(|text| text.parse::<i64>().is_ok());
    let (fits, rule) = match operator {
        "In" | "NotIn" => (!values.is_empty(), "one value at least"),
        "Exists" | "DoesNotExist" => (values.is_empty(), "empty"),
        "Gt" | "Lt" => (values.len() == 1 && is_integer(&values[0]), "one integer"),
        // Another rule names the operator.
        _ => return Ok(()),
    };
    if fits {
        return Ok(());
    }
    Err(invalid(
        format!("{field}.values"),
        format!("must be {rule} where operator is {operator}"),
    ))
}

fn label_values<'a>(
    field: &str,
    mut values: impl Iterator<Item = (impl std::fmt::Display, &'a Value)>,
) -> Result<(), Invalid> {
    match values.find(|(_, value)| !value.as_str().is_some_and(syntax::is_label_value)) {
        Some((place, _)) => Err(invalid(
            format!("{field}[{place}]"),
            format!("must be {}", syntax::LABEL_VALUE_RULE),
        )),
        None => Ok(()),
    }
}

fn resources(field: &str, given: &ResourceRequirements) -> Result<(), Invalid> {
    let empty = BTreeMap::new();
    let requests = given.requests.as_ref().unwrap_or(&empty);
    let limits = given.limits.as_ref().unwrap_or(&empty);
    for (kind, quantities) in [("requests", requests), ("limits", limits)] {
        at_most(&format!("{field}.resources.{kind}"), quantities.len(), 16)?;
        for (name, quantity) in quantities {
            let field = format!("{field}.resources.{kind}.{name}");
            if !syntax::is_container_resource(name) {
                return Err(invalid(field, format!("must be {}", syntax::RESOURCE_RULE)));
            }
            if !quantity::is_amount(&quantity.0) {
                let rule = syntax::QUANTITY_RULE;
                return Err(invalid(field, format!("must be {rule}, not {:?}", quantity.0)));
            }
        }
    }
    for (name, request) in requests {
        if limits
            .get(name)
            .is_some_and(|limit| quantity::is_above(request, limit))
        {
            return Err(invalid(
                format!("{field}.resources.requests.{name}"),
                format!("must not be above {field}.resources.limits.{name}"),
            ));
        }
    }
    for name in requests.keys().chain(limits.keys()) {
        if !name.contains('/') && !name.starts_with("hugepages-") {
            continue;
        }
        whole(field, name, requests.get(name), limits.get(name))?;
    }
    if given.claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return Err(invalid(
            format!("{field}.resources.claims"),
            "is not supported: the pods have no resource claims",
        ));
    }
    Ok(())
}

/// Extended resources and huge pages cannot be overcommitted: the request is the limit. A part of a
/// device cannot be requested.
fn whole(
    field: &str,
    name: &str,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Result<(), Invalid> {
    let limited = format!("{field}.resources.limits.{name}");
    let Some(limit) = limit else {
        return Err(invalid(limited, "must be set where it is requested"));
    };
    if name.contains('/') && !quantity::is_whole(limit) {
        return Err(invalid(limited, format!("must be an integer, not {:?}", limit.0)));
    }
    if request.is_some_and(|request| !quantity::is_same(&request.0, &limit.0)) {
        return Err(invalid(
            format!("{field}.resources.requests.{name}"),
            format!("must be equal to {limited}"),
        ));
    }
    Ok(())
}
