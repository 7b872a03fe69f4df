//! Live children, and foreign objects with their names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ObjectMeta;
use wsc_core::observed::{ChildConflict, ChildKey, ChildKind, ChildView, Observed};
use wsc_core::resources;
use wsc_core::validate::ValidCluster;

use crate::api::Kind;
use crate::context::Context;
use crate::error::Error;
use crate::identity::{ClusterKey, Namespace, Uid, is_adoptable};
use crate::state::State;
use crate::watch::{ChildObject, Scope};

/// Fills in children and conflicts.
pub(super) async fn observe(
    context: &Context,
    scope: &Scope,
    key: &ClusterKey,
    cluster: &ValidCluster,
    state: &mut State,
    observed: &mut Observed,
) -> Result<(), Error> {
    let is_child = |child: &ChildKey| resources::is_child(cluster, child);
    state.conflicts.retain(is_child);
    query_foreign(context, key, state).await?;
    let mut collect = Collect {
        cluster,
        observed: &mut *observed,
    };
    for kind in ChildKind::ALL {
        collect.kind(kind, &scope.children(kind, key));
    }
    observed.conflicts.extend(state.conflicts.list());
    observed.conflicts.dedup();
    Ok(())
}

/// The metadata of a live object, straight from the API server.
pub(crate) async fn live_meta(
    context: &Context,
    namespace: &Namespace,
    key: &ChildKey,
) -> Result<Option<ObjectMeta>, Error> {
    async fn get<K: Kind>(
        context: &Context,
        namespace: &Namespace,
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

/// A foreign object without the label of a child is in no cache.
async fn query_foreign(context: &Context, key: &ClusterKey, state: &mut State) -> Result<(), Error> {
    let now = Instant::now();
    for child in state.conflicts.due(now) {
        match live_meta(context, &key.namespace, &child).await? {
            Some(meta) if Uid::of_controller(&meta) != state.uid && !is_adoptable(&meta) => {
                state
                    .conflicts
                    .child(child, meta.deletion_timestamp.is_some(), now);
            }
            _ => state.conflicts.clear(&child),
        }
    }
    Ok(())
}

struct Collect<'a> {
    cluster: &'a ValidCluster,
    observed: &'a mut Observed,
}

impl Collect<'_> {
    fn kind(&mut self, kind: ChildKind, live: &BTreeMap<String, Arc<ChildObject>>) {
        for (name, child) in live {
            let key = ChildKey {
                kind,
                name: name.clone(),
            };
            let Some(uid) = &child.uid else {
                continue;
            };
            if child.controller.as_deref() != Some(self.cluster.uid.as_str()) {
                // An adoptable one is neither a child yet nor a conflict: it is found when the
                // child is created.
                if !child.is_adoptable {
                    self.foreign(&key, child.terminating);
                }
                continue;
            }
            let view = ChildView {
                uid: uid.to_string(),
                applied_hash: child.applied_hash.clone(),
                object: child.object.clone(),
                terminating: child.terminating,
            };
            self.observed.children.insert(key, view);
        }
    }

    /// It has the label of a child and another controller: a conflict if it has the name of one.
    fn foreign(&mut self, key: &ChildKey, terminating: bool) {
        if resources::is_child(self.cluster, key) {
            self.observed.conflicts.push(ChildConflict {
                kind: format!("{:?}", key.kind),
                name: key.name.clone(),
                terminating,
            });
        }
    }
}
