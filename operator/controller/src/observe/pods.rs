//! From pods to the facts that decisions need.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::labels::{self, Component};
use wsc_contract::names;
use wsc_core::common::CommonMetadata;
use wsc_core::observed::{Drain, DrainReason, PodPhase, PodState, PodView};
use wsc_core::resources;

use crate::identity::{Uid, controller};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Which of the three kinds of pods of the cluster it is. Labels alone do not make it one: whoever
/// may create pods can copy them. A server pod may be controlled by an earlier resource of the same
/// name.
pub(crate) fn component(cluster: &str, pod: &Pod) -> Option<Component> {
    let label = pod.metadata.labels.as_ref()?.get(labels::COMPONENT)?;
    let component = [Component::Server, Component::Proxy, Component::Redis]
        .into_iter()
        .find(|component| component.as_str() == label)?;
    let owner = controller(&pod.metadata)?;
    let of_deployment = |deployment: &str| {
        let suffix = owner.name.strip_prefix(deployment);
        owner.kind == "ReplicaSet" && suffix.is_some_and(|suffix| suffix.starts_with('-'))
    };
    let is_owned = match component {
        Component::Server => owner.kind == WebSocketCluster::kind(&()) && owner.name == cluster,
        Component::Proxy => of_deployment(&names::proxy(cluster)),
        Component::Redis => of_deployment(&names::redis(cluster)),
    };
    is_owned.then_some(component)
}

/// The node that it runs on.
pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Since when it has been ready, if it is.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    let since = ready.last_transition_time.as_ref().map(|time| time.0);
    since.or_else(|| created(&pod.metadata))
}

/// The view of a server pod of this cluster, on a node that is ready and in no zone; `None` for a
/// pod whose name has no serial.
pub(crate) fn view(cluster: &str, pod: &Pod) -> Option<PodView> {
    let meta = &pod.metadata;
    let name = meta.name.clone()?;
    Some(PodView {
        serial: names::serial_of(cluster, &name)?,
        name,
        uid: Uid::of(meta)?.into_string(),
        resource_version: meta.resource_version.clone()?,
        template_hash: text(meta.labels.as_ref(), labels::TEMPLATE_HASH).unwrap_or_default(),
        state: state(meta),
        drain: drain(meta),
        common: CommonMetadata::of(meta),
        protected: text(meta.annotations.as_ref(), labels::PROTECT).is_some(),
        phase: phase(pod),
        ready: ready_since(pod).is_some(),
        ready_since: ready_since(pod),
        created: created(meta).unwrap_or_default(),
        terminating: meta.deletion_timestamp.is_some(),
        ip: ip(pod),
        listener: resources::listener(pod),
        image: resources::image(pod).map(str::to_owned),
        node: node_name(pod).map(str::to_owned),
        node_ready: !is_node_lost(pod),
        zone: None,
        scheduled: node_name(pod).is_some(),
        waiting_reason: waiting_reason(pod),
        restarts: server_status(pod).map_or(0, |server| server.restart_count),
        last_exit: server_status(pod).and_then(last_exit),
    })
}

/// A pod without the label starts again: it becomes active once it is ready. A word of another
/// version may mean a drain, so the pod receives no new clients.
fn state(meta: &ObjectMeta) -> PodState {
    let word = text(meta.labels.as_ref(), labels::STATE);
    word.map_or(PodState::Starting, |word| {
        PodState::parse(&word).unwrap_or(PodState::Cordoned)
    })
}

fn drain(meta: &ObjectMeta) -> Option<Drain> {
    let annotation = |key| text(meta.annotations.as_ref(), key);
    Some(Drain {
        reason: DrainReason::parse(&annotation(labels::DRAIN_REASON)?)?,
        since: annotation(labels::DRAIN_SINCE)?.parse().ok()?,
        deadline: annotation(labels::DRAIN_DEADLINE)?.parse().ok()?,
    })
}

fn phase(pod: &Pod) -> PodPhase {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match phase {
        Some("Failed") => PodPhase::Failed,
        Some("Succeeded") => PodPhase::Succeeded,
        // The state of the processes is unknown while the kubelet is silent.
        Some("Running" | "Unknown") => PodPhase::Running,
        _ => PodPhase::Pending,
    }
}

