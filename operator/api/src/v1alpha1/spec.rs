//! The resource and `spec`.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::disruption::DisruptionSpec;
use super::drain::DrainSpec;
use super::proxy::ProxySpec;
use super::redis::RedisSpec;
use super::scaling::ScalingSpec;
use super::server::ServerSpec;
use super::status::WebSocketClusterStatus;
use crate::on_change::OnChange;
use crate::syntax;

/// A pool of WebSocket server pods behind HAProxy, scaled by the number of connections. Removed pods are drained, and a message to a room
/// is delivered on every pod, at most once.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "websocket-operator.io",
    version = "v1alpha1",
    kind = "WebSocketCluster",
    doc = "A pool of WebSocket server pods behind HAProxy, scaled by the number of connections",
    plural = "websocketclusters",
    shortname = "wsc",
    category = "all",
    namespaced,
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
    validation = Rule::new("self.spec.scaling.mode != 'Replicas' || has(self.spec.replicas)")
        .message("spec.replicas is required in scaling.mode Replicas: at a change of the mode, set it to status.desiredReplicas")
        .field_path(".spec.replicas"),
    // Only at a change: release 0.1.0 stored a default. Without it, `kubectl scale` succeeds and
    // has no effect.
    validation = Rule::new("self.spec.scaling.mode == 'Replicas' || !has(self.spec.replicas) || \
            oldSelf.spec.scaling.mode != 'Replicas' && has(oldSelf.spec.replicas) && self.spec.replicas == oldSelf.spec.replicas")
        .message("spec.replicas has no effect unless scaling.mode is Replicas: remove it, and change scaling.minReplicas or maxReplicas instead")
        .field_path(".spec.replicas"),
    validation = Rule::new("size(self.metadata.name) <= 40")
        .message("metadata.name must be at most 40 characters long: the names of its pods and Services are made from it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must start with a letter and contain only lower-case letters, digits and '-'"),
    validation = Rule::new("!self.metadata.name.matches('-(redis|haproxy|proxy)$')")
        .message("metadata.name must not end in -redis, -haproxy or -proxy: children of other WebSocketClusters have such names"),
)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketClusterSpec {
    /// Number of server pods in `scaling.mode: Replicas`, clamped to `minReplicas` and `maxReplicas`; written by `kubectl scale` and
    /// autoscalers. Mode `Connections` rejects its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2000), extend("x-on-change" = OnChange::ScalesServers))]
    pub replicas: Option<i32>,

    /// Labels of all objects and pods of the resource, as an admission policy may require them. `podLabels` have precedence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        extend("maxProperties" = 16, "additionalProperties" = syntax::label_values()),
        extend("x-on-change" = OnChange::UpdatesAllObjects)
    )]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('websocket-operator.io/') && !key.startsWith('app.kubernetes.io/'))")
        .message("labels must not set labels of websocket-operator.io/ or app.kubernetes.io/"))]
    #[x_kube(validation = Rule::new(syntax::keys_rule(syntax::QUALIFIED_NAME))
        .message(format!("labels: each key must be {}", syntax::KEY_RULE).as_str()))]
    pub labels: BTreeMap<String, String>,

    /// Annotations of all objects and pods of the resource. `podAnnotations` and `proxy.service.annotations` have precedence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        extend("maxProperties" = syntax::COMMON_ANNOTATIONS, "additionalProperties" = syntax::annotation_values(syntax::COMMON_ANNOTATION_LENGTH)),
        extend("x-on-change" = OnChange::UpdatesAllObjects)
    )]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('websocket-operator.io/'))")
        .message("annotations must not set annotations of websocket-operator.io/"))]
    #[x_kube(validation = Rule::new(syntax::keys_rule(syntax::ANNOTATION_KEY))
        .message(format!("annotations: each key must be {}", syntax::KEY_RULE).as_str()))]
    pub annotations: BTreeMap<String, String>,

    /// Limits and rules of the number of server pods.
    pub scaling: ScalingSpec,

    /// Server pods: image, port, path, capacity and pod settings.
    #[serde(default)]
    pub server: ServerSpec,

    /// Redis that carries broadcasts between server pods: `managed` (the default) or `external`. During a rollout from one to the other,
    /// a message reaches only the pods on the same Redis.
    #[serde(default)]
    pub redis: RedisSpec,

    /// HAProxy in front of the server pods: Service, sticky sessions, allowed origins, timeouts and pod settings.
    #[serde(default)]
    pub proxy: ProxySpec,

    /// Connection draining of server pods that are removed by a scale-down or a rollout.
    #[serde(default)]
    pub drain: DrainSpec,

    /// Limits on the number and the rate of connections that drains move to other pods.
    #[serde(default)]
    pub disruption: DisruptionSpec,
}
