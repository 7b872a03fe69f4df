//! The schema of the `CustomResourceDefinition`, with what the derive cannot express.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::embedded;
use crate::v1alpha1::WebSocketCluster;

/// The `CustomResourceDefinition` as installed.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = WebSocketCluster::crd();
    for version in &mut crd.spec.versions {
        let Some(root) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        let Some(properties) = root.properties.as_mut() else {
            continue;
        };
        if let Some(status) = properties.get_mut("status") {
            // kstatus reads a resource without observedGeneration as done; -1 means that it was
            // never reconciled.
            status.default = Some(JSON(serde_json::json!({"observedGeneration": -1})));
        }
        for schema in properties.values_mut() {
            adapt(schema);
        }
    }
    crd
}

/// Restricts embedded types of Kubernetes, and removes their descriptions but that of the field
/// itself: they would make two thirds of the CRD, and `kubectl explain pod` has them.
fn adapt(schema: &mut JSONSchemaProps) {
    for (name, property) in schema.properties.iter_mut().flatten() {
        if property.default.is_some() {
            // An explicit null then means the default. Otherwise it would be stored, and the
            // operator could not read the resource.
            property.nullable = None;
        }
        if embedded::NAMES.contains(&name.as_str()) {
            let own = property.description.take();
            embedded::restrict(name, property);
            strip(property);
            property.description = own;
        } else {
            adapt(property);
        }
    }
}

fn strip(schema: &mut JSONSchemaProps) {
    schema.description = None;
    schema
        .properties
        .iter_mut()
        .flatten()
        .for_each(|(_, property)| strip(property));
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(items)) => strip(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(strip),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        strip(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crd_fits_client_side_apply() {
        let yaml = serde_yaml::to_string(&crd()).unwrap();
        assert!(yaml.len() < 200_000, "{} bytes", yaml.len());
    }
}
