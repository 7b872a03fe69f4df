//! Writes the status: only when it differs, and only onto the version of the resource that it was computed from.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::Value;
use wsc_api::names;
use wsc_api::v1alpha1::{WebSocketCluster, WebSocketClusterStatus};
use wsc_core::validate::Invalid;

use crate::apply::Target;
use crate::context::{ClusterKey, Context};
use crate::error::Error;
use crate::state::State;

/// Fields that only say when something became so.
const TIMES: [&str; 2] = ["lastTransitionTime", "time"];

/// What server-side apply of a status needs: the spec is not ours, so it is not there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusOnly<'a> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    status: &'a WebSocketClusterStatus,
}

/// Writes the status if it says something else than the resource's.
pub async fn write(
    target: &Target<'_>,
    resource: &WebSocketCluster,
    wanted: &WebSocketClusterStatus,
    state: &mut State,
) -> Result<(), Error> {
    let live = resource.status.as_ref();
    let wanted = WebSocketClusterStatus {
        // A reservation of this pass is in the live status only.
        next_serial: live.map_or(0, |live| live.next_serial).max(wanted.next_serial),
        ..wanted.clone()
    };
    if live.is_some_and(|live| same(live, &wanted)) {
        return Ok(());
    }
    put(target, resource, &wanted, state).await.map(|_| ())
}

/// Writes the status, and remembers the resource as that left it.
pub async fn put(
    target: &Target<'_>,
    resource: &WebSocketCluster,
    wanted: &WebSocketClusterStatus,
    state: &mut State,
) -> Result<Arc<WebSocketCluster>, Error> {
    put_as(target.context, target.key, resource, wanted, state).await
}

/// A resource that the CRD let through and that still cannot be: says so in its status. Returns whether that was news.
pub async fn refuse(
    context: &Context,
    key: &ClusterKey,
    resource: &WebSocketCluster,
    invalid: &Invalid,
    state: &mut State,
) -> Result<bool, Error> {
    let live = resource.status.clone().unwrap_or_default();
    let wanted = refused(
        &live,
        resource.meta().generation.unwrap_or_default(),
        invalid,
        Timestamp::now(),
    );
    if same(&live, &wanted) {
        return Ok(false);
    }
    put_as(context, key, resource, &wanted, state).await?;
    Ok(true)
}

async fn put_as(
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
    let how = PatchParams::apply(names::STATUS_FIELD_MANAGER).force();
    let call = Patch::Apply(&body);
    let call = api.patch_status(&key.name, &how, &call);
    let written = context
        .api
        .write("apply", "WebSocketCluster/status", &key.name, call)
        .await?;
    let written = Arc::new(written);
    state.latest = Some(written.clone());
    Ok(written)
}

/// Equal but for times.
fn same(a: &WebSocketClusterStatus, b: &WebSocketClusterStatus) -> bool {
    timeless(a) == timeless(b)
}

fn timeless(status: &WebSocketClusterStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    forget_times(&mut value);
    value
}

fn forget_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !TIMES.contains(&name.as_str()));
            fields.values_mut().for_each(forget_times);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        _ => {}
    }
}

/// The old status with the conditions that say what is wrong. What runs goes on as it is.
fn refused(
    live: &WebSocketClusterStatus,
    generation: i64,
    invalid: &Invalid,
    now: Timestamp,
) -> WebSocketClusterStatus {
    let mut status = live.clone();
    status.observed_generation = generation;
    for (type_, value) in [("Ready", "False"), ("Stalled", "True"), ("Reconciling", "False")] {
        let before = live
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == value);
        let condition = Condition {
            type_: type_.to_owned(),
            status: value.to_owned(),
            reason: "InvalidSpec".to_owned(),
            message: format!("{invalid}: change spec.{}", invalid.field),
            observed_generation: Some(generation),
            last_transition_time: before.map_or(Time(now), |before| before.last_transition_time.clone()),
        };
        status.conditions.retain(|condition| condition.type_ != type_);
        status.conditions.push(condition);
    }
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid() -> Invalid {
        Invalid {
            field: "server.path".to_owned(),
            problem: "must start with /".to_owned(),
        }
    }

    #[test]
    fn times_alone_are_no_news() {
        let early = refused(
            &WebSocketClusterStatus::default(),
            2,
            &invalid(),
            Timestamp::UNIX_EPOCH,
        );
        let mut late = early.clone();
        late.conditions[0].last_transition_time = Time(Timestamp::MAX);
        assert!(same(&early, &late));
        late.conditions[0].status = "Unknown".to_owned();
        assert!(!same(&early, &late));
    }

    #[test]
    fn a_refused_resource_says_which_field_and_keeps_the_rest() {
        let live = WebSocketClusterStatus {
            next_serial: 7,
            replicas: 3,
            ..WebSocketClusterStatus::default()
        };
        let status = refused(&live, 2, &invalid(), Timestamp::UNIX_EPOCH);
        assert_eq!(
            (status.next_serial, status.replicas, status.observed_generation),
            (7, 3, 2)
        );
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!(ready.status, "False");
        assert!(ready.message.contains("server.path must start with /"));
        let again = refused(&status, 2, &invalid(), Timestamp::MAX);
        assert_eq!(status, again, "and keeps the times");
    }
}
