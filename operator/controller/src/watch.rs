//! Caches of what the API server holds, kept by watches: one per kind and namespace scope, shared
//! by all clusters.

mod cache;
mod child;
pub(crate) mod liveness;
mod pod;
mod prune;
mod revision;
mod stream;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::DeserializeGuard;
use kube::{Client, Resource};
use tokio::time::timeout;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::labels;
use wsc_core::observed::ChildKind;

use crate::api::Kind;
use crate::identity::ClusterKey;
use crate::report::metrics::Metrics;
use cache::Cached;
pub(crate) use cache::{Cache, Group};
pub(crate) use child::ChildObject;
use liveness::WatchLiveness;
pub(crate) use pod::SeenPod;
use revision::SeenRevision;
pub(crate) use stream::Enqueue;
use stream::Watch;

/// Nothing is deleted on older watch data; bookmarks arrive about once a minute.
const FRESH: Duration = Duration::from_secs(150);
/// A large namespace is listed within seconds; what takes longer lacks a permission.
pub(crate) const SYNC_PATIENCE: Duration = Duration::from_secs(30);

/// Everything that is watched.
pub(crate) struct Caches {
    scopes: Vec<Scope>,
    /// By name.
    nodes: Arc<Cache<Node, String>>,
    liveness: Arc<WatchLiveness>,
}

/// The caches of one namespace, or of all.
pub(crate) struct Scope {
    /// `None`: all namespaces.
    namespace: Option<String>,
    /// Where the watches of this scope are, for their liveness.
    paths: Vec<String>,
    pub(crate) clusters: Arc<Cache<DeserializeGuard<WebSocketCluster>>>,
    pub(crate) pods: Arc<Cache<SeenPod>>,
    pub(crate) revisions: Arc<Cache<SeenRevision>>,
    children: Vec<Children>,
}

/// The children of one kind.
struct Children {
    kind: ChildKind,
    /// As it is written in manifests.
    name: Cow<'static, str>,
    path: String,
    start: fn(&Starter<'_>, &Arc<Cache<ChildObject>>),
    cache: Arc<Cache<ChildObject>>,
}

impl Children {
    fn of_all_kinds(namespace: Option<&str>) -> Vec<Self> {
        vec![
            Self::new::<ServiceAccount>(ChildKind::ServiceAccount, namespace),
            Self::new::<Role>(ChildKind::Role, namespace),
            Self::new::<RoleBinding>(ChildKind::RoleBinding, namespace),
            Self::new::<NetworkPolicy>(ChildKind::NetworkPolicy, namespace),
            Self::new::<ConfigMap>(ChildKind::ConfigMap, namespace),
            Self::new::<Service>(ChildKind::Service, namespace),
            Self::new::<Deployment>(ChildKind::Deployment, namespace),
        ]
    }

    fn new<K: Kind>(kind: ChildKind, namespace: Option<&str>) -> Self {
        Self {
            kind,
            name: K::kind(&()),
            path: K::url_path(&(), namespace),
            start: |starter, cache| {
                starter.watch(cache, Some(labels::CLUSTER), |object: K| {
                    ChildObject::new(&object)
                });
            },
            cache: Arc::new(Cache::new(ChildObject::cluster)),
        }
    }
}

impl Caches {
    /// Caches of these namespaces, all empty; of all namespaces if the list is empty.
    pub(crate) fn new(namespaces: &[String], liveness: Arc<WatchLiveness>) -> Self {
        let scopes = if namespaces.is_empty() {
            vec![Scope::new(None)]
        } else {
            namespaces
                .iter()
                .map(|name| Scope::new(Some(name.clone())))
                .collect()
        };
        Self {
            scopes,
            nodes: Arc::new(Cache::new(node_name).ignoring(|a, b| a == b)),
            liveness,
        }
    }

    /// Starts the watches. They run until the process ends.
    pub(crate) fn start(&self, client: &Client, metrics: &Arc<Metrics>, enqueue: &Enqueue) {
        for scope in &self.scopes {
            scope.start(client, metrics, &self.liveness, enqueue);
        }
        self.node_watch(client, metrics, enqueue).spawn(&self.liveness);
    }

    /// A changed node enqueues the clusters with pods on it.
    fn node_watch(
        &self,
        client: &Client,
        metrics: &Arc<Metrics>,
        enqueue: &Enqueue,
    ) -> Watch<Node, Node, String> {
        let pods: Vec<_> = self.scopes.iter().map(|scope| scope.pods.clone()).collect();
        let enqueue = enqueue.clone();
        Watch {
            api: kube::Api::all(client.clone()),
            path: Node::url_path(&(), None),
            labels: None,
            required: false,
            cache: self.nodes.clone(),
            keep: prune::node,
            enqueue: Arc::new(move |nodes: &[String]| {
                let clusters = nodes
                    .iter()
                    .flat_map(|node| pods.iter().flat_map(move |pods| pods.groups_at(node)));
                let clusters: BTreeSet<_> = clusters.collect();
                if !clusters.is_empty() {
                    enqueue(&clusters.into_iter().collect::<Vec<_>>());
                }
            }),
            metrics: metrics.clone(),
        }
    }

