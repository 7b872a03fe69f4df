//! Children: created if absent, applied if present and ours, never taken from a stranger.

use std::fmt::Debug;
use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions};
use serde::Serialize;
use serde_json::{Value, json};
use wsc_api::names;
use wsc_core::observed::{ChildKey, ChildKind};
use wsc_core::plan::Child;

use super::{Target, creating};
use crate::api::Kind;
use crate::error::Error;
use crate::observe::{fingerprint, holds, live_meta, pods, pruned};
use crate::state::State;

pub(super) async fn apply(target: &Target<'_>, child: &Child, state: &mut State) -> Result<(), Error> {
    match child {
        Child::ServiceAccount(object) => put(target, ChildKind::ServiceAccount, &**object, state).await,
        Child::Role(object) => put(target, ChildKind::Role, &**object, state).await,
        Child::RoleBinding(object) => put(target, ChildKind::RoleBinding, &**object, state).await,
        Child::NetworkPolicy(object) => put(target, ChildKind::NetworkPolicy, &**object, state).await,
        Child::ConfigMap(object) => put(target, ChildKind::ConfigMap, &**object, state).await,
        Child::Service(object) => put(target, ChildKind::Service, &**object, state).await,
        Child::Deployment(object) => put(target, ChildKind::Deployment, &**object, state).await,
    }
}

async fn put<K: Kind>(
    target: &Target<'_>,
    kind: ChildKind,
    wanted: &K,
    state: &mut State,
) -> Result<(), Error> {
    let key = ChildKey {
        kind,
        name: wanted.meta().name.clone().unwrap_or_default(),
    };
    match target.observed.children.get(&key) {
        // It is on its way out; its name is not free yet.
        Some(live) if live.terminating => Ok(()),
        Some(live) => patch(target, &key, wanted, &live.uid, state).await,
        None => create(target, &key, wanted, state).await,
    }
}

async fn create<K: Kind>(
    target: &Target<'_>,
    key: &ChildKey,
    wanted: &K,
    state: &mut State,
) -> Result<(), Error> {
    let api = target.context.api.objects::<K>(&target.key.namespace);
    let how = creating();
    let call = api.create(&how, wanted);
    let result = target
        .context
        .api
        .write("create", &K::kind(&()), &key.name, call)
        .await;
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.is_conflict() => taken(target, key, wanted, state).await,
        Err(error) => Err(error),
    }
}

/// The name is taken by something that the mirror does not show: a stranger, or a child of ours that lost its label or is too new.
async fn taken<K: Kind>(
    target: &Target<'_>,
    key: &ChildKey,
    wanted: &K,
    state: &mut State,
) -> Result<(), Error> {
    let Some(meta) = live_meta(target.context, &target.key.namespace, key).await? else {
        return Ok(());
    };
    let terminating = meta.deletion_timestamp.is_some();
    if pods::controller_uid(&meta) == Some(target.cluster.uid.as_str()) {
        if terminating {
            return Ok(());
        }
        return patch(
            target,
            key,
            wanted,
            meta.uid.as_deref().unwrap_or_default(),
            state,
        )
        .await;
    }
    tracing::warn!(
        cluster = %target.key, kind = ?key.kind, name = key.name, terminating,
        "the name of a child is taken by an object that is not ours; it is left alone"
    );
    state.conflicts.child(key.clone(), terminating, Instant::now());
    Ok(())
}

/// Makes the object with this uid hold what is wanted; another one under the name refuses it.
async fn patch<K: Kind>(
    target: &Target<'_>,
    key: &ChildKey,
    wanted: &K,
    uid: &str,
    state: &mut State,
) -> Result<(), Error> {
    let json = serde_json::to_value(wanted).unwrap_or_default();
    let live = match apply_onto(target, key, wanted, uid).await {
        Ok(live) => live,
        // What somebody added may not go together with what is wanted.
        Err(error) if error.category() == "invalid" => {
            prune::<K>(target, key, &json, None).await?.ok_or(error)?;
            apply_onto(target, key, wanted, uid).await?
        }
        Err(error) => return Err(error),
    };
    if holds(&json, &value(&live)) {
        state.intact.forget(key);
        return Ok(());
    }
    let live = prune(target, key, &json, Some(&live)).await?.unwrap_or(live);
    settle(target, key, &json, &value(&live), state);
    Ok(())
}

