//! What a plan is applied to, and what writes have in common.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::names;
use wsc_core::observed::Observed;
use wsc_core::validate::ValidCluster;

use crate::api::Kind;
use crate::context::Context;
use crate::error::Error;
use crate::identity::{ClusterKey, Uid};
use crate::sample::Samples;

/// What a plan is applied to.
pub(crate) struct Target<'a> {
    pub(crate) context: &'a Context,
    pub(crate) key: &'a ClusterKey,
    pub(crate) cluster: &'a ValidCluster,
    pub(crate) resource: Arc<WebSocketCluster>,
    /// Recorded specs of the resource.
    pub(crate) recorded: &'a [Arc<ControllerRevision>],
    pub(crate) observed: &'a Observed,
    pub(crate) samples: &'a Samples,
}

impl Target<'_> {
    /// The object is controlled by the resource.
    pub(super) fn owns(&self, meta: &ObjectMeta) -> bool {
        Uid::of_controller(meta).as_deref() == Some(self.cluster.uid.as_str())
    }
}

/// Deletes exactly the object that was seen. One that does not exist any more is success.
pub(super) async fn delete<K: Kind>(
    target: &Target<'_>,
    name: &str,
    seen: Preconditions,
    params: DeleteParams,
) -> Result<(), Error> {
    let server = &target.context.api;
    let api = server.objects::<K>(&target.key.namespace);
    let params = params.preconditions(seen);
    let call = api.delete(name, &params);
    match server.write("delete", &K::kind(&()), name, call).await {
        Err(error) if error.is_not_found() => Ok(()),
        result => result.map(|_| ()),
    }
}

/// The object with this uid, whatever its version.
pub(super) fn with_uid(uid: Option<String>) -> Preconditions {
    Preconditions {
        uid,
        resource_version: None,
    }
}

pub(super) fn creating() -> PostParams {
    PostParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Only what identifies an object and makes a stale write fail.
pub(super) fn identity(name: &str, uid: &str, resource_version: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        resource_version: Some(resource_version.to_owned()),
        ..ObjectMeta::default()
    }
}
