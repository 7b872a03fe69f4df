//! Writes the status onto the version of the resource that it was computed from.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};
use wsc_api::v1alpha1::{WebSocketCluster, WebSocketClusterStatus};
use wsc_contract::names;
use wsc_core::status::Obstacle;

use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::identity::ClusterKey;
use crate::state::State;

/// The body of a server-side apply of the status: the spec is not the operator's, so it is not
/// there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusOnly<'a> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    status: &'a WebSocketClusterStatus,
}

/// Writes the status, and remembers the resource as that left it.
pub(crate) async fn put(
    context: &Context,
    key: &ClusterKey,
    resource: &WebSocketCluster,
    wanted: &WebSocketClusterStatus,
    state: &mut State,
) -> Result<Arc<WebSocketCluster>, Error> {
    let body = StatusOnly {
        api_version: WebSocketCluster::api_version(&()).into_owned(),
        kind: WebSocketCluster::kind(&()).into_owned(),
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            uid: resource.uid(),
            resource_version: resource.resource_version(),
            ..ObjectMeta::default()
        },
        status: wanted,
    };
    let api = context.api.objects::<WebSocketCluster>(&key.namespace);
    let params = PatchParams::apply(names::STATUS_FIELD_MANAGER).force();
    let call = Patch::Apply(&body);
    let call = api.patch_status(&key.name, &params, &call);
    let mut written = context
        .api
        .write("apply", "WebSocketCluster/status", &key.name, call)
        .await?;
    written.metadata.managed_fields = None;
    let written = Arc::new(written);
    state.latest = Some(written.clone());
    Ok(written)
}

/// Writes an obstacle into the conditions. The resource may be unreadable, so no other field is
/// parsed.
pub(crate) async fn put_obstacle(
    context: &Context,
    key: &ClusterKey,
    obstacle: &Obstacle,
) -> Result<(), Error> {
    let api = context.api.untyped_clusters(&key.namespace);
    let what = format!("get WebSocketCluster {}", key.name);
    let live = context.api.read(&what, api.get(&key.name)).await?;
    let conditions = live.data.pointer("/status/conditions").and_then(Value::as_array);
    let conditions = conditions.into_iter().flatten();
    let conditions: Vec<Condition> = conditions
        .filter_map(|condition| serde_json::from_value(condition.clone()).ok())
        .collect();
    let meta = &live.metadata;
    let generation = meta.generation.unwrap_or_default();
    let wanted = wsc_core::status::blocked(&conditions, obstacle, generation, clock::now());
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let patch = json!({
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": {"conditions": wanted},
    });
    let params = PatchParams {
        field_manager: Some(names::STATUS_FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(&patch);
    let call = api.patch_status(&key.name, &params, &patch);
    let kind = "WebSocketCluster/status";
    context.api.write("patch", kind, &key.name, call).await.map(drop)
}