/// The pod is marked so by the node controller.
pub(crate) fn is_node_lost(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    status.is_some_and(|status| status.reason.as_deref() == Some("NodeLost"))
}

pub(crate) fn is_node_ready(node: &Node) -> bool {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.into_iter().flatten();
    !conditions.any(|condition| condition.type_ == "Ready" && condition.status != "True")
}

pub(crate) fn zone(node: &Node) -> Option<&str> {
    let zone = node.metadata.labels.as_ref()?.get(ZONE_LABEL)?;
    Some(zone)
}

pub(crate) fn ip(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()
}

pub(crate) fn is_running(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    status.is_some_and(|status| status.phase.as_deref() == Some("Running"))
}

fn server_status(pod: &Pod) -> Option<&ContainerStatus> {
    let containers = pod.status.as_ref()?.container_statuses.as_deref()?;
    containers
        .iter()
        .find(|container| container.name == resources::CONTAINER)
}

fn last_exit(server: &ContainerStatus) -> Option<String> {
    let state = server.state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = server
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let ended = state.or(last)?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    Some(match reason {
        "Error" => format!("its server exited with code {}", ended.exit_code),
        reason => format!("its server ended: {reason}"),
    })
}

/// Why it does not run: why a container waits, or that no node takes it.
fn waiting_reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let containers = init.chain(status.container_statuses.iter().flatten());
    let reasons = containers
        .filter_map(|container: &ContainerStatus| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    // These two mean that it is about to start.
    let mut reasons = reasons.filter(|reason| reason != "ContainerCreating" && reason != "PodInitializing");
    reasons.next().or_else(|| {
        let scheduled = condition(pod, "PodScheduled").filter(|condition| condition.status == "False")?;
        scheduled.reason.clone()
    })
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == type_)
}

fn created(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.creation_timestamp.as_ref().map(|time| time.0)
}

