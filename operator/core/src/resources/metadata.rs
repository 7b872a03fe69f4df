//! Names, labels, owner and hash of every child.

use std::collections::BTreeMap;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use serde::Serialize;
use wsc_contract::labels::{self, Component};
use wsc_contract::names;

use crate::hash::short_hex;
use crate::validate::ValidCluster;

/// Labels that select the pods of one component of one cluster. A Deployment's selector can never
/// change, so nothing else is in it.
pub(super) fn selector_labels(cluster: &ValidCluster, component: Component) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::CLUSTER.to_owned(), cluster.name.clone()),
        (labels::COMPONENT.to_owned(), component.as_str().to_owned()),
    ])
}

pub(super) fn selector(cluster: &ValidCluster, component: Component) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector_labels(cluster, component)),
        ..Default::default()
    }
}

/// Our labels of a child. The resource's own labels are not copied: tools that track what they
/// deployed would claim the children.
pub(super) fn labels(cluster: &ValidCluster, component: Component) -> BTreeMap<String, String> {
    let mut labels = selector_labels(cluster, component);
    for (key, value) in [
        ("name", format!("wsc-{}", component.as_str())),
        ("instance", cluster.name.clone()),
        ("component", component.as_str().to_owned()),
        ("part-of", "websocket-operator".to_owned()),
        ("managed-by", names::FIELD_MANAGER.to_owned()),
    ] {
        labels.insert(format!("app.kubernetes.io/{key}"), value);
    }
    labels
}

/// Metadata of an object that belongs to no component, owned by its cluster.
pub(crate) fn plain_meta(cluster: &ValidCluster, name: String) -> ObjectMeta {
    let labels = [
        (labels::CLUSTER, cluster.name.as_str()),
        ("app.kubernetes.io/instance", cluster.name.as_str()),
        ("app.kubernetes.io/part-of", "websocket-operator"),
        ("app.kubernetes.io/managed-by", names::FIELD_MANAGER),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    meta(cluster, name, labels.into())
}

/// Metadata of a child, owned by its cluster.
pub(super) fn object_meta(cluster: &ValidCluster, component: Component, name: String) -> ObjectMeta {
    meta(cluster, name, labels(cluster, component))
}

fn meta(cluster: &ValidCluster, name: String, ours: BTreeMap<String, String>) -> ObjectMeta {
    let mut meta = ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(ours),
        owner_references: Some(vec![owner_reference(cluster)]),
        ..Default::default()
    };
    cluster.common.clone().add_to(&mut meta);
    meta
}

/// Writes the hash of the object into it, so that the next pass knows whether there is anything to
/// apply.
pub(super) fn stamp<K>(mut child: K) -> K
where
    K: Metadata<Ty = ObjectMeta> + Serialize,
{
    let hash = hash_of(&child);
    child
        .metadata_mut()
        .annotations
        .get_or_insert_default()
        .insert(labels::APPLIED_HASH.to_owned(), hash);
    child
}

/// First 10 hexadecimal digits of the SHA-256 of a value as JSON: 40 bits tell apart what one
/// cluster ever has, and fit in a label.
pub(super) fn hash_of<T: Serialize>(value: &T) -> String {
    // Structs of strings, numbers, lists and maps always serialize.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    short_hex(&bytes, 5)
}

fn owner_reference(cluster: &ValidCluster) -> OwnerReference {
    OwnerReference {
        api_version: format!("{}/v1alpha1", labels::GROUP),
        kind: "WebSocketCluster".to_owned(),
        name: cluster.name.clone(),
        uid: cluster.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
