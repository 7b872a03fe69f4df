//! `status`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Observed state of the pool.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketClusterStatus {
    /// Generation of the spec that the status was computed from; -1 before the first reconcile.
    #[serde(default)]
    pub observed_generation: i64,

    /// Desired number of server pods.
    #[serde(default)]
    pub desired_replicas: i32,

    /// Number of active server pods: in rotation.
    #[serde(default)]
    pub replicas: i32,

    /// Number of server pods that were created and are not in rotation yet.
    #[serde(default)]
    pub starting_replicas: i32,

    /// Number of server pods that drain.
    #[serde(default)]
    pub draining_replicas: i32,

    /// Number of active server pods of the current pod template.
    #[serde(default)]
    pub updated_replicas: i32,

    /// Label selector of the active server pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// Hash of the current pod template of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_revision: Option<String>,

    /// Hash of the newest pod template of which a server pod has been Ready for 10 minutes; it equals `updateRevision` once the current
    /// template is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_revision: Option<String>,

    /// Serial of the next server pod; serials are never reused.
    #[serde(default)]
    pub next_serial: i64,

    /// Number of times that the Secret of the managed Redis was lost and replaced; it is part of the name of the Secret.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redis_secret_replacements: i64,

    /// Images and template version by which the pods are rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<Pins>,

    /// Connections of the pool.
    #[serde(default)]
    pub connections: ConnectionsStatus,

    /// Drains in progress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub drains: Vec<DrainStatus>,

    /// Last decision that changed the number of server pods or replaced one, with its inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<Decision>,

    /// URL that clients connect to: `ws://host:port/path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// Conditions of the pool. `Ready`: clients can connect, and messages reach all server pods; scaling, drains and rollouts do not change
    /// it. `Available`: server pods are serving. `Progressing`: server pods are starting or draining. `ScalingActive`: the number of server
    /// pods follows the connections or `spec.replicas`. `ScalingLimited`: `minReplicas`, `maxReplicas` or the connected clients limit it.
    /// `ProxyConfigured`: every HAProxy runs the published configuration. `RedisReachable`: server pods are connected to Redis.
    /// `Reconciling` and `Stalled`: as defined by kstatus; `Stalled` requires manual action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Images and template version by which the pods of a resource are rendered.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Pins {
    /// Image of the server pods; `spec.server.image` takes precedence.
    pub server: String,

    /// Image of the proxy pods.
    pub proxy: String,

    /// Image of the managed Redis.
    pub redis: String,

    /// Version of the operator's pod templates.
    pub template: i64,
}

/// Connections of the pool.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionsStatus {
    /// Open connections of all server pods, draining ones included.
    #[serde(default)]
    pub current: i64,

    /// Connections that the active server pods accept.
    #[serde(default)]
    pub capacity: i64,

    /// `current` as a percentage of `capacity`.
    #[serde(default)]
    pub utilization_percent: i32,

    /// Open connections of draining server pods.
    #[serde(default)]
    pub draining: i64,

    /// Connections that drains have moved since the resource was created.
    #[serde(default)]
    pub moved_total: i64,
}

/// Drain of a server pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// Name of the pod.
    pub pod: String,

    /// Reason of the drain: `ScaleDown` or `Rollout`.
    pub reason: String,

    /// State of the drain: `Cordoned`, `Shedding` or `Removing`.
    pub state: String,

    /// Start of the drain.
    pub since: Time,

    /// Deadline of the drain.
    pub deadline: Time,

    /// Connections that remain on the pod.
    pub remaining: i64,

    /// Connections that the pod has moved since its process started.
    pub moved: i64,
}

/// A scaling decision with its inputs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Time of the decision.
    pub time: Time,

    /// Action: `ScaleUp`, `ScaleDown`, `CancelDrain` or `Replace`.
    pub action: String,

    /// Reason, as one word.
    pub reason: String,

    /// Reason, as a sentence with the inputs.
    pub message: String,

    /// Desired number of server pods after the decision.
    pub desired_replicas: i32,

    /// Number of connections that the decision was based on.
    pub connections: i64,

    /// Target number of connections of a server pod: `maxConnections` x `targetUtilizationPercent`.
    pub target_per_pod: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
