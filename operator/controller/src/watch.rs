//! What the API server holds, mirrored by watches: one mirror per kind and namespace scope, shared by all clusters.

pub(crate) mod liveness;
mod mirror;
mod prune;
mod stream;

use std::collections::BTreeSet;
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

use crate::identity::ClusterKey;
use crate::observe::pods;
use crate::report::metrics::Metrics;
use liveness::WatchLiveness;
pub(crate) use mirror::Mirror;
pub(crate) use stream::Touch;
use stream::Watch;

/// Nothing is deleted on older watch data; bookmarks arrive about once a minute.
const FRESH: Duration = Duration::from_secs(150);
/// A large namespace is listed within seconds; what takes longer lacks a permission.
pub(crate) const SYNC_PATIENCE: Duration = Duration::from_secs(30);

/// Everything that is watched.
pub(crate) struct World {
    scopes: Vec<Scope>,
    /// By name.
    nodes: Arc<Mirror<Node, String>>,
    liveness: Arc<WatchLiveness>,
}

/// The mirrors of one namespace, or of all.
pub(crate) struct Scope {
    /// `None`: all namespaces.
    namespace: Option<String>,
    /// Where the watches of this scope are, for their liveness.
    paths: Vec<String>,
    pub(crate) clusters: Arc<Mirror<DeserializeGuard<WebSocketCluster>>>,
    pub(crate) pods: Arc<Mirror<Pod>>,
    pub(crate) deployments: Arc<Mirror<Deployment>>,
    pub(crate) services: Arc<Mirror<Service>>,
    pub(crate) config_maps: Arc<Mirror<ConfigMap>>,
    pub(crate) network_policies: Arc<Mirror<NetworkPolicy>>,
    pub(crate) service_accounts: Arc<Mirror<ServiceAccount>>,
    pub(crate) roles: Arc<Mirror<Role>>,
    pub(crate) role_bindings: Arc<Mirror<RoleBinding>>,
    pub(crate) revisions: Arc<Mirror<ControllerRevision>>,
}

