//! What the operator sees of one cluster at one moment: plain data, made by the shell, read by [`crate::plan`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use wsc_api::v1alpha1::WebSocketClusterStatus;

/// Everything that a plan is made of, besides the validated spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The status as it was last read, with the `resourceVersion` that it came with.
    pub status: WebSocketClusterStatus,
    pub resource_version: String,
    /// `metadata.generation` of the spec.
    pub generation: i64,
    /// Server pods that are controlled by this resource's uid, by name.
    pub pods: BTreeMap<String, PodView>,
    /// Names of live objects of ours by kind, that exist but are not controlled by this resource.
    pub conflicts: Vec<ChildConflict>,
    /// Children other than server pods, by kind and name.
    pub children: BTreeMap<ChildKey, ChildView>,
    /// HAProxy pods of this cluster.
    pub proxies: Vec<ProxyView>,
    /// The newest answer of each server pod's `/stats`, by pod name.
    pub samples: BTreeMap<String, Sample>,
    /// Ready replicas of the proxy and managed Redis Deployments; `None` where it does not exist (yet).
    pub proxy_ready: Option<i32>,
    pub redis_ready: Option<i32>,
    /// Address of a LoadBalancer Service, once it has one.
    pub load_balancer: Option<String>,
    /// Serials that were reserved in the status, whose pod was neither seen nor answered 404 to a live GET.
    pub reserved_serials: Vec<i64>,
    /// False while a watch that this cluster is seen through has been silent for more than 150 s: nothing may be deleted then.
    pub watches_fresh: bool,
}

/// One server pod.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each seen on its own"
)]
#[derive(Clone, Debug, PartialEq)]
pub struct PodView {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub serial: i64,
    /// `websocket-operator.io/template-hash`.
    pub template_hash: String,
    pub state: PodState,
    pub drain: Option<Drain>,
    /// `websocket-operator.io/protect` is set.
    pub protected: bool,
    pub phase: PodPhase,
    /// The Ready condition.
    pub ready: bool,
    /// When the Ready condition last became true.
    pub ready_since: Option<Timestamp>,
    pub created: Timestamp,
    /// `deletionTimestamp` is set: somebody deleted it.
    pub terminating: bool,
    pub ip: Option<IpAddr>,
    pub node: Option<String>,
    /// False where the node's Ready condition is not True, or the pod is marked so by the node controller.
    pub node_ready: bool,
    pub zone: Option<String>,
    /// Why a container waits (`ImagePullBackOff`, `CrashLoopBackOff`, `CreateContainerConfigError`), for messages.
    pub waiting_reason: Option<String>,
}

/// The label `websocket-operator.io/state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodState {
    Starting,
    Active,
    Cordoned,
    Shedding,
    Removing,
}

impl PodState {
    /// The word of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Active => "Active",
            Self::Cordoned => "Cordoned",
            Self::Shedding => "Shedding",
            Self::Removing => "Removing",
        }
    }

    /// In one of the states of a drain.
    pub fn is_draining(self) -> bool {
        matches!(self, Self::Cordoned | Self::Shedding | Self::Removing)
    }
}

/// The drain annotations of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub reason: DrainReason,
    pub since: Timestamp,
    pub deadline: Timestamp,
}

/// Why a pod leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainReason {
    Rollout,
    ScaleDown,
}

impl DrainReason {
    /// The word of the annotation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rollout => "Rollout",
            Self::ScaleDown => "ScaleDown",
        }
    }
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// One answer of a server's `/stats`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub at: Timestamp,
    /// The pod's uid, so that a sample of an earlier pod is never taken for this one's.
    pub pod_uid: String,
    pub boot_id: String,
    pub connections: i64,
    pub capacity: i64,
    pub cordoned: bool,
    pub refused_full: i64,
    pub shed_total: i64,
    pub shed_target: i64,
    pub broker_up: bool,
    /// How many samples in a row, this one included, said zero connections.
    pub zero_in_a_row: u32,
}

/// One HAProxy pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyView {
    pub name: String,
    pub ready: bool,
    pub terminating: bool,
    /// The newest answer of the agent; `None` if there was none in the last 15 s.
    pub agent: Option<AgentView>,
}

/// The answer of an agent's `/status`, as far as decisions need it.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentView {
    pub at: Timestamp,
    pub haproxy_version: String,
    pub applied_hash: String,
    pub applied_structure: String,
    pub synced: bool,
    /// HAProxy's line about a configuration that it refused, with the refused structure.
    pub refusal: Option<Refusal>,
    /// Sessions and state by server (pod) name.
    pub servers: BTreeMap<String, AgentServer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub structure: String,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentServer {
    pub sessions: i64,
    /// True once the running HAProxy sends no new clients there (`maint`).
    pub maint: bool,
    /// HAProxy's own check finds it up.
    pub up: bool,
}

