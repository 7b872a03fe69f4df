//! The record of the last valid spec.

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt;
use kube::api::DeleteParams;
use wsc_core::revision;

use super::applied::Applied;
use super::target::{Target, creating, delete, with_uid};
use crate::clock;
use crate::error::Error;
use crate::state::State;

const KIND: &str = "ControllerRevision";

/// Records the spec that is in force, and deletes earlier records.
pub(super) async fn record(target: &Target<'_>, state: &mut State, applied: &mut Applied) {
    let changes = revision::changes(target.cluster, &target.resource.spec, target.recorded);
    let deleted = changes.delete.iter().map(|record| record.name_any());
    let created = changes.create.iter().map(ResourceExt::name_any);
    let wanted: Vec<_> = created.chain(deleted).collect();
    let due = state.memory.due(KIND, &wanted, clock::now());
    for record in changes
        .create
        .iter()
        .filter(|record| due.contains(&record.name_any()))
    {
        let result = create(target, record).await;
        applied.object(state, KIND, &record.name_any(), None, result);
    }
    for record in changes
        .delete
        .iter()
        .filter(|record| due.contains(&record.name_any()))
    {
        let background = DeleteParams::background();
        let uid = with_uid(record.uid());
        let result = delete::<ControllerRevision>(target, &record.name_any(), uid, background).await;
        applied.object(state, KIND, &record.name_any(), None, result);
    }
}

/// A conflict is success: an earlier reconcile created it.
async fn create(target: &Target<'_>, record: &ControllerRevision) -> Result<(), Error> {
    let server = &target.context.api;
    let api = server.objects::<ControllerRevision>(&target.key.namespace);
    let params = creating();
    let call = api.create(&params, record);
    match server.write("create", KIND, &record.name_any(), call).await {
        Err(error) if error.is_conflict() => Ok(()),
        result => result.map(|_| ()),
    }
}
