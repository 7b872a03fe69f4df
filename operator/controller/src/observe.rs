//! The observed state as plain data for the core. Caches are read; the API server is queried only
//! where a cache cannot know.

mod children;
pub(crate) mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::ListParams;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::labels::{self, Component};
use wsc_contract::names;
use wsc_core::nodes::{self, NodeView};
use wsc_core::observed::{ChildKind, NoNode, Observed, ProxyView, SharedPod};
use wsc_core::validate::ValidCluster;

use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::identity::{ClusterKey, Uid};
use crate::sample::Samples;
use crate::state::State;
use crate::watch::{Nodes, Scope, SeenPod};

pub(crate) use children::live_meta;

/// The resource as it is now.
pub(crate) enum Found {
    Resource(Arc<WebSocketCluster>),
    /// It does not match the CRD of this operator's version, with the error of the parser.
    Unreadable(String),
    /// There is none, or it is being deleted: its children are collected with it, and nothing is
    /// made for it any more.
    Gone,
}

pub(crate) fn resource(context: &Context, key: &ClusterKey, state: &mut State) -> Found {
    let Some(seen) = context.caches.cluster(key) else {
        return Found::Gone;
    };
    let meta = seen.meta();
    if meta.deletion_timestamp.is_some() {
        return Found::Gone;
    }
    let Some(uid) = Uid::of(meta) else {
        return Found::Gone;
    };
    state.about(uid);
    match &seen.0 {
        Ok(seen) => {
            state.problem = None;
            Found::Resource(state.newest(seen.clone()))
        }
        Err(invalid) => Found::Unreadable(invalid.error.clone()),
    }
}

/// Recorded specs of the resource, and others with its label.
pub(crate) fn recorded(context: &Context, key: &ClusterKey) -> Vec<Arc<ControllerRevision>> {
    let scope = context.caches.scope(&key.namespace);
    let revisions = scope.map(|scope| scope.revisions.of(key));
    revisions
        .iter()
        .flat_map(|revisions| revisions.values().map(|revision| Arc::new(revision.object())))
        .collect()
}

/// Everything around a valid resource.
pub(crate) async fn observe(
    context: &Context,
    key: &ClusterKey,
    cluster: &ValidCluster,
    resource: &WebSocketCluster,
    samples: &Samples,
    state: &mut State,
) -> Result<Observed, Error> {
    let mut observed = Observed {
        status: resource.status.clone().unwrap_or_default(),
        generation: cluster.generation,
        watches_fresh: context.caches.fresh(&key.namespace),
        ..Observed::default()
    };
    let Some(scope) = context.caches.scope(&key.namespace) else {
        return Ok(observed);
    };
    let live = scope.pods.of(key);
    observed.pods = server_pods(context, cluster, &live);
    observed.no_node = no_node(context, cluster, &observed);
    observed.proxies = proxies(&live, samples, clock::now());
    observed.samples = samples.servers(&observed.pods);
    observed.proxy_ready = ready_replicas(scope, key, &names::proxy(&cluster.name));
    observed.redis_ready = ready_replicas(scope, key, &names::redis(&cluster.name));
    observed.load_balancer = load_balancer(scope, key, &cluster.name);
    // Serials are never used again, not even those of a resource of the same name before this one.
    let servers = live
        .iter()
        .filter(|(_, pod)| pod.component == Some(Component::Server));
    let seen = servers.filter_map(|(name, _)| names::serial_of(&cluster.name, name));
    let next_serial = observed.status.next_serial;
    observed.status.next_serial = state.serials.observe(next_serial, &seen.collect(), clock::now());
    query_serials(context, key, state).await?;
    observed.reserved_serials = state.serials.pending();
    children::observe(context, scope, key, cluster, state, &mut observed).await?;
    Ok(observed)
}

/// Replaces what samples and time change: everything else is reported by an event.
pub(crate) fn refresh(context: &Context, key: &ClusterKey, samples: &Samples, observed: &mut Observed) {
    observed.watches_fresh = context.caches.fresh(&key.namespace);
    observed.samples = samples.servers(&observed.pods);
    if let Some(scope) = context.caches.scope(&key.namespace) {
        observed.proxies = proxies(&scope.pods.of(key), samples, clock::now());
    }
}

/// Queries the API server for reserved pods that the watch does not show: one list, whatever their
/// number.
async fn query_serials(context: &Context, key: &ClusterKey, state: &mut State) -> Result<(), Error> {
    let due = state.serials.due(clock::now());
    if due.is_empty() {
        return Ok(());
    }
    let pods = context.api.objects::<Pod>(&key.namespace);
    // Without a resource version the list is not older than the request.
    let params = ListParams::default().labels(&format!("{}={}", labels::CLUSTER, key.name));
    let found = context.api.read("list Pods", pods.list_metadata(&params)).await?;
    let ours = found
        .items
        .iter()
        .filter(|pod| Uid::of_controller(&pod.metadata) == state.uid);
    let ours: BTreeSet<&str> = ours.filter_map(|pod| pod.metadata.name.as_deref()).collect();
    for serial in due {
        if ours.contains(names::server_pod(&key.name, serial).as_str()) {
            state.serials.exists(serial, clock::now());
        } else {
            state.serials.release(serial);
        }
    }
    Ok(())
}

fn server_pods(
    context: &Context,
    cluster: &ValidCluster,
    live: &BTreeMap<String, Arc<SeenPod>>,
) -> BTreeMap<String, SharedPod> {
    let mut nodes = Nodes::new(&context.caches);
    let ours = live
        .iter()
        .filter(|(_, pod)| pod.controller.as_deref() == Some(cluster.uid.as_str()));
    ours.filter_map(|(name, pod)| Some((name.clone(), pod.view(nodes.of(pod))?)))
        .collect()
}

/// Nodes are compared only while pods wait for one or are to be replaced.
fn no_node(context: &Context, cluster: &ValidCluster, observed: &Observed) -> Option<NoNode> {
    let revision = observed.status.update_revision.as_deref();
    let is_new_needed = |pod: &SharedPod| !pod.scheduled || Some(pod.template_hash.as_str()) != revision;
    if !observed.pods.values().any(is_new_needed) {
        return None;
    }
    let nodes = context.caches.nodes();
    let views = nodes.iter().map(|node| NodeView {
        labels: node.metadata.labels.as_ref(),
        allocatable: node
            .status
            .as_ref()
            .and_then(|status| status.allocatable.as_ref()),
    });
    nodes::no_node(cluster, views)
}

fn proxies(live: &BTreeMap<String, Arc<SeenPod>>, samples: &Samples, now: Timestamp) -> Vec<ProxyView> {
    let proxies = live
        .iter()
        .filter(|(_, pod)| pod.component == Some(Component::Proxy));
    proxies
        .map(|(name, pod)| ProxyView {
            name: name.clone(),
            ready: pod.ready,
            terminating: pod.terminating,
            agent: pod.uid.as_ref().and_then(|uid| samples.agent(uid, now)),
        })
        .collect()
}

fn ready_replicas(scope: &Scope, key: &ClusterKey, name: &str) -> Option<i32> {
    let deployments = scope.children(ChildKind::Deployment, key);
    Some(deployments.get(name)?.ready_replicas)
}

/// The first address of the client Service's load balancer.
fn load_balancer(scope: &Scope, key: &ClusterKey, cluster: &str) -> Option<String> {
    let services = scope.children(ChildKind::Service, key);
    services.get(&names::client_service(cluster))?.address.clone()
}
