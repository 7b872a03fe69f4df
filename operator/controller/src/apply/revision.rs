//! The record of the last valid spec.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};
use wsc_core::revision;

use super::target::{Target, creating};
use crate::error::Error;

const KIND: &str = "ControllerRevision";

/// Records the spec that is in force. A conflict is success: an earlier pass recorded it.
pub(crate) async fn record(target: &Target<'_>, recorded: &[Arc<ControllerRevision>]) -> Result<(), Error> {
    let changes = revision::changes(target.cluster, &target.resource.spec, recorded);
    let server = &target.context.api;
    let api = server.objects::<ControllerRevision>(&target.key.namespace);
    if let Some(record) = changes.create {
        let params = creating();
        let call = api.create(&params, &record);
        match server.write("create", KIND, &record.name_any(), call).await {
            Err(error) if error.is_conflict() => {}
            result => result.map(|_| ())?,
        }
    }
    for record in changes.delete {
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: record.uid(),
            resource_version: None,
        });
        let name = record.name_any();
        let call = api.delete(&name, &params);
        match server.write("delete", KIND, &name, call).await {
            Err(error) if error.is_not_found() => {}
            result => result.map(|_| ())?,
        }
    }
    Ok(())
}
