//! Live children: which are there, which are ours, and which still hold what was applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ObjectMeta;
use wsc_api::names;
use wsc_core::observed::{ChildConflict, ChildKey, ChildKind, ChildView, Observed};
use wsc_core::plan::Child;
use wsc_core::resources;
use wsc_core::validate::ValidCluster;
use wsc_haproxy::{BackendSet, RenderedConfig};

use super::{intact, pods};
use crate::api::Kind;
use crate::context::{ClusterKey, Context};
use crate::error::Error;
use crate::state::{Checked, State};
use crate::watch::Scope;

/// A child that ought to be there: as JSON, with the hash that is stamped on it.
struct Wanted {
    json: serde_json::Value,
    hash: String,
}

/// Fills in children and conflicts.
pub(super) async fn observe(
    context: &Context,
    scope: &Scope,
    key: &ClusterKey,
    cluster: &ValidCluster,
    state: &mut State,
    observed: &mut Observed,
) -> Result<(), Error> {
    look_at_strangers(context, key, state).await?;
    let wanted: BTreeMap<ChildKey, Wanted> = wanted(scope, key, cluster);
    let mut collect = Collect {
        cluster,
        wanted: &wanted,
        state,
        observed,
    };
    collect.kind(ChildKind::ServiceAccount, scope.service_accounts.of(key));
    collect.kind(ChildKind::Role, scope.roles.of(key));
    collect.kind(ChildKind::RoleBinding, scope.role_bindings.of(key));
    collect.kind(ChildKind::NetworkPolicy, scope.network_policies.of(key));
    collect.kind(ChildKind::ConfigMap, scope.config_maps.of(key));
    collect.kind(ChildKind::Service, scope.services.of(key));
    collect.kind(ChildKind::Deployment, scope.deployments.of(key));
    observed.conflicts.extend(state.conflicts.list());
    observed.conflicts.dedup();
    Ok(())
}

/// The metadata of a live object, straight from the API server.
pub async fn live_meta(
    context: &Context,
    namespace: &str,
    key: &ChildKey,
) -> Result<Option<ObjectMeta>, Error> {
    async fn get<K: Kind>(
        context: &Context,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObjectMeta>, Error> {
        let api = context.api.objects::<K>(namespace);
        let what = format!("get {} {name}", K::kind(&()));
        let found = context.api.read(&what, api.get_metadata_opt(name)).await?;
        Ok(found.map(|object| object.metadata))
    }
    let name = key.name.as_str();
    match key.kind {
        ChildKind::ServiceAccount => get::<ServiceAccount>(context, namespace, name).await,
        ChildKind::Role => get::<Role>(context, namespace, name).await,
        ChildKind::RoleBinding => get::<RoleBinding>(context, namespace, name).await,
        ChildKind::NetworkPolicy => get::<NetworkPolicy>(context, namespace, name).await,
        ChildKind::ConfigMap => get::<ConfigMap>(context, namespace, name).await,
        ChildKind::Service => get::<Service>(context, namespace, name).await,
        ChildKind::Deployment => get::<Deployment>(context, namespace, name).await,
    }
}

/// A stranger without our label is in no mirror.
async fn look_at_strangers(context: &Context, key: &ClusterKey, state: &mut State) -> Result<(), Error> {
    let now = Instant::now();
    for child in state.conflicts.due(now) {
        match live_meta(context, &key.namespace, &child).await? {
            Some(meta) if pods::controller_uid(&meta) != Some(state.uid.as_str()) => {
                state
                    .conflicts
                    .child(child, meta.deletion_timestamp.is_some(), now);
            }
            _ => state.conflicts.clear(&child),
        }
    }
    Ok(())
}

/// What ought to be there, as far as the shell can know: of the `ConfigMap` it is what its hash says was applied.
fn wanted(scope: &Scope, key: &ClusterKey, cluster: &ValidCluster) -> BTreeMap<ChildKey, Wanted> {
    let mut wanted: BTreeMap<ChildKey, Wanted> = resources::children(cluster)
        .iter()
        .filter_map(|child| match child {
            Child::ServiceAccount(object) => entry(ChildKind::ServiceAccount, &**object),
            Child::Role(object) => entry(ChildKind::Role, &**object),
            Child::RoleBinding(object) => entry(ChildKind::RoleBinding, &**object),
            Child::NetworkPolicy(object) => entry(ChildKind::NetworkPolicy, &**object),
            Child::ConfigMap(object) => entry(ChildKind::ConfigMap, &**object),
            Child::Service(object) => entry(ChildKind::Service, &**object),
            Child::Deployment(object) => entry(ChildKind::Deployment, &**object),
        })
        .collect();
    let name = names::haproxy_config(&cluster.name);
    let live = scope.config_maps.of(key);
    if let Some(object) = live.get(&name).and_then(|live| published(cluster, live)) {
        wanted.extend(entry(ChildKind::ConfigMap, &object));
    }
    wanted
}

/// The `ConfigMap` that would have been applied with this content. If somebody edited it, its hash is not the one stamped on it.
fn published(cluster: &ValidCluster, live: &ConfigMap) -> Option<ConfigMap> {
    let data = live.data.as_ref()?;
    let rendered = RenderedConfig {
        text: data.get("haproxy.cfg")?.clone(),
        backend_set: BackendSet::from_json(data.get("backends.json")?).ok()?,
    };
    Some(resources::config_map(cluster, &rendered))
}

fn entry<K: Kind>(kind: ChildKind, object: &K) -> Option<(ChildKey, Wanted)> {
    let key = ChildKey {
        kind,
        name: object.meta().name.clone()?,
    };
    let wanted = Wanted {
        json: serde_json::to_value(object).ok()?,
        hash: stamped(object.meta())?,
    };
    Some((key, wanted))
}

fn stamped(meta: &ObjectMeta) -> Option<String> {
    meta.annotations
        .as_ref()?
        .get(names::APPLIED_HASH_ANNOTATION)
        .cloned()
}

struct Collect<'a> {
    cluster: &'a ValidCluster,
    wanted: &'a BTreeMap<ChildKey, Wanted>,
    state: &'a mut State,
    observed: &'a mut Observed,
}

