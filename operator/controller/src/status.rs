//! Writes the status onto the version of the resource that it was computed from.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use wsc_api::v1alpha1::{WebSocketCluster, WebSocketClusterStatus};
use wsc_contract::names;

use crate::context::Context;
use crate::error::Error;
use crate::identity::ClusterKey;
use crate::state::State;

/// The body of a server-side apply of the status: the spec is not the operator's, so it is not there.
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
    let written = context
        .api
        .write("apply", "WebSocketCluster/status", &key.name, call)
        .await?;
    let written = Arc::new(written);
    state.latest = Some(written.clone());
    Ok(written)
}
