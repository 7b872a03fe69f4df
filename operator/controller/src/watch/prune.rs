//! What is not needed is not kept: a pod in memory is a few hundred bytes.

use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus, Pod, PodSpec};

/// Keeps where a pod runs and how it is.
pub(super) fn pod(pod: &mut Pod) {
    let node_name = pod.spec.take().and_then(|spec| spec.node_name);
    pod.spec = Some(PodSpec {
        node_name,
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
