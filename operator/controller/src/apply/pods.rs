//! Server pods: reserved, created, marked, deleted. Every write names the version that it was
//! decided on, so that a stale one fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use wsc_api::v1alpha1::{WebSocketCluster, WebSocketClusterStatus};
use wsc_contract::{labels, names};
use wsc_core::plan::{PodDelete, PodMark, PodMetadata};
use wsc_core::status::with_serials;

use super::target::{self, Target, creating, identity};
use crate::clock;
use crate::error::Error;
use crate::identity::PodName;
use crate::state::State;
use crate::status;

/// Creates that are under way at the same time.
const CREATES: usize = 8;

/// Writes the end of the reserved serials into the status, if the resource was not written since it
/// was read.
pub(super) async fn reserve(
    target: &Target<'_>,
    wanted: &WebSocketClusterStatus,
    end: i64,
    resource: &mut Arc<WebSocketCluster>,
    state: &mut State,
) -> Result<(), Error> {
    let first = target.observed.status.next_serial;
    let status = with_serials(wanted, end);
    // Before the write: its answer may get lost.
    state.serials.reserve(first..end, clock::now());
    match status::put(target.context, target.key, resource, &status, state).await {
        Ok(written) => {
            state.serials.confirm(end);
            *resource = written;
            Ok(())
        }
        Err(error) => {
            if error.is_refusal() {
                (first..end).for_each(|serial| state.serials.release(serial));
            }
            Err(error)
        }
    }
}

/// Creates pods, some at a time.
pub(super) async fn create(
    target: &Target<'_>,
    pods: &[Pod],
    state: &mut State,
) -> Vec<(String, Result<(), Error>)> {
    let creates: Vec<_> = pods
        .iter()
        .filter_map(|pod| Some(create_one(target, PodName::of(&pod.metadata)?, pod)))
        .collect();
    let results: Vec<(PodName, Created)> = stream::iter(creates).buffer_unordered(CREATES).collect().await;
    results
        .into_iter()
        .map(|(name, created)| (name.to_string(), note(target, name, created, state)))
        .collect()
}

enum Created {
    /// It exists and is owned.
    Yes,
    /// It does not exist: the serial is skipped.
    No(Option<Error>),
    /// A foreign pod has the name.
    NameTaken { terminating: bool },
    /// Unknown; the serial counts until the API server answers.
    Unknown(Error),
}

async fn create_one(target: &Target<'_>, name: PodName, pod: &Pod) -> (PodName, Created) {
    let api = target.context.api.objects::<Pod>(&target.key.namespace);
    let params = creating();
    let call = api.create(&params, pod);
    let created = match target.context.api.write("create", "Pod", &name, call).await {
        Ok(_) => Created::Yes,
        Err(error) if error.is_conflict() => {
            let what = format!("get Pod {}", &*name);
            match target.context.api.read(&what, api.get_metadata_opt(&name)).await {
                Ok(Some(live)) if target.owns(&live.metadata) => Created::Yes,
                Ok(Some(live)) => Created::NameTaken {
                    terminating: live.metadata.deletion_timestamp.is_some(),
                },
                Ok(None) => Created::No(None),
                Err(error) => Created::Unknown(error),
            }
        }
        Err(error) if error.is_refusal() => Created::No(Some(error)),
        Err(error) => Created::Unknown(error),
    };
    (name, created)
}

fn note(target: &Target<'_>, name: PodName, created: Created, state: &mut State) -> Result<(), Error> {
    let serial = names::serial_of(&target.key.name, &name);
    let mut wasted = || {
        if let Some(serial) = serial {
            state.serials.release(serial);
        }
    };
    match created {
        Created::Yes => Ok(()),
        Created::No(error) => {
            wasted();
            error.map_or(Ok(()), Err)
        }
        Created::NameTaken { terminating } => {
            wasted();
            tracing::warn!(
                pod = &*name,
                "name of a server pod is taken by a foreign pod; skipping its serial"
            );
            state.conflicts.pod(name, terminating, Instant::now());
            Ok(())
        }
        Created::Unknown(error) => Err(error),
    }
}

/// Writes the state label and the drain annotations, and nothing else; without a drain the
/// annotations go.
pub(super) async fn mark(target: &Target<'_>, mark: &PodMark) -> Result<(), Error> {
    let annotations = mark.drain.as_ref().map(|drain| {
        BTreeMap::from([
            (labels::DRAIN_REASON.to_owned(), drain.reason.as_str().to_owned()),
            (labels::DRAIN_SINCE.to_owned(), drain.since.to_string()),
            (labels::DRAIN_DEADLINE.to_owned(), drain.deadline.to_string()),
        ])
    });
    let mut metadata = identity(&mark.name, &mark.uid, &mark.resource_version);
    metadata.labels = Some(BTreeMap::from([(
        labels::STATE.to_owned(),
        mark.state.as_str().to_owned(),
    )]));
    metadata.annotations = annotations;
    let pod = Pod {
        metadata,
        ..Pod::default()
    };
    let api = target.context.api.objects::<Pod>(&target.key.namespace);
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    let call = Patch::Apply(&pod);
    let call = api.patch_metadata(&mark.name, &params, &call);
    target
        .context
        .api
        .write("apply", "Pod", &mark.name, call)
        .await
        .map(|_| ())
}

/// Writes labels and annotations of the spec on a pod, and removes those that are no longer in it,
/// whoever wrote them.
pub(super) async fn update(target: &Target<'_>, update: &PodMetadata) -> Result<(), Error> {
    let patch = json!({"metadata": {
        "uid": update.uid,
        "resourceVersion": update.resource_version,
        "labels": update.labels,
        "annotations": update.annotations,
    }});
    let api = target.context.api.objects::<Pod>(&target.key.namespace);
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let call = Patch::Merge(&patch);
    let call = api.patch_metadata(&update.name, &params, &call);
    let live = target
        .context
        .api
        .write("patch", "Pod", &update.name, call)
        .await?;
    if update.is_in(&live.metadata) {
        return Ok(());
    }
    Err(Error::Overridden {
        what: format!("patch Pod {}", update.name),
    })
}

/// Deletes the pod as it was seen, with its own grace period.
pub(super) async fn delete(target: &Target<'_>, pod: &PodDelete) -> Result<(), Error> {
    let seen = Preconditions {
        uid: Some(pod.uid.clone()),
        resource_version: Some(pod.resource_version.clone()),
    };
    target::delete::<Pod>(target, &pod.name, seen, DeleteParams::default()).await?;
    tracing::info!(pod = pod.name, reason = pod.reason, "pod deleted");
    Ok(())
}
