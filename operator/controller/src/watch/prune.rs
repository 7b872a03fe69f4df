//! What is not needed of a node is not kept.

use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus};
use wsc_core::nodes::RESOURCES;

/// Keeps labels, whether it is ready and how large it is: a heartbeat then changes nothing.
pub(super) fn node(mut node: Node) -> Node {
    node.metadata.annotations = None;
    node.metadata.resource_version = None;
    node.spec = None;
    let status = node.status.take().unwrap_or_default();
    let mut allocatable = status.allocatable;
    if let Some(quantities) = allocatable.as_mut() {
        quantities.retain(|resource, _| RESOURCES.contains(&resource.as_str()));
    }
    let ready = status
        .conditions
        .into_iter()
        .flatten()
        .filter(|c| c.type_ == "Ready");
    let ready = ready
        .map(|condition| NodeCondition {
            type_: condition.type_,
            status: condition.status,
            ..Default::default()
        })
        .collect();
    node.status = Some(NodeStatus {
        allocatable,
        conditions: Some(ready),
        ..Default::default()
    });
    node
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn node_size_and_readiness_are_kept() {
        let pruned = node(
            serde_json::from_value(json!({
                "metadata": {"name": "n1", "labels": {"pool": "a"}, "annotations": {"a": "b"}},
                "spec": {"podCIDR": "10.0.0.0/24"},
                "status": {
                    "allocatable": {"cpu": "1930m", "memory": "2Gi", "pods": "110", "ephemeral-storage": "9Gi"},
                    "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
                },
            }))
            .unwrap(),
        );
        assert_eq!(
            serde_json::to_value(pruned).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": "n1", "labels": {"pool": "a"}},
                "status": {
                    "allocatable": {"cpu": "1930m", "memory": "2Gi"},
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            })
        );
    }
}