async fn apply_onto<K: Kind>(target: &Target<'_>, key: &ChildKey, wanted: &K, uid: &str) -> Result<K, Error> {
    let mut object = wanted.clone();
    object.meta_mut().uid = Some(uid.to_owned());
    let how = PatchParams::apply(names::FIELD_MANAGER).force();
    write(target, key, "apply", &how, &Patch::Apply(&object)).await
}

/// Takes away what somebody else added to the object, as it is or was read; `None` if there is nothing of the kind.
async fn prune<K: Kind>(
    target: &Target<'_>,
    key: &ChildKey,
    wanted: &Value,
    live: Option<&K>,
) -> Result<Option<K>, Error> {
    let read;
    let live = if let Some(live) = live {
        live
    } else {
        let api = target.context.api.objects::<K>(&target.key.namespace);
        let what = format!("get {} {}", K::kind(&()), key.name);
        read = target.context.api.read(&what, api.get(&key.name)).await?;
        &read
    };
    let ours = pods::controller_uid(live.meta()) == Some(target.cluster.uid.as_str());
    let Some(mut patch) = pruned(wanted, &value(live)).filter(|_| ours) else {
        return Ok(None);
    };
    // Exactly what was looked at, or nothing.
    let meta = live.meta();
    patch["metadata"] = json!({"uid": meta.uid, "resourceVersion": meta.resource_version});
    tracing::info!(
        cluster = %target.key, kind = ?key.kind, name = key.name, patch = %patch,
        "taking away what somebody else added"
    );
    let how = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    write(target, key, "prune", &how, &Patch::Merge(&patch))
        .await
        .map(Some)
}

async fn write<K: Kind, P: Serialize + Debug>(
    target: &Target<'_>,
    key: &ChildKey,
    verb: &'static str,
    how: &PatchParams,
    patch: &Patch<P>,
) -> Result<K, Error> {
    let api = target.context.api.objects::<K>(&target.key.namespace);
    let call = api.patch(&key.name, how, patch);
    target
        .context
        .api
        .write(verb, &K::kind(&()), &key.name, call)
        .await
}

fn value<K: Kind>(object: &K) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Remembers what the object looks like if it still does not hold all that was applied: applying it again would do nothing.
fn settle(target: &Target<'_>, key: &ChildKey, wanted: &Value, live: &Value, state: &mut State) {
    if holds(wanted, live) {
        state.intact.forget(key);
        return;
    }
    tracing::warn!(
        cluster = %target.key, kind = ?key.kind, name = key.name,
        "somebody else adds to what was applied; it is left so until it changes again"
    );
    state.intact.settle(key.clone(), fingerprint(live));
}

/// Deletes a child that is no longer wanted, if it is the one that was seen.
pub(super) async fn remove(target: &Target<'_>, key: &ChildKey) -> Result<(), Error> {
    async fn delete<K: Kind>(target: &Target<'_>, name: &str, uid: &str) -> Result<(), Error> {
        let api = target.context.api.objects::<K>(&target.key.namespace);
        let how = DeleteParams::background().preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
        let call = api.delete(name, &how);
        match target
            .context
            .api
            .write("delete", &K::kind(&()), name, call)
            .await
        {
            Err(error) if error.is_not_found() => Ok(()),
            result => result.map(|_| ()),
        }
    }
    let live = target.observed.children.get(key);
    let Some(live) = live.filter(|live| !live.terminating) else {
        return Ok(());
    };
    let (name, uid) = (key.name.as_str(), live.uid.as_str());
    match key.kind {
        ChildKind::ServiceAccount => delete::<ServiceAccount>(target, name, uid).await,
        ChildKind::Role => delete::<Role>(target, name, uid).await,
        ChildKind::RoleBinding => delete::<RoleBinding>(target, name, uid).await,
        ChildKind::NetworkPolicy => delete::<NetworkPolicy>(target, name, uid).await,
        ChildKind::ConfigMap => delete::<ConfigMap>(target, name, uid).await,
        ChildKind::Service => delete::<Service>(target, name, uid).await,
        ChildKind::Deployment => delete::<Deployment>(target, name, uid).await,
    }
}

/// Only what identifies an object and lets a stale write lose.
pub(super) fn identity(name: &str, uid: &str, resource_version: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        resource_version: Some(resource_version.to_owned()),
        ..ObjectMeta::default()
    }
}
