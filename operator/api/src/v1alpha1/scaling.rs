//! `spec.scaling`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::on_change::OnChange;

/// Limits and rules of the number of server pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas")
    .message("scaling.minReplicas must not be above scaling.maxReplicas")
    .field_path(".minReplicas"))]
pub struct ScalingSpec {
    /// `Connections`: the operator computes the number of server pods from the number of connections. `Replicas`: `spec.replicas` sets it,
    /// written by `kubectl scale` or another autoscaler.
    #[serde(default)]
    #[schemars(extend("x-on-change" = OnChange::ScalesServers))]
    pub mode: ScalingMode,

    /// Minimum number of server pods.
    #[serde(default = "default_min_replicas")]
    #[schemars(range(min = 1, max = 2000), extend("x-on-change" = OnChange::ScalesServers))]
    pub min_replicas: i32,

    /// Maximum number of server pods.
    #[schemars(range(min = 1, max = 2000), extend("x-on-change" = OnChange::ScalesServers))]
    pub max_replicas: i32,

    /// Target average load of a server pod, as a percentage of `server.maxConnections`.
    #[serde(default = "default_target_utilization_percent")]
    #[schemars(range(min = 1, max = 100), extend("x-on-change" = OnChange::ScalesServers))]
    pub target_utilization_percent: i32,

    /// Spare server pods on top of what the connections need, as a number or a percentage of the pool, to absorb bursts while new pods start.
    #[serde(default = "default_buffer")]
    #[schemars(extend("x-on-change" = OnChange::ScalesServers))]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 0 && self <= 2000 : string(self).matches('^([0-9]|[1-8][0-9]|90)%$')")
        .message("scaling.buffer must be 0 to 2000 pods or 0% to 90%"))]
    pub buffer: IntOrString,

    /// Scaling behavior by direction.
    #[serde(default)]
    pub behavior: BehaviorSpec,
}

/// How the number of server pods is determined.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScalingMode {
    #[default]
    Connections,
    Replicas,
}

/// Scaling behavior by direction.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BehaviorSpec {
    /// Behavior of a scale-down.
    #[serde(default)]
    pub scale_down: ScaleDownSpec,
}

/// Behavior of a scale-down.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScaleDownSpec {
    /// Window over which the operator takes the highest recommended number of server pods before it scales down.
    #[serde(default = "default_stabilization_window_seconds")]
    #[schemars(range(min = 0, max = 3600), extend("x-on-change" = OnChange::Immediate))]
    pub stabilization_window_seconds: i32,
}

impl Default for ScaleDownSpec {
    fn default() -> Self {
        Self {
            stabilization_window_seconds: default_stabilization_window_seconds(),
        }
    }
}

fn default_min_replicas() -> i32 {
    2
}
fn default_target_utilization_percent() -> i32 {
    75
}
fn default_buffer() -> IntOrString {
    IntOrString::Int(1)
}
fn default_stabilization_window_seconds() -> i32 {
    300
}