    /// Logs the namespaces that cannot be listed. Without the permission to see a resource, no
    /// condition of it can tell.
    pub(crate) async fn report_unlisted(&self) {
        join_all(self.scopes.iter().map(Scope::report_unlisted)).await;
    }

    /// The caches that a namespace is seen through.
    pub(crate) fn scope(&self, namespace: &str) -> Option<&Scope> {
        self.scopes.iter().find(|scope| {
            scope
                .namespace
                .as_deref()
                .is_none_or(|watched| watched == namespace)
        })
    }

    /// A node by name. Without the permission to see nodes, or before they were listed, none is
    /// known.
    pub(crate) fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.nodes.first(&name.to_owned())
    }

    /// All nodes; empty without the permission to see them.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.all()
    }

    /// The resource as it was last seen.
    pub(crate) fn cluster(&self, key: &ClusterKey) -> Option<Arc<DeserializeGuard<WebSocketCluster>>> {
        self.scope(&key.namespace)?.clusters.first(key)
    }

    pub(crate) fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// No watch of this namespace has been without progress for more than [`FRESH`].
    pub(crate) fn fresh(&self, namespace: &str) -> bool {
        self.scope(namespace)
            .is_some_and(|scope| self.liveness.age(&scope.paths, Instant::now()) <= FRESH)
    }

    pub(crate) fn liveness(&self) -> &WatchLiveness {
        &self.liveness
    }
}

/// Looks up nodes, each once.
pub(crate) struct Nodes<'a> {
    caches: &'a Caches,
    known: HashMap<&'a str, Option<Arc<Node>>>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(caches: &'a Caches) -> Self {
        Self {
            caches,
            known: HashMap::new(),
        }
    }

    /// The node that the pod runs on.
    pub(crate) fn of(&mut self, pod: &'a SeenPod) -> Option<&Node> {
        let name = pod.node.as_deref()?;
        let node = self.known.entry(name).or_insert_with(|| self.caches.node(name));
        node.as_deref()
    }
}

fn node_name(node: &Node) -> Option<String> {
    node.metadata.name.clone()
}

impl Scope {
    fn new(namespace: Option<String>) -> Self {
        let children = Children::of_all_kinds(namespace.as_deref());
        let own = [
            WebSocketCluster::url_path(&(), namespace.as_deref()),
            Pod::url_path(&(), namespace.as_deref()),
            ControllerRevision::url_path(&(), namespace.as_deref()),
        ];
        let paths = own
            .into_iter()
            .chain(children.iter().map(|kind| kind.path.clone()));
        Self {
            paths: paths.collect(),
            namespace,
            clusters: Arc::new(Cache::new(cache::key_from_cluster)),
            pods: Arc::new(Cache::new(SeenPod::cluster).indexed(SeenPod::place)),
            revisions: Arc::new(Cache::new(SeenRevision::cluster)),
            children,
        }
    }

    fn start(
        &self,
        client: &Client,
        metrics: &Arc<Metrics>,
        liveness: &Arc<WatchLiveness>,
        enqueue: &Enqueue,
    ) {
        let start = Starter {
            client,
            metrics,
            liveness,
            enqueue,
            namespace: self.namespace.as_deref(),
        };
        start.watch(&self.clusters, None, |cluster| cluster);
        start.watch(&self.pods, Some(labels::CLUSTER), |pod: Pod| SeenPod::new(&pod));
        start.watch(&self.revisions, Some(labels::CLUSTER), SeenRevision::new);
        for kind in &self.children {
            (kind.start)(&start, &kind.cache);
        }
    }

    /// The children of a resource that are of this kind, by name.
    pub(crate) fn children(&self, kind: ChildKind, key: &ClusterKey) -> Group<ChildObject> {
        let children = self.children.iter().find(|children| children.kind == kind);
        children
            .map(|children| children.cache.of(key))
            .unwrap_or_default()
    }

    /// Kinds that were not listed yet.
    pub(crate) fn missing(&self) -> Vec<String> {
        let own = [
            (self.clusters.synced(), WebSocketCluster::kind(&())),
            (self.pods.synced(), Pod::kind(&())),
            (self.revisions.synced(), ControllerRevision::kind(&())),
        ];
        let children = self.children.iter();
        let kinds = own
            .into_iter()
            .chain(children.map(|kind| (kind.cache.synced(), kind.name.clone())));
        let missing = kinds.filter(|(is_synced, _)| !is_synced);
        missing.map(|(_, name)| name.into_owned()).collect()
    }