/// Kind and name of a child.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChildKey {
    pub kind: ChildKind,
    pub name: String,
}

/// Kinds of children besides server pods, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildKind {
    ServiceAccount,
    Role,
    RoleBinding,
    NetworkPolicy,
    ConfigMap,
    Service,
    Deployment,
}

/// A live child that is controlled by this resource.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildView {
    pub uid: String,
    /// `websocket-operator.io/applied-hash`.
    pub applied_hash: Option<String>,
    /// False when the live object no longer holds what was applied (a person edited it); the shell compares.
    pub intact: bool,
    pub terminating: bool,
}

/// A live object that has the name of a child and another controller, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildConflict {
    pub kind: String,
    pub name: String,
    /// True while it is being deleted: then it is only a matter of waiting.
    pub terminating: bool,
}

/// What the operator remembers of a cluster between two plans, in memory only. Losing it (a restart) is always safe: nothing
/// shrinks before one full window of fresh samples, and the move budget starts empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// When the first plan was made.
    pub started_at: Option<Timestamp>,
    /// Replicas wanted in the stabilization window, strictly falling, each with the last time at which as many were wanted.
    pub wanted: Vec<(Timestamp, i32)>,
    /// Since when every sample has been fresh; `None` right after a start or while any is missing.
    pub fresh_since: Option<Timestamp>,
    /// Moves that may be granted, and how fast they come back.
    pub budget: Budget,
    /// The highest `total` that was granted, by pod uid; the pod may not have accepted it yet.
    pub granted: BTreeMap<String, Granted>,
    /// What each pod's process has been seen to shed, by pod uid: boot id and `shed_total`.
    pub shed_seen: BTreeMap<String, (String, i64)>,
    /// Connections moved since the resource was created, as far as it is not in the status yet.
    pub moved_total: i64,
    /// `refused_full` of each process, by pod uid: boot id and count.
    pub refused_full: BTreeMap<String, (String, i64)>,
    /// Until when a panic forbids scale-down and rollout.
    pub panic_until: Option<Timestamp>,
    /// Since when draining pods have been found empty, by pod uid.
    pub empty_since: BTreeMap<String, Timestamp>,
    /// Since when Active pods are not Ready, by pod uid.
    pub unready_since: BTreeMap<String, Timestamp>,
    /// Since when pods have been seen as failed or succeeded, by pod uid.
    pub dead_since: BTreeMap<String, Timestamp>,
    /// Writes of the last plans on pods, by pod uid.
    pub expected: BTreeMap<String, Expected>,
    /// When the pods of the current 15 s were created.
    pub created_at: Vec<Timestamp>,
    /// When status was last reported with new numbers.
    pub connections_reported_at: Option<Timestamp>,
    /// Starts that failed.
    pub starts: Starts,
    /// When the managed Redis was last asked to have its Secret.
    pub secret_asked_at: Option<Timestamp>,
    /// Since when the managed Redis has had no ready pod.
    pub redis_down_since: Option<Timestamp>,
}

/// What a pod became by a write of ours that the watch may not show yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Of the pod that the write was decided on: a pod that has another one has been seen anew.
    pub resource_version: String,
    pub at: Timestamp,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Marked(PodState, Option<Drain>),
    Deleted,
}

/// The token bucket of moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Moves that may be granted now; below zero after a deadline took more than there were.
    pub tokens: f64,
    pub filled_at: Option<Timestamp>,
    /// 0.05 to 1: the share of the configured rate that is in use.
    pub health: f64,
    pub health_at: Option<Timestamp>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            tokens: 0.0,
            filled_at: None,
            health: 1.0,
            health_at: None,
        }
    }
}

/// The highest `total` that one process was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub boot_id: String,
    pub total: i64,
    /// When the last moves were granted.
    pub at: Timestamp,
    /// Connections that were not granted to move then. Those that were still count as connections until they are closed.
    pub left: i64,
    /// The deadline granted all that was left.
    pub rest_asked: Option<Rest>,
}

/// How a pod gets on with asking whoever is left at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The newest that was seen.
    pub shed_total: i64,
    /// When it last rose, or when the rest was asked.
    pub progress_at: Timestamp,
    /// Between two clients.
    pub interval: SignedDuration,
}

/// Starts of pods that failed, of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    pub revision: String,
    /// In a row: a pod that becomes ready ends it.
    pub failed: u32,
    pub last_failed_at: Option<Timestamp>,
    /// Why the last one failed, for messages.
    pub reason: String,
    /// Uids of pods that were counted and may still be there.
    pub counted: BTreeSet<String>,
}

impl Starts {
    /// The API server refused to make pods: it counts as one start that failed, however many pods were asked for.
    pub fn refused(&mut self, reason: String, now: Timestamp) {
        self.failed = self.failed.saturating_add(1);
        self.last_failed_at = Some(now);
        self.reason = reason;
    }
}