impl World {
    /// Mirrors of these namespaces, all empty; of all namespaces if the list is empty.
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
            nodes: Arc::new(Mirror::new(node_name).ignoring(|a, b| a == b)),
            liveness,
        }
    }

    /// Starts the watches. They run until the process ends.
    pub(crate) fn start(&self, client: &Client, metrics: &Arc<Metrics>, touch: &Touch) {
        for scope in &self.scopes {
            scope.start(client, metrics, &self.liveness, touch);
        }
        self.node_watch(client, metrics, touch).spawn(&self.liveness);
    }

    /// A changed node touches the clusters with pods on it.
    fn node_watch(&self, client: &Client, metrics: &Arc<Metrics>, touch: &Touch) -> Watch<Node, String> {
        let pods: Vec<_> = self.scopes.iter().map(|scope| scope.pods.clone()).collect();
        let touch = touch.clone();
        Watch {
            api: kube::Api::all(client.clone()),
            path: Node::url_path(&(), None),
            labels: None,
            required: false,
            mirror: self.nodes.clone(),
            prune: prune::node,
            touch: Arc::new(move |nodes: &[String]| {
                let clusters = nodes
                    .iter()
                    .flat_map(|node| pods.iter().flat_map(move |pods| pods.groups_at(node)));
                let clusters: BTreeSet<_> = clusters.collect();
                if !clusters.is_empty() {
                    touch(&clusters.into_iter().collect::<Vec<_>>());
                }
            }),
            metrics: metrics.clone(),
        }
    }

    /// Logs the namespaces that cannot be listed. Without the permission to see a resource, no condition of it can tell.
    pub(crate) async fn report_unlisted(&self) {
        join_all(self.scopes.iter().map(Scope::report_unlisted)).await;
    }

    /// The mirrors that a namespace is seen through.
    pub(crate) fn scope(&self, namespace: &str) -> Option<&Scope> {
        self.scopes.iter().find(|scope| {
            scope
                .namespace
                .as_deref()
                .is_none_or(|watched| watched == namespace)
        })
    }

    /// A node by name. Without the permission to see nodes, or before they were listed, none is known.
    pub(crate) fn node(&self, name: &str) -> Option<Arc<Node>> {
        let nodes = self.nodes.of(&name.to_owned());
        nodes.into_values().next()
    }

    /// The resource as it was last seen.
    pub(crate) fn cluster(&self, key: &ClusterKey) -> Option<Arc<DeserializeGuard<WebSocketCluster>>> {
        let scope = self.scope(&key.namespace)?;
        scope
            .clusters
            .of(key)
            .into_iter()
            .next()
            .map(|(_, object)| object)
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

fn node_name(node: &Node) -> Option<String> {
    node.metadata.name.clone()
}

impl Scope {
    fn new(namespace: Option<String>) -> Self {
        Self {
            namespace,
            paths: Vec::new(),
            clusters: Arc::new(Mirror::new(mirror::key_from_cluster)),
            pods: Arc::new(Mirror::new(mirror::by_label).indexed(pods::node_name)),
            deployments: Arc::new(Mirror::new(mirror::by_label)),
            services: Arc::new(Mirror::new(mirror::by_label)),
            config_maps: Arc::new(Mirror::new(mirror::by_label)),
            network_policies: Arc::new(Mirror::new(mirror::by_label)),
            service_accounts: Arc::new(Mirror::new(mirror::by_label)),
            roles: Arc::new(Mirror::new(mirror::by_label)),
            role_bindings: Arc::new(Mirror::new(mirror::by_label)),
            revisions: Arc::new(Mirror::new(mirror::by_label)),
        }
        .with_paths()
    }

    fn with_paths(mut self) -> Self {
        let namespace = self.namespace.as_deref();
        self.paths = vec![
            WebSocketCluster::url_path(&(), namespace),
            Pod::url_path(&(), namespace),
            Deployment::url_path(&(), namespace),
            Service::url_path(&(), namespace),
            ConfigMap::url_path(&(), namespace),
            NetworkPolicy::url_path(&(), namespace),
            ServiceAccount::url_path(&(), namespace),
            Role::url_path(&(), namespace),
            RoleBinding::url_path(&(), namespace),
            ControllerRevision::url_path(&(), namespace),
        ];
        self
    }

    fn start(&self, client: &Client, metrics: &Arc<Metrics>, liveness: &Arc<WatchLiveness>, touch: &Touch) {
        let start = Starter {
            client,
            metrics,
            liveness,
            touch,
            namespace: self.namespace.as_deref(),
        };
        start.watch(&self.clusters, None, |_| {});
        start.children(&self.pods, prune::pod);
        start.children(&self.deployments, |_| {});
        start.children(&self.services, |_| {});
        start.children(&self.config_maps, |_| {});
        start.children(&self.network_policies, |_| {});
        start.children(&self.service_accounts, |_| {});
        start.children(&self.roles, |_| {});
        start.children(&self.role_bindings, |_| {});
        start.children(&self.revisions, |_| {});
    }

    /// Kinds that were not listed yet.
    pub(crate) fn missing(&self) -> Vec<String> {
        fn missing<K: Resource<DynamicType = ()>>(mirror: &Mirror<K>) -> Option<String> {
            (!mirror.synced()).then(|| K::kind(&()).into_owned())
        }
        let clusters = (!self.clusters.synced()).then(|| WebSocketCluster::kind(&()).into_owned());
        let kinds = [
            clusters,
            missing(&self.pods),
            missing(&self.deployments),
            missing(&self.services),
            missing(&self.config_maps),
            missing(&self.network_policies),
            missing(&self.service_accounts),
            missing(&self.roles),
            missing(&self.role_bindings),
            missing(&self.revisions),
        ];
        kinds.into_iter().flatten().collect()
    }

    /// The namespace, or `all namespaces`.
    pub(crate) fn name(&self) -> &str {
        self.namespace.as_deref().unwrap_or("all namespaces")
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

    /// Returns once every mirror of the scope has been filled.
    pub(crate) async fn until_synced(&self) {
        self.clusters.until_synced().await;
        self.pods.until_synced().await;
        self.deployments.until_synced().await;
        self.services.until_synced().await;
        self.config_maps.until_synced().await;
        self.network_policies.until_synced().await;
        self.service_accounts.until_synced().await;
        self.roles.until_synced().await;
        self.role_bindings.until_synced().await;
        self.revisions.until_synced().await;
    }
}

/// What the watches of one scope have in common.
struct Starter<'a> {
    client: &'a Client,
    metrics: &'a Arc<Metrics>,
    liveness: &'a Arc<WatchLiveness>,
    touch: &'a Touch,
    namespace: Option<&'a str>,
}

impl Starter<'_> {
    fn children<K: stream::Watched>(&self, mirror: &Arc<Mirror<K>>, prune: fn(&mut K)) {
        self.watch(mirror, Some(wsc_contract::labels::CLUSTER), prune);
    }

    fn watch<K: stream::Watched>(
        &self,
        mirror: &Arc<Mirror<K>>,
        labels: Option<&'static str>,
        prune: fn(&mut K),
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
            mirror: mirror.clone(),
            prune,
            touch: self.touch.clone(),
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
    async fn heartbeats_touch_no_cluster() {
        let service =
            tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let client = Client::new(service, "ns");
        let world = World::new(&[], Arc::default());
        for (cluster, on) in [("chat", "n1"), ("game", "n2")] {
            world.scopes[0].pods.take(Event::Apply(pod(cluster, on)));
        }
        let touches: Arc<Mutex<Vec<Vec<ClusterKey>>>> = Arc::default();
        let touch: Touch = {
            let touches = touches.clone();
            Arc::new(move |keys| touches.lock().push(keys.to_vec()))
        };
        let watch = world.node_watch(&client, &Arc::default(), &touch);
        let chat = ClusterKey::new("ns".to_owned().into(), "chat");
        watch.accept(Event::Apply(node("n1", "True", Timestamp::UNIX_EPOCH)));
        assert_eq!(std::mem::take(&mut *touches.lock()), [vec![chat.clone()]]);

        watch.accept(Event::Apply(node("n1", "True", Timestamp::MAX)));
        for event in [
            Event::Init,
            Event::InitApply(node("n1", "True", Timestamp::MIN)),
            Event::InitDone,
        ] {
            watch.accept(event);
        }
        assert!(
            touches.lock().is_empty(),
            "a heartbeat or an equal list touches: {touches:?}"
        );

        watch.accept(Event::Apply(node("n3", "True", Timestamp::MAX)));
        assert!(
            touches.lock().is_empty(),
            "a node without pods touches: {touches:?}"
        );
        watch.accept(Event::Apply(node("n1", "False", Timestamp::MAX)));
        watch.accept(Event::Delete(node("n1", "False", Timestamp::MAX)));
        assert_eq!(*touches.lock(), [vec![chat.clone()], vec![chat]]);
    }
}
