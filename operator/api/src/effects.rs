//! Reads the effects of changes from the schema of the spec.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::Value;
use wsc_contract::labels::Component;

use crate::on_change::OnChange;
use crate::v1alpha1::WebSocketClusterSpec;

const EXTENSION: &str = "x-on-change";

/// The effect of each field that has one, by path: `spec.server.env[].name`. Objects are not
/// listed, their fields are.
pub fn on_change() -> BTreeMap<String, OnChange> {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let schema = settings
        .into_generator()
        .into_root_schema_for::<WebSocketClusterSpec>();
    let mut effects = BTreeMap::new();
    collect(schema.as_value(), "spec", &mut effects);
    effects
}

fn collect(schema: &Value, path: &str, effects: &mut BTreeMap<String, OnChange>) {
    if let Ok(effect) = OnChange::deserialize(&schema[EXTENSION]) {
        effects.insert(path.to_owned(), effect.of(owner(path)));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        collect(field, &format!("{path}.{name}"), effects);
    }
    // An optional object is a choice between it and null.
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        collect(choice, path, effects);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{path}[]"), effects);
    }
}

fn owner(path: &str) -> Option<Component> {
    match path.split('.').nth(1)? {
        "server" => Some(Component::Server),
        "proxy" => Some(Component::Proxy),
        "redis" => Some(Component::Redis),
        _ => None,
    }
}
