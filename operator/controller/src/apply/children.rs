//! Children: created if absent, applied if present and owned, taken over only from no owner and
//! only with the annotation for it.

use std::fmt::Debug;
use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde::Serialize;
use serde_json::{Value, json};
use wsc_contract::names;
use wsc_core::drift;
use wsc_core::memory::Memory;
use wsc_core::observed::{ChildKey, ChildKind};
use wsc_core::plan::Child;

use super::target::{Target, creating, delete, with_uid};
use crate::api::Kind;
use crate::error::Error;
use crate::identity::{Uid, is_adoptable};
use crate::observe::live_meta;
use crate::state::State;

pub(super) async fn apply(target: &Target<'_>, child: &Child, state: &mut State) -> Result<(), Error> {
    let key = child.key();
    match child {
        Child::ServiceAccount(object) => put(target, &key, &**object, state).await,
        Child::Role(object) => put(target, &key, &**object, state).await,
        Child::RoleBinding(object) => put(target, &key, &**object, state).await,
        Child::NetworkPolicy(object) => put(target, &key, &**object, state).await,
        Child::ConfigMap(object) => put(target, &key, &**object, state).await,
        Child::Service(object) => put(target, &key, &**object, state).await,
        Child::Deployment(object) => put(target, &key, &**object, state).await,
    }
}

async fn put<K: Kind>(
    target: &Target<'_>,
    key: &ChildKey,
    wanted: &K,
    state: &mut State,
) -> Result<(), Error> {
    match target.observed.children.get(key) {
        // It is being deleted; its name is not free yet.
        Some(live) if live.terminating => Ok(()),
        Some(live) => patch(target, key, wanted, &live.uid, state).await,
        None => create(target, key, wanted, state).await,
    }
}

async fn create<K: Kind>(
    target: &Target<'_>,
    key: &ChildKey,
    wanted: &K,
    state: &mut State,
) -> Result<(), Error> {
    let api = target.context.api.objects::<K>(&target.key.namespace);
    let params = creating();
    let call = api.create(&params, wanted);
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

/// The name is taken by an object that the cache does not show: a foreign one, or a child that lost
/// its label or is too new.
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
    let adopts = is_adoptable(&meta);
    if adopts {
        tracing::info!(kind = ?key.kind, name = key.name, "adopting an annotated object without a controller");
    }
    if adopts || target.owns(&meta) {
        return match Uid::of(&meta) {
            Some(uid) if !terminating => patch(target, key, wanted, &uid, state).await,
            _ => Ok(()),
        };
    }
    tracing::warn!(
        kind = ?key.kind, name = key.name, terminating,
        "name of a child is taken by a foreign object; not changing it"
    );
    state.conflicts.child(key.clone(), terminating, Instant::now());
    Ok(())
}

/// Applies onto the object with this uid; the API server rejects it for another one under the name.
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
        // Foreign fields may be incompatible with the wanted ones.
        Err(error) if error.category() == "invalid" => {
            prune::<K>(target, key, &json, None).await?.ok_or(error)?;
            apply_onto(target, key, wanted, uid).await?
        }
        Err(error) => return Err(error),
    };
    if drift::contains(&json, &value(&live)) {
        state.memory.forget_drift(key);
        return Ok(());
    }
    let live = prune(target, key, &json, Some(&live)).await?.unwrap_or(live);
    accept(key, &json, &value(&live), &mut state.memory);
    Ok(())
}

async fn apply_onto<K: Kind>(target: &Target<'_>, key: &ChildKey, wanted: &K, uid: &str) -> Result<K, Error> {
    let mut object = wanted.clone();
    object.meta_mut().uid = Some(uid.to_owned());
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    write(target, key, "apply", &params, &Patch::Apply(&object)).await
}

/// Removes fields that others added; `None` if there are none.
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
    let ours = target.owns(live.meta());
    let Some(mut patch) = drift::removal_patch(wanted, &value(live)).filter(|_| ours) else {
        return Ok(None);
    };
    // Exactly what was looked at, or nothing.
    let meta = live.meta();
    patch["metadata"] = json!({"uid": meta.uid, "resourceVersion": meta.resource_version});
    tracing::info!(
        kind = ?key.kind, name = key.name, patch = %patch,
        "removing fields set by another field manager"
    );
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    write(target, key, "prune", &params, &Patch::Merge(&patch))
        .await
        .map(Some)
}

async fn write<K: Kind, P: Serialize + Debug>(
    target: &Target<'_>,
    key: &ChildKey,
    verb: &'static str,
    params: &PatchParams,
    patch: &Patch<P>,
) -> Result<K, Error> {
    let api = target.context.api.objects::<K>(&target.key.namespace);
    let call = api.patch(&key.name, params, patch);
    target
        .context
        .api
        .write(verb, &K::kind(&()), &key.name, call)
        .await
}

fn value<K: Kind>(object: &K) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Applying the object again would not change what it still lacks.
fn accept(key: &ChildKey, wanted: &Value, live: &Value, memory: &mut Memory) {
    if drift::contains(wanted, live) {
        memory.forget_drift(key);
        return;
    }
    tracing::warn!(
        kind = ?key.kind, name = key.name,
        "another field manager overrides the applied object; not retrying until it changes"
    );
    memory.accept_drift(key, live);
}

/// Deletes a child that is no longer wanted, if it is the one that was seen.
pub(super) async fn remove(target: &Target<'_>, key: &ChildKey) -> Result<(), Error> {
    async fn remove<K: Kind>(target: &Target<'_>, name: &str, uid: &str) -> Result<(), Error> {
        let uid = with_uid(Some(uid.to_owned()));
        delete::<K>(target, name, uid, DeleteParams::background()).await
    }
    let live = target.observed.children.get(key);
    let Some(live) = live.filter(|live| !live.terminating) else {
        return Ok(());
    };
    let (name, uid) = (key.name.as_str(), live.uid.as_str());
    match key.kind {
        ChildKind::ServiceAccount => remove::<ServiceAccount>(target, name, uid).await,
        ChildKind::Role => remove::<Role>(target, name, uid).await,
        ChildKind::RoleBinding => remove::<RoleBinding>(target, name, uid).await,
        ChildKind::NetworkPolicy => remove::<NetworkPolicy>(target, name, uid).await,
        ChildKind::ConfigMap => remove::<ConfigMap>(target, name, uid).await,
        ChildKind::Service => remove::<Service>(target, name, uid).await,
        ChildKind::Deployment => remove::<Deployment>(target, name, uid).await,
    }
}
