//! Values for unit tests.

use wsc_api::v1alpha1::WebSocketCluster;

/// The six-line resource, as the API server would hand it out.
pub(crate) fn resource(name: &str) -> WebSocketCluster {
    let json = serde_json::json!({
        "apiVersion": "websocket-operator.io/v1alpha1",
        "kind": "WebSocketCluster",
        "metadata": {"name": name, "namespace": "ns", "uid": "uid-1", "resourceVersion": "1", "generation": 1},
        "spec": {"scaling": {"minReplicas": 2, "maxReplicas": 20}},
    });
    serde_json::from_value(json).unwrap()
}
