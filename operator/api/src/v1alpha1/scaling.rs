use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many server pods there are.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas")
    .message("scaling.minReplicas must not be above scaling.maxReplicas")
    .field_path(".minReplicas"))]
pub struct ScalingSpec {
    /// `Connections` (default): the operator decides by the number of connections. `Replicas`: `spec.replicas` decides
    /// (`kubectl scale`, an autoscaler of your own). A change never restarts a pod.
    #[serde(default)]
    pub mode: ScalingMode,

    /// Fewest server pods (pods, default 2, 1 to 2000, at most `maxReplicas`). A change adds pods, or allows pods to be drained.
    #[serde(default = "default_min_replicas")]
    #[schemars(range(min = 1, max = 2000))]
    pub min_replicas: i32,

    /// Most server pods (pods, required, 1 to 2000). A change allows pods to be added, or drains what is above it.
    #[schemars(range(min = 1, max = 2000))]
    pub max_replicas: i32,

    /// How full a pod should be on average (percent of `server.maxConnections`, default 75, 1 to 100).
    /// A change adds or drains pods.
    #[serde(default = "default_target_utilization_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub target_utilization_percent: i32,

    /// Pods on top of what the connections need (pods, or a percentage of them; default 1, 0 to 2000 or 0% to 90%), so that a
    /// burst finds room while new pods start. A change adds or drains pods.
    #[serde(default = "default_buffer")]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 0 && self <= 2000 : string(self).matches('^([0-9]|[1-8][0-9]|90)%$')")
        .message("scaling.buffer must be 0 to 2000 pods or 0% to 90%"))]
    pub buffer: IntOrString,

    /// How fast the pool follows. A change takes effect at once.
    #[serde(default)]
    pub behavior: BehaviorSpec,
}

/// What decides the number of server pods.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScalingMode {
    #[default]
    Connections,
    Replicas,
}

/// How fast the pool follows.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BehaviorSpec {
    /// Scaling down. A change takes effect at once.
    #[serde(default)]
    pub scale_down: ScaleDownSpec,
}

/// Scaling down.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScaleDownSpec {
    /// The pool shrinks only to the highest number that was wanted in this time (seconds, default 300, 0 to 3600).
    /// A change takes effect at once.
    #[serde(default = "default_stabilization_window_seconds")]
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: i32,
}

/// How a pod that leaves gets rid of its clients.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.naturalSeconds <= self.deadlineSeconds")
    .message("drain.naturalSeconds must not be above drain.deadlineSeconds")
    .field_path(".naturalSeconds"))]
pub struct DrainSpec {
    /// How long a pod that leaves waits for clients to go by themselves before it asks any to move (seconds, default 600,
    /// 0 to 86400, at most `deadlineSeconds`). A rollout waits at most 60. A change takes effect at once.
    #[serde(default = "default_natural_seconds")]
    #[schemars(range(min = 0, max = 86400))]
    pub natural_seconds: i32,

    /// When a drain must be over, from its beginning (seconds, default 1800, 1 to 86400). A change counts for drains that begin later.
    #[serde(default = "default_deadline_seconds")]
    #[schemars(range(min = 1, max = 86400))]
    pub deadline_seconds: i32,

    /// What happens at the deadline with clients that are left. `Close` (default): they are asked to move, then the pod is deleted.
    /// `Wait`: a pod with clients is never deleted. A change takes effect at once.
    #[serde(default)]
    pub on_deadline: OnDeadline,

    /// What a client that is asked to move is told. A change rolls the server pods.
    #[serde(default)]
    pub notice: NoticeSpec,
}

/// What happens at the deadline of a drain.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeadline {
    #[default]
    Close,
    Wait,
}

/// What a client that is asked to move is told.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NoticeSpec {
    /// WebSocket close code (default 1012 "service restart"; 1001, 1012, 1013 or 4000 to 4999). A change rolls the server pods.
    #[serde(default = "default_close_code")]
    #[x_kube(validation = Rule::new("self in [1001, 1012, 1013] || (self >= 4000 && self <= 4999)")
        .message("drain.notice.closeCode must be 1001, 1012, 1013 or 4000 to 4999"))]
    pub close_code: i32,

    /// The close reason tells each client to wait a random time up to this before it comes back (seconds, default 30, 0 to 600).
    /// A change rolls the server pods.
    #[serde(default = "default_jitter_seconds")]
    #[schemars(range(min = 0, max = 600))]
    pub jitter_seconds: i32,
}

/// How many connections the operator may ask to move.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionSpec {
    /// Connections that may be asked to move in a minute (connections, or a percentage of all connections, at least one; default `20%`,
    /// 1 to 1000000 or 1% to 100%). While Redis is down it is less. The deadline of a drain may take more, and pays it back.
    /// A change takes effect at once.
    #[serde(default = "default_moves_per_minute")]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 1 && self <= 1000000 : string(self).matches('^([1-9]|[1-9][0-9]|100)%$')")
        .message("disruption.movesPerMinute must be 1 to 1000000 connections or 1% to 100%"))]
    pub moves_per_minute: IntOrString,

    /// Connections that may be asked to move in a second, whatever `movesPerMinute` says (connections, default 200, 1 to 10000). Each
    /// server also holds itself to it, so a change rolls the server pods.
    #[serde(default = "default_max_moves_per_second")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_moves_per_second: i32,

    /// Pods that drain at the same time (pods, or a percentage of the active ones rounded up; default `10%`, 1 to 2000 or 1% to 100%).
    /// A rollout drains one at a time, whatever this says. A change takes effect at once.
    #[serde(default = "default_max_concurrent_drains")]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 1 && self <= 2000 : string(self).matches('^([1-9]|[1-9][0-9]|100)%$')")
        .message("disruption.maxConcurrentDrains must be 1 to 2000 pods or 1% to 100%"))]
    pub max_concurrent_drains: IntOrString,
}

impl Default for ScaleDownSpec {
    fn default() -> Self {
        Self {
            stabilization_window_seconds: default_stabilization_window_seconds(),
        }
    }
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self {
            natural_seconds: default_natural_seconds(),
            deadline_seconds: default_deadline_seconds(),
            on_deadline: OnDeadline::default(),
            notice: NoticeSpec::default(),
        }
    }
}

impl Default for NoticeSpec {
    fn default() -> Self {
        Self {
            close_code: default_close_code(),
            jitter_seconds: default_jitter_seconds(),
        }
    }
}

impl Default for DisruptionSpec {
    fn default() -> Self {
        Self {
            moves_per_minute: default_moves_per_minute(),
            max_moves_per_second: default_max_moves_per_second(),
            max_concurrent_drains: default_max_concurrent_drains(),
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
fn default_natural_seconds() -> i32 {
    600
}
fn default_deadline_seconds() -> i32 {
    1800
}
fn default_close_code() -> i32 {
    1012
}
fn default_jitter_seconds() -> i32 {
    30
}
fn default_moves_per_minute() -> IntOrString {
    IntOrString::String("20%".to_owned())
}
fn default_max_moves_per_second() -> i32 {
    200
}
fn default_max_concurrent_drains() -> IntOrString {
    IntOrString::String("10%".to_owned())
}