    /// The namespace, or `*` for all.
    pub(crate) fn name(&self) -> &str {
        self.namespace.as_deref().unwrap_or("*")
    }

    async fn report_unlisted(&self) {
        if timeout(SYNC_PATIENCE, self.until_synced()).await.is_ok() {
            return;
        }
        tracing::warn!(
            namespace = self.name(),
            kinds = self.missing().join(", "),
            "namespace cannot be listed, its resources are not reconciled; install the chart's Role and RoleBinding in it, or remove it from watchNamespaces"
        );
        self.until_synced().await;
        tracing::info!(namespace = self.name(), "namespace was listed");
    }

    /// Returns once every cache of the scope has been filled.
    pub(crate) async fn until_synced(&self) {
        self.clusters.until_synced().await;
        self.pods.until_synced().await;
        self.revisions.until_synced().await;
        for kind in &self.children {
            kind.cache.until_synced().await;
        }
    }
}

/// What the watches of one scope have in common.
struct Starter<'a> {
    client: &'a Client,
    metrics: &'a Arc<Metrics>,
    liveness: &'a Arc<WatchLiveness>,
    enqueue: &'a Enqueue,
    namespace: Option<&'a str>,
}

impl Starter<'_> {
    fn watch<K: stream::Watched, S: Cached + Send + Sync + 'static>(
        &self,
        cache: &Arc<Cache<S>>,
        labels: Option<&'static str>,
        keep: fn(K) -> S,
    ) {
        let api = match self.namespace {
            Some(namespace) => kube::Api::namespaced(self.client.clone(), namespace),
            None => kube::Api::all(self.client.clone()),
        };
        Watch {
            api,
            path: K::url_path(&(), self.namespace),
            labels,
            required: true,
            cache: cache.clone(),
            keep,
            enqueue: self.enqueue.clone(),
            metrics: self.metrics.clone(),
        }
        .spawn(self.liveness);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use k8s_openapi::jiff::Timestamp;
    use kube::client::Body;
    use kube::runtime::watcher::Event;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    fn pod(cluster: &str, node: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": format!("{cluster}-0"), "labels": {"websocket-operator.io/cluster": cluster}},
            "spec": {"nodeName": node, "containers": []},
        }))
        .unwrap()
    }

    fn node(name: &str, ready: &str, heartbeat: Timestamp) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "resourceVersion": heartbeat.to_string()},
            "status": {"conditions": [
                {"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat},
                {"type": "MemoryPressure", "status": "False", "lastHeartbeatTime": heartbeat},
            ]},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn heartbeats_enqueue_no_cluster() {
        let service =
            tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let client = Client::new(service, "ns");
        let caches = Caches::new(&[], Arc::default());
        for (cluster, on) in [("chat", "n1"), ("game", "n2")] {
            caches.scopes[0]
                .pods
                .take(Event::Apply(SeenPod::new(&pod(cluster, on))));
        }
        let enqueued: Arc<Mutex<Vec<Vec<ClusterKey>>>> = Arc::default();
        let enqueue: Enqueue = {
            let enqueued = enqueued.clone();
            Arc::new(move |keys| enqueued.lock().push(keys.to_vec()))
        };
        let watch = caches.node_watch(&client, &Arc::default(), &enqueue);
        let chat = ClusterKey::new("ns".to_owned().into(), "chat");
        watch.accept(Event::Apply(node("n1", "True", Timestamp::UNIX_EPOCH)));
        assert_eq!(std::mem::take(&mut *enqueued.lock()), [vec![chat.clone()]]);

        watch.accept(Event::Apply(node("n1", "True", Timestamp::MAX)));
        for event in [
            Event::Init,
            Event::InitApply(node("n1", "True", Timestamp::MIN)),
            Event::InitDone,
        ] {
            watch.accept(event);
        }
        assert!(
            enqueued.lock().is_empty(),
            "a heartbeat or an equal list enqueued: {enqueued:?}"
        );

        watch.accept(Event::Apply(node("n3", "True", Timestamp::MAX)));
        assert!(
            enqueued.lock().is_empty(),
            "a node without pods enqueued: {enqueued:?}"
        );
        watch.accept(Event::Apply(node("n1", "False", Timestamp::MAX)));
        watch.accept(Event::Delete(node("n1", "False", Timestamp::MAX)));
        assert_eq!(*enqueued.lock(), [vec![chat.clone()], vec![chat]]);
    }
}
