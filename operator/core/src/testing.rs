//! What the tests of this crate start from.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::names;

use crate::common::CommonMetadata;
use crate::observed::{Listener, PodPhase, PodState, PodView, Sample};
use crate::plan::Child;
use crate::sampling::Interval;
use crate::validate::{Images, ValidCluster, validate};

/// Noon, where a test has no reason for another time.
pub(crate) fn start() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

pub(crate) fn images() -> Images {
    Images {
        server: "registry.example.org/wsc-server:1".to_owned(),
        proxy: "registry.example.org/wsc-proxy:1".to_owned(),
        redis: "registry.example.org/wsc-redis:1".to_owned(),
        operator_namespace: "operators".to_owned(),
    }
}

/// The resource `chat` in the namespace `ns` with this spec, as YAML.
pub(crate) fn resource(spec: &str) -> WebSocketCluster {
    let mut resource = WebSocketCluster::new("chat", serde_yaml::from_str(spec).unwrap());
    resource.metadata.namespace = Some("ns".to_owned());
    resource.metadata.uid = Some("5f1c1a5e-8a3b-4a86-9d1c-3f2f3f1f2a10".to_owned());
    resource.metadata.generation = Some(1);
    resource
}

pub(crate) fn cluster(spec: &str) -> ValidCluster {
    validate(&resource(spec), &images()).unwrap()
}

/// The child as the API server returns it; the pods of a Deployment are all of its template.
pub(crate) fn live(child: &Child) -> Value {
    let mut object = child.to_json();
    if matches!(child, Child::Deployment(_)) {
        let replicas = object["spec"]["replicas"].clone();
        object["metadata"]["generation"] = 1.into();
        object["status"] =
            json!({"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas});
    }
    object
}

/// A pod that has served for long.
pub(crate) fn pod(serial: i64) -> PodView {
    let host = u8::try_from(serial % 250).unwrap();
    PodView {
        name: names::server_pod("chat", serial),
        uid: format!("uid-{serial}"),
        resource_version: "100".to_owned(),
        serial,
        template_hash: String::new(),
        state: PodState::Active,
        drain: None,
        common: CommonMetadata::default(),
        protected: false,
        phase: PodPhase::Running,
        ready: true,
        ready_since: Some(after(-3590)),
        created: after(-3600),
        terminating: false,
        ip: Some([10, 0, 0, host].into()),
        listener: Listener {
            port: Some(8080),
            path: Some("/ws".to_owned()),
        },
        node: None,
        node_ready: true,
        zone: None,
        scheduled: true,
        waiting_reason: None,
        restarts: 0,
        image: None,
        last_exit: None,
    }
}

/// What its server says now.
pub(crate) fn sample(pod: &PodView, connections: i64) -> Sample {
    Sample {
        at: start(),
        interval: Interval::Active,
        pod_uid: pod.uid.clone(),
        boot_id: "boot".to_owned(),
        connections,
        capacity: 100,
        admits: true,
        cordoned: false,
        refused_full: 0,
        shed_total: 0,
        shed_target: 0,
        broker_up: true,
        zero_in_a_row: if connections == 0 { 2 } else { 0 },
    }
}
