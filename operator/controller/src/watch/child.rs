//! What is cached of a child: what every reconcile reads, and the object as text.

use std::sync::Arc;

use kube::api::ObjectMeta;
use serde_json::Value;
use wsc_contract::labels;
use wsc_core::live::LiveChild;

use super::cache::{Cached, ObjectId};
use crate::api::Kind;
use crate::identity::{ClusterKey, Namespace, Uid, is_adoptable};

pub(crate) struct ChildObject {
    id: Option<ObjectId>,
    version: Option<String>,
    /// The resource that its label names.
    cluster: Option<ClusterKey>,
    pub(crate) uid: Option<Uid>,
    pub(crate) controller: Option<Uid>,
    pub(crate) is_adoptable: bool,
    pub(crate) terminating: bool,
    pub(crate) applied_hash: Option<String>,
    /// Of a Deployment.
    pub(crate) ready_replicas: i32,
    /// Of a Service with a load balancer.
    pub(crate) address: Option<String>,
    pub(crate) object: Arc<LiveChild>,
}

impl ChildObject {
    pub(super) fn new<K: Kind>(object: &K) -> Self {
        let json = serde_json::to_value(object).unwrap_or_default();
        let meta = object.meta();
        Self {
            id: object.id(),
            version: meta.resource_version.clone(),
            cluster: cluster(meta),
            uid: Uid::of(meta),
            controller: Uid::of_controller(meta),
            is_adoptable: is_adoptable(meta),
            terminating: meta.deletion_timestamp.is_some(),
            applied_hash: annotation(meta, labels::APPLIED_HASH),
            ready_replicas: ready_replicas(&json),
            address: address(&json),
            object: Arc::new(LiveChild::new(&json)),
        }
    }

    pub(super) fn cluster(&self) -> Option<ClusterKey> {
        self.cluster.clone()
    }
}

impl Cached for ChildObject {
    fn id(&self) -> Option<ObjectId> {
        self.id.clone()
    }

    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

fn cluster(meta: &ObjectMeta) -> Option<ClusterKey> {
    let cluster = meta.labels.as_ref()?.get(labels::CLUSTER)?;
    Some(ClusterKey::new(Namespace::of(meta)?, cluster.clone()))
}

fn annotation(meta: &ObjectMeta, key: &str) -> Option<String> {
    meta.annotations.as_ref()?.get(key).cloned()
}

fn ready_replicas(object: &Value) -> i32 {
    let ready = object.pointer("/status/readyReplicas").and_then(Value::as_i64);
    ready.and_then(|ready| i32::try_from(ready).ok()).unwrap_or(0)
}

fn address(object: &Value) -> Option<String> {
    let ingress = object.pointer("/status/loadBalancer/ingress/0")?;
    let address = ["hostname", "ip"]
        .iter()
        .find_map(|field| ingress[field].as_str());
    address.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_every_reconcile_are_read_once() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {
                "name": "chat-proxy", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "labels": {"websocket-operator.io/cluster": "chat"},
                "annotations": {"websocket-operator.io/applied-hash": "abc"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "chat", "uid": "owner", "controller": true}],
            },
            "status": {"readyReplicas": 2},
        }))
        .unwrap();
        let child = ChildObject::new(&deployment);
        assert_eq!(
            child.cluster(),
            Some(ClusterKey::new("ns".to_owned().into(), "chat"))
        );
        assert_eq!(
            (child.uid.as_deref(), child.controller.as_deref()),
            (Some("u"), Some("owner"))
        );
        assert_eq!(
            (child.version(), child.applied_hash.as_deref()),
            (Some("7"), Some("abc"))
        );
        assert_eq!(child.ready_replicas, 2);
        assert!(!child.terminating && !child.is_adoptable);
    }

    #[test]
    fn hostname_of_load_balancer_comes_first() {
        let of = |ingress: Value| {
            let service =
                json!({"metadata": {"name": "chat"}, "status": {"loadBalancer": {"ingress": ingress}}});
            ChildObject::new(&serde_json::from_value::<Service>(service).unwrap()).address
        };
        assert_eq!(of(json!([])), None);
        assert_eq!(of(json!([{"ip": "10.0.0.1"}])).as_deref(), Some("10.0.0.1"));
        assert_eq!(
            of(json!([{"ip": "10.0.0.1", "hostname": "lb"}])).as_deref(),
            Some("lb")
        );
    }
}
