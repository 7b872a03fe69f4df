//! Rules of the API server for types of Kubernetes in a pod, added to their schemas, which have
//! none.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use serde_json::json;

use crate::syntax;

/// Fields of these types in pod settings.
pub(crate) const NAMES: [&str; 3] = ["affinity", "tolerations", "resources"];

/// Operators and effects of a toleration; an empty one is the default.
pub const TOLERATION_OPERATORS: [&str; 3] = ["", "Equal", "Exists"];
pub const TOLERATION_EFFECTS: [&str; 4] = ["", "NoSchedule", "PreferNoSchedule", "NoExecute"];
/// Operators of expressions over labels, and those that only node affinity has.
pub const LABEL_OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];
pub const NODE_OPERATORS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

/// Resources that a container may list.
const MAX_RESOURCES: i64 = 16;

/// Restricts the schema of the field with this name.
pub(crate) fn restrict(name: &str, schema: &mut JSONSchemaProps) {
    match name {
        "resources" => resources(schema),
        "tolerations" => {
            if let Some(JSONSchemaPropsOrArray::Schema(item)) = schema.items.as_mut() {
                toleration(item);
            }
        }
        "affinity" => {
            for (name, property) in schema.properties.iter_mut().flatten() {
                let operators: &[&str] = match name.as_str() {
                    "nodeAffinity" => &NODE_OPERATORS,
                    _ => &LABEL_OPERATORS,
                };
                affinity(property, operators);
            }
        }
        _ => {}
    }
}

fn resources(schema: &mut JSONSchemaProps) {
    let [cpu, memory, storage] = syntax::CONTAINER_RESOURCES;
    for (name, property) in schema.properties.iter_mut().flatten() {
        if name == "claims" {
            continue;
        }
        property.max_properties = Some(MAX_RESOURCES);
        if let Some(JSONSchemaPropsOrBool::Schema(value)) = property.additional_properties.as_mut() {
            value.pattern = Some(syntax::QUANTITY.to_owned());
            value.minimum = Some(0.0);
        }
        let qualified = syntax::QUALIFIED_NAME;
        property.x_kubernetes_validations = Some(vec![rule(
            &format!(
                "self.all(name, name in ['{cpu}', '{memory}', '{storage}'] || ((name.contains('/') || name.startsWith('hugepages-')) && name.matches(r'{qualified}')))"
            ),
            &format!("resources.{name}: each must be {}", syntax::RESOURCE_RULE),
            None,
        )]);
    }
    // The standard resources only: over the whole map, the estimated cost of the rule is four times
    // the budget.
    let names = format!("['{cpu}', '{memory}', '{storage}']");
    let amount = |map: &str| format!("string(self.{map}[name])");
    let (request, limit) = (amount("requests"), amount("limits"));
    schema.x_kubernetes_validations = Some(vec![
        rule(
            &format!(
                "!has(self.requests) || !has(self.limits) || {names}.all(name, !(name in self.requests) || !(name in self.limits) || !isQuantity({request}) || !isQuantity({limit}) || quantity({request}).compareTo(quantity({limit})) <= 0)"
            ),
            "resources.requests must not be above resources.limits",
            Some(".requests"),
        ),
        rule(
            "!has(self.claims) || size(self.claims) == 0",
            "resources.claims is not supported: the pods have no resource claims",
            Some(".claims"),
        ),
    ]);
}

fn toleration(schema: &mut JSONSchemaProps) {
    for (name, property) in schema.properties.iter_mut().flatten() {
        match name.as_str() {
            "operator" => one_of(property, &TOLERATION_OPERATORS),
            "effect" => one_of(property, &TOLERATION_EFFECTS),
            "value" => label_value(property),
            "key" => {
                let key = syntax::QUALIFIED_NAME.trim_matches(['^', '$']);
                text(property, syntax::KEY_LENGTH, &format!("^({key})?$"));
            }
            _ => {}
        }
    }
    let exists = "has(self.operator) && self.operator == 'Exists'";
    schema.x_kubernetes_validations = Some(vec![
        rule(
            &format!("(has(self.key) && self.key != '') || ({exists})"),
            "tolerations: operator must be Exists where key is empty",
            Some(".operator"),
        ),
        rule(
            &format!("!({exists}) || !has(self.value) || self.value == ''"),
            "tolerations: value must be empty where operator is Exists",
            Some(".value"),
        ),
        rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerations: effect must be NoExecute where tolerationSeconds is set",
            Some(".effect"),
        ),
    ]);
}

/// Bounds and patterns only: rules would need a limit on each of the nested lists.
fn affinity(schema: &mut JSONSchemaProps, operators: &[&str]) {
    for (name, property) in schema.properties.iter_mut().flatten() {
        match name.as_str() {
            "weight" => {
                property.minimum = Some(1.0);
                property.maximum = Some(100.0);
            }
            "key" | "topologyKey" => text(property, syntax::KEY_LENGTH, syntax::QUALIFIED_NAME),
            "operator" => one_of(property, operators),
            "nodeSelectorTerms" => property.min_items = Some(1),
            "values" => {
                if let Some(JSONSchemaPropsOrArray::Schema(item)) = property.items.as_mut() {
                    label_value(item);
                }
            }
            "matchLabels" => {
                if let Some(JSONSchemaPropsOrBool::Schema(value)) = property.additional_properties.as_mut() {
                    label_value(value);
                }
            }
            _ => {}
        }
        affinity(property, operators);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        affinity(items, operators);
    }
}

fn one_of(schema: &mut JSONSchemaProps, values: &[&str]) {
    schema.enum_ = Some(values.iter().map(|value| JSON(json!(value))).collect());
}

fn label_value(schema: &mut JSONSchemaProps) {
    text(schema, syntax::LABEL_LENGTH, syntax::LABEL_VALUE);
}

fn text(schema: &mut JSONSchemaProps, length: u32, pattern: &str) {
    schema.max_length = Some(i64::from(length));
    schema.pattern = Some(pattern.to_owned());
}

fn rule(rule: &str, message: &str, field: Option<&str>) -> ValidationRule {
    ValidationRule {
        rule: rule.to_owned(),
        message: Some(message.to_owned()),
        field_path: field.map(str::to_owned),
        ..ValidationRule::default()
    }
}
