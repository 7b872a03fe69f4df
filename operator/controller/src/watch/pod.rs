//! What is cached of a pod: the facts that reconciles and samples need, read once per change. The
//! whole object takes ten times the memory.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Resource;
use parking_lot::Mutex;
use wsc_contract::labels::Component;
use wsc_core::observed::SharedPod;

use super::cache::{self, Cached, ObjectId};
use crate::identity::{ClusterKey, PodName, Uid};
use crate::observe::pods;

#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each with its own meaning"
)]
pub(crate) struct SeenPod {
    id: Option<ObjectId>,
    version: Option<String>,
    /// The resource that its label names.
    cluster: Option<ClusterKey>,
    /// None for a pod that has the labels only.
    pub(crate) component: Option<Component>,
    pub(crate) uid: Option<Uid>,
    pub(crate) controller: Option<Uid>,
    /// Where it runs.
    pub(crate) node: Option<String>,
    is_node_lost: bool,
    pub(crate) running: bool,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    pub(crate) ip: Option<IpAddr>,
    /// Of a server pod, with its node as it was last seen.
    view: Option<Mutex<SharedPod>>,
}

impl SeenPod {
    pub(crate) fn new(pod: &Pod) -> Self {
        let meta = pod.meta();
        let cluster = cache::by_label(pod);
        let component = cluster
            .as_ref()
            .and_then(|cluster| pods::component(&cluster.name, pod));
        let view = cluster
            .as_ref()
            .filter(|_| component == Some(Component::Server))
            .and_then(|cluster| pods::view(&cluster.name, pod));
        Self {
            id: pod.id(),
            version: meta.resource_version.clone(),
            cluster,
            component,
            uid: Uid::of(meta),
            controller: Uid::of_controller(meta),
            node: pods::node_name(pod).map(str::to_owned),
            is_node_lost: pods::is_node_lost(pod),
            running: pods::is_running(pod),
            ready: pods::ready_since(pod).is_some(),
            terminating: meta.deletion_timestamp.is_some(),
            ip: pods::ip(pod),
            view: view.map(|view| Mutex::new(view.into())),
        }
    }

    pub(super) fn cluster(&self) -> Option<ClusterKey> {
        self.cluster.clone()
    }

    pub(super) fn place(&self) -> Option<&str> {
        self.node.as_deref()
    }

    pub(crate) fn name(&self) -> Option<PodName> {
        PodName::parse(self.id.as_ref()?.name())
    }

    /// A node that is not known is ready: the permission to see nodes may be missing, or the watch
    /// of pods may be ahead.
    pub(crate) fn node_ready(&self, node: Option<&Node>) -> bool {
        !self.is_node_lost && node.is_none_or(pods::is_node_ready)
    }

    /// The view of a server pod; `None` for a pod of another component, or whose name has no
    /// serial.
    pub(crate) fn view(&self, node: Option<&Node>) -> Option<SharedPod> {
        let mut view = self.view.as_ref()?.lock();
        let (ready, zone) = (self.node_ready(node), node.and_then(pods::zone));
        if view.node_ready != ready || view.zone.as_deref() != zone {
            view.node_ready = ready;
            view.zone = zone.map(str::to_owned);
        }
        Some(view.clone())
    }
}

impl Cached for SeenPod {
    fn id(&self) -> Option<ObjectId> {
        self.id.clone()
    }

    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "chat-1", "namespace": "ns", "uid": "u", "resourceVersion": "5",
                "labels": {"websocket-operator.io/cluster": "chat", "websocket-operator.io/component": "server"},
                "ownerReferences": [{
                    "apiVersion": "websocket-operator.io/v1alpha1", "kind": "WebSocketCluster", "name": "chat", "uid": "c",
                    "controller": true,
                }],
            },
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Running", "podIP": "10.0.0.9"},
        }))
        .unwrap()
    }

    fn node(ready: &str, zone: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": zone}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn view_follows_the_node() {
        let seen = SeenPod::new(&pod());
        let of = |node: Option<&Node>| {
            let view = seen.view(node).unwrap();
            (view.node_ready, view.zone.clone())
        };
        let before = seen.view(Some(&node("True", "a"))).unwrap();
        assert_eq!(of(None), (true, None));
        assert_eq!(of(Some(&node("False", "b"))), (false, Some("b".to_owned())));
        assert_eq!(of(Some(&node("True", "b"))), (true, Some("b".to_owned())));
        assert_eq!(
            (before.node_ready, before.zone.as_deref()),
            (true, Some("a")),
            "an earlier reconcile keeps its view"
        );
    }

    #[test]
    fn facts_of_a_target_are_read() {
        let seen = SeenPod::new(&pod());
        assert_eq!(seen.name().as_deref(), Some("chat-1"));
        assert_eq!((seen.uid.as_deref(), seen.place()), (Some("u"), Some("n1")));
        assert_eq!(seen.ip, Some([10, 0, 0, 9].into()));
        assert!(seen.running && !seen.ready && !seen.terminating);
        let mut lost = pod();
        lost.status.as_mut().unwrap().reason = Some("NodeLost".to_owned());
        assert!(!SeenPod::new(&lost).node_ready(Some(&node("True", "a"))));
    }

    #[test]
    fn only_server_pods_have_a_view() {
        let of = |labels: Value| {
            let mut pod = pod();
            pod.metadata.labels = serde_json::from_value(labels).unwrap();
            SeenPod::new(&pod).view(None)
        };
        let cluster = "websocket-operator.io/cluster";
        let component = "websocket-operator.io/component";
        assert!(of(json!({cluster: "chat", component: "server"})).is_some());
        assert!(
            of(json!({cluster: "cha", component: "server"})).is_none(),
            "no serial of that cluster"
        );
        assert!(of(json!({cluster: "chat", component: "proxy"})).is_none());
        assert!(of(json!({component: "server"})).is_none());
    }
}