fn text(map: Option<&BTreeMap<String, String>>, key: &str) -> Option<String> {
    map?.get(key).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wsc_core::observed::Listener;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "chat-17", "namespace": "ns", "uid": "u", "resourceVersion": "5", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {
                    "websocket-operator.io/cluster": "chat", "websocket-operator.io/component": "server",
                    "websocket-operator.io/state": "Cordoned", "websocket-operator.io/template-hash": "abc",
                },
                "annotations": {
                    "websocket-operator.io/drain-reason": "ScaleDown",
                    "websocket-operator.io/drain-since": "2026-01-01T01:00:00Z",
                    "websocket-operator.io/drain-deadline": "2026-01-01T01:30:00Z",
                },
            },
            "spec": {"nodeName": "n1", "containers": [{
                "name": "server", "ports": [{"name": "ws", "containerPort": 8081}], "env": [{"name": "WSC_PATH", "value": "/chat"}],
            }]},
            "status": {
                "phase": "Running", "podIP": "10.0.0.9",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}],
            },
        }))
        .unwrap()
    }

    fn node(ready: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn labels_alone_make_no_cluster_pod() {
        let of = |label: &str, owner: Option<(&str, &str)>| {
            let mut pod = pod();
            let labels = pod.metadata.labels.as_mut().unwrap();
            labels.insert(labels::COMPONENT.to_owned(), label.to_owned());
            pod.metadata.owner_references = owner.map(|(kind, name)| {
                let owner =
                    json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "o", "controller": true}]);
                serde_json::from_value(owner).unwrap()
            });
            component("chat", &pod)
        };
        assert_eq!(
            of("server", Some(("WebSocketCluster", "chat"))),
            Some(Component::Server)
        );
        assert_eq!(
            of("proxy", Some(("ReplicaSet", "chat-proxy-7d9"))),
            Some(Component::Proxy)
        );
        assert_eq!(
            of("redis", Some(("ReplicaSet", "chat-redis-5f4"))),
            Some(Component::Redis)
        );
        for (label, owner) in [
            ("server", None),
            ("server", Some(("WebSocketCluster", "other"))),
            ("server", Some(("ReplicaSet", "chat"))),
            ("proxy", None),
            ("proxy", Some(("ReplicaSet", "chat-proxyless-7d9"))),
            ("proxy", Some(("WebSocketCluster", "chat"))),
            ("redis", Some(("ReplicaSet", "chat-proxy-7d9"))),
        ] {
            assert_eq!(of(label, owner), None, "{label} of {owner:?}");
        }
    }

    #[test]
    fn pod_view_has_what_decisions_need() {
        let view = view("chat", &pod()).unwrap();
        assert_eq!(
            (view.serial, view.state, view.phase),
            (17, PodState::Cordoned, PodPhase::Running)
        );
        assert_eq!(view.ip, Some([10, 0, 0, 9].into()));
        let Listener { port, path } = view.listener;
        assert_eq!((port, path.as_deref()), (Some(8081), Some("/chat")));
        assert_eq!(view.node.as_deref(), Some("n1"));
        assert_eq!(zone(&node("True")), Some("z"));
        assert!(view.ready && view.node_ready && !view.terminating && !view.protected);
        assert_eq!(view.ready_since, Some("2026-01-01T00:00:05Z".parse().unwrap()));
        assert_eq!(
            view.drain,
            Some(Drain {
                reason: DrainReason::ScaleDown,
                since: "2026-01-01T01:00:00Z".parse().unwrap(),
                deadline: "2026-01-01T01:30:00Z".parse().unwrap(),
            })
        );
    }

    #[test]
    fn restarts_are_those_of_the_server_container() {
        let with_status = |status: serde_json::Value| {
            let mut pod = serde_json::to_value(pod()).unwrap();
            pod["status"]["containerStatuses"] = status;
            view("chat", &serde_json::from_value(pod).unwrap()).unwrap()
        };
        let ended = |reason: &str| json!({"terminated": {"exitCode": 3, "reason": reason}});
        let server = |last: serde_json::Value| {
            json!([
                {"name": "sidecar", "image": "i", "imageID": "", "ready": true, "restartCount": 9, "lastState": ended("Error")},
                {"name": "server", "image": "i", "imageID": "", "ready": true, "restartCount": 2, "lastState": last},
            ])
        };
        let view = with_status(server(ended("Error")));
        assert!(view.scheduled);
        assert_eq!(
            (view.restarts, view.last_exit.as_deref()),
            (2, Some("its server exited with code 3"))
        );
        let view = with_status(server(ended("OOMKilled")));
        assert_eq!(view.last_exit.as_deref(), Some("its server ended: OOMKilled"));
        let view = with_status(server(json!({})));
        assert_eq!((view.restarts, view.last_exit), (2, None));
        let mut waiting = pod();
        waiting.spec.as_mut().unwrap().node_name = None;
        assert!(!super::view("chat", &waiting).unwrap().scheduled);
    }

    #[test]
    fn node_is_ready_unless_reported_otherwise() {
        assert!(is_node_ready(&Node::default()));
        assert!(is_node_ready(&node("True")));
        assert!(!is_node_ready(&node("Unknown")));
        assert!(!is_node_ready(&node("False")));
    }

    #[test]
    fn unknown_state_receives_no_clients() {
        let mut odd = pod();
        let labels = odd.metadata.labels.as_mut().unwrap();
        labels.insert(labels::STATE.to_owned(), "Confused".to_owned());
        let annotations = odd.metadata.annotations.as_mut().unwrap();
        annotations.insert(labels::DRAIN_DEADLINE.to_owned(), "soon".to_owned());
        let view = view("chat", &odd).unwrap();
        assert_eq!(
            (view.state, view.drain),
            (PodState::Cordoned, None),
            "a word of another version is never taken for Active"
        );
        let mut new = pod();
        new.metadata.labels.as_mut().unwrap().remove(labels::STATE);
        assert_eq!(super::view("chat", &new).unwrap().state, PodState::Starting);
    }

    #[test]
    fn only_names_of_this_cluster_have_serials() {
        assert!(view("cha", &pod()).is_none());
    }

    #[test]
    fn cause_of_a_stopped_pod_is_read() {
        let mut waiting = pod();
        waiting.status = serde_json::from_value(json!({
            "phase": "Pending",
            "containerStatuses": [{"name": "server", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff"}}}],
        }))
        .unwrap();
        assert_eq!(
            view("chat", &waiting).unwrap().waiting_reason.as_deref(),
            Some("ImagePullBackOff")
        );
        waiting.status = serde_json::from_value(json!({
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
        }))
        .unwrap();
        assert_eq!(
            view("chat", &waiting).unwrap().waiting_reason.as_deref(),
            Some("Unschedulable")
        );
    }
}
