//! What is not needed is not kept: a pod in memory is a few hundred bytes.

use k8s_openapi::api::core::v1::{Container, Node, NodeCondition, NodeStatus, Pod, PodSpec};
use wsc_contract::env::server::PATH;
use wsc_core::resources::CONTAINER;

/// Keeps where a pod runs, where its server accepts clients, and how it is.
pub(super) fn pod(pod: &mut Pod) {
    let spec = pod.spec.take().unwrap_or_default();
    let servers = spec.containers.into_iter().filter(|c| c.name == CONTAINER);
    let containers = servers.map(|server| Container {
        name: server.name,
        ports: server.ports,
        env: server.env.map(|variables| {
            let path = variables.into_iter().filter(|variable| variable.name == PATH);
            path.collect()
        }),
        ..Default::default()
    });
    pod.spec = Some(PodSpec {
        node_name: spec.node_name,
        containers: containers.collect(),
        ..Default::default()
    });
}

/// Keeps labels and whether it is ready: a heartbeat then changes nothing.
pub(super) fn node(node: &mut Node) {
    node.metadata.annotations = None;
    node.metadata.resource_version = None;
    node.spec = None;
    let conditions = node.status.take().and_then(|status| status.conditions);
    let ready = conditions.into_iter().flatten().filter(|c| c.type_ == "Ready");
    let ready = ready
        .map(|condition| NodeCondition {
            type_: condition.type_,
            status: condition.status,
            ..Default::default()
        })
        .collect();
    node.status = Some(NodeStatus {
        conditions: Some(ready),
        ..Default::default()
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wsc_core::resources::listener;

    use super::*;

    #[test]
    fn listener_of_a_server_survives() {
        let container = json!({"name": CONTAINER, "image": "i", "env": [{"name": "A", "value": "secret"}, {"name": "WSC_PATH", "value": "/chat"}], "ports": [
            {"name": "control", "containerPort": 9090}, {"name": "ws", "containerPort": 8081},
        ]});
        let mut seen: Pod = serde_json::from_value(json!({
            "metadata": {"name": "chat-1"},
            "spec": {"nodeName": "n1", "containers": [{"name": "mesh", "ports": [{"name": "ws", "containerPort": 1}]}, container]},
        }))
        .unwrap();
        let before = listener(&seen);
        assert_eq!((before.port, before.path.as_deref()), (Some(8081), Some("/chat")));
        pod(&mut seen);
        assert_eq!(listener(&seen), before);
        let spec = seen.spec.unwrap();
        assert_eq!(spec.node_name.as_deref(), Some("n1"));
        assert_eq!(spec.containers.len(), 1);
        assert_eq!(spec.containers[0].env.as_ref().map(Vec::len), Some(1));
        assert_eq!(spec.containers[0].image, None);
    }
}
