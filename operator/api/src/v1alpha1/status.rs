use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the operator sees and does.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketClusterStatus {
    /// Generation of the spec that the rest of the status is about; -1 until an operator has seen the resource.
    #[serde(default)]
    pub observed_generation: i64,

    /// Server pods that the operator wants.
    #[serde(default)]
    pub desired_replicas: i32,

    /// Server pods in rotation (`Active`).
    #[serde(default)]
    pub replicas: i32,

    /// Server pods that are created but not in rotation yet.
    #[serde(default)]
    pub starting_replicas: i32,

    /// Server pods that are leaving.
    #[serde(default)]
    pub draining_replicas: i32,

    /// Active server pods of the current template.
    #[serde(default)]
    pub updated_replicas: i32,

    /// Label selector of the Active server pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// Hash of the current pod template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_revision: Option<String>,

    /// Serial of the next server pod; serials are never reused.
    #[serde(default)]
    pub next_serial: i64,

    /// Connections of all server pods.
    #[serde(default)]
    pub connections: ConnectionsStatus,

    /// Drains in progress, at most 32 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub drains: Vec<DrainStatus>,

    /// The last scaling decision that changed something, with its inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<Decision>,

    /// Where clients connect: `ws://host:port/path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// What is so. `Ready`: clients can connect and reach each other; scaling, drains and rollouts never turn it. `Available`: server pods
    /// serve. `Progressing`: pods come or go. `ScalingActive`: the number of pods follows what it should. `ScalingLimited`: it would be
    /// another one without `minReplicas`, `maxReplicas` and the clients that are there. `ProxyConfigured`: every HAProxy runs what is
    /// published. `RedisReachable`: messages reach the other pods. `Reconciling`, `Stalled`: as kstatus reads them; `Stalled` needs a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Connections of all server pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionsStatus {
    /// Open connections of all server pods, leaving ones included.
    #[serde(default)]
    pub current: i64,

    /// Connections that the Active pods can take.
    #[serde(default)]
    pub capacity: i64,

    /// `current` as a percentage of `capacity`.
    #[serde(default)]
    pub utilization_percent: i32,

    /// Connections on pods that are leaving.
    #[serde(default)]
    pub draining: i64,

    /// Connections that were asked to move since the resource was created.
    #[serde(default)]
    pub moved_total: i64,
}

/// One server pod that is leaving.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// Name of the pod.
    pub pod: String,

    /// Why it leaves: `ScaleDown` or `Rollout`.
    pub reason: String,

    /// `Cordoned`, `Shedding` or `Removing`.
    pub state: String,

    /// When the drain began.
    pub since: Time,

    /// When it must be over.
    pub deadline: Time,

    /// Connections that are left.
    pub remaining: i64,

    /// Connections that this pod was asked to move and did, since its process started.
    pub moved: i64,
}

/// A scaling decision with its inputs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When it was taken.
    pub time: Time,

    /// `ScaleUp`, `ScaleDown`, `CancelDrain` or `Replace`.
    pub action: String,

    /// Why, as one word.
    pub reason: String,

    /// Why, as a sentence with the numbers.
    pub message: String,

    /// Server pods wanted after it.
    pub desired_replicas: i32,

    /// Connections that it was taken on.
    pub connections: i64,

    /// Connections that a pod should have (`maxConnections` x `targetUtilizationPercent`).
    pub target_per_pod: i64,
}
