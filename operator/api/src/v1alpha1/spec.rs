use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    DisruptionSpec, DrainSpec, ProxySpec, RedisSpec, ScalingSpec, ServerSpec, WebSocketClusterStatus,
};

/// A pool of WebSocket server pods behind HAProxy that grows and shrinks with the number of connections, and never drops a
/// connection that it did not have to. A message published to a room reaches every client of the room on every pod.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "websocket-operator.io",
    version = "v1alpha1",
    kind = "WebSocketCluster",
    plural = "websocketclusters",
    shortname = "wsc",
    category = "all",
    namespaced,
    cel,
    status = "WebSocketClusterStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desiredReplicas"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Draining", type_ = "integer", json_path = ".status.drainingReplicas"),
    printcolumn(name = "Conns", type_ = "integer", json_path = ".status.connections.current"),
    printcolumn(name = "Util%", type_ = "integer", json_path = ".status.connections.utilizationPercent"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 40")
        .message("metadata.name must be at most 40 characters long: the names of its pods and Services are made from it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must start with a letter and hold only lower case letters, digits and '-'"),
    validation = Rule::new("!self.metadata.name.matches('-(redis|haproxy|proxy)$')")
        .message("metadata.name must not end in -redis, -haproxy or -proxy: children of other clusters have such names"),
)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketClusterSpec {
    /// Number of server pods in `scaling.mode: Replicas` (pods, default 1, 0 to 2000), clamped to `minReplicas` and `maxReplicas`.
    /// This is what `kubectl scale` and autoscalers write. It has no effect in mode `Connections`. A change adds or drains pods.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 2000))]
    pub replicas: i32,

    /// How many server pods there are. A change adds or drains pods; it never restarts one.
    pub scaling: ScalingSpec,

    /// The server pods. Default `{}`: our own server image with 10000 connections a pod. A change replaces them one at a time.
    #[serde(default)]
    pub server: ServerSpec,

    /// The Redis that carries broadcasts between pods. Default: a small one that the operator runs. A change between `managed` and
    /// `external` rolls the server pods; until all have moved, messages reach only those on the same Redis.
    #[serde(default)]
    pub redis: RedisSpec,

    /// HAProxy in front of the pool. Default `{}`: two pods behind a ClusterIP Service on port 80. What a change does, each field says.
    #[serde(default)]
    pub proxy: ProxySpec,

    /// How a pod that leaves gets rid of its clients. A change takes effect at once, but a drain in progress keeps its deadline.
    #[serde(default)]
    pub drain: DrainSpec,

    /// How many connections the operator may ask to move. A change takes effect at once.
    #[serde(default)]
    pub disruption: DisruptionSpec,
}

fn default_replicas() -> i32 {
    1
}
