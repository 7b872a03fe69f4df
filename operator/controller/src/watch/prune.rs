//! What is not needed of a node is not kept.

use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus};

/// Keeps labels and whether it is ready: a heartbeat then changes nothing.
pub(super) fn node(mut node: Node) -> Node {
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
    node
}