impl Collect<'_> {
    fn kind<K: Kind>(&mut self, kind: ChildKind, live: BTreeMap<String, Arc<K>>) {
        for (name, object) in live {
            let key = ChildKey { kind, name };
            let meta = object.meta();
            let terminating = meta.deletion_timestamp.is_some();
            if pods::controller_uid(meta) != Some(self.cluster.uid.as_str()) {
                self.stranger(&key, terminating);
                continue;
            }
            let view = ChildView {
                uid: meta.uid.clone().unwrap_or_default(),
                applied_hash: stamped(meta),
                intact: self.intact(&key, &*object),
                terminating,
            };
            self.observed.children.insert(key, view);
        }
    }

    /// It has our label and another controller: a conflict if it has the name of a child.
    fn stranger(&mut self, key: &ChildKey, terminating: bool) {
        let config_map =
            key.kind == ChildKind::ConfigMap && key.name == names::haproxy_config(&self.cluster.name);
        if config_map || self.wanted.contains_key(key) {
            self.observed.conflicts.push(ChildConflict {
                kind: format!("{:?}", key.kind),
                name: key.name.clone(),
                terminating,
            });
        }
    }

    fn intact<K: Kind>(&mut self, key: &ChildKey, live: &K) -> bool {
        let Some(wanted) = self.wanted.get(key) else {
            // A ConfigMap whose content cannot even be read; or a child that is to go, whose content does not matter.
            return key.kind != ChildKind::ConfigMap;
        };
        let version = live.meta().resource_version.as_deref().unwrap_or_default();
        if let Some(intact) = self.state.intact.get(key, version, &wanted.hash) {
            return intact;
        }
        let json = serde_json::to_value(live).unwrap_or_default();
        let intact = intact::holds(&wanted.json, &json)
            || self.state.intact.is_settled(key, intact::fingerprint(&json));
        let checked = Checked {
            resource_version: version.to_owned(),
            wanted_hash: wanted.hash.clone(),
            intact,
        };
        self.state.intact.put(key.clone(), checked);
        intact
    }
}
