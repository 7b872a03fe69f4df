//! The observed state of one cluster at one moment: plain data, made by the shell, read by
//! [`crate::plan`].

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use wsc_api::v1alpha1::WebSocketClusterStatus;
use wsc_contract::agent::{Refusal, WorkerCounters};
use wsc_contract::paths::ClientPath;

use crate::common::CommonMetadata;
use crate::live::LiveChild;
use crate::numbers::since;
use crate::sampling::Interval;
use crate::validate::ValidCluster;

/// Everything that a plan is made of, besides the validated spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The status as it was last read.
    pub status: WebSocketClusterStatus,
    /// `metadata.generation` of the spec.
    pub generation: i64,
    /// Server pods that are controlled by this resource's uid, by name.
    pub pods: BTreeMap<String, SharedPod>,
    /// Names of live objects of ours by kind, that exist but are not controlled by this resource.
    pub conflicts: Vec<ChildConflict>,
    /// Children other than server pods, by kind and name.
    pub children: BTreeMap<ChildKey, ChildView>,
    /// HAProxy pods of this cluster.
    pub proxies: Vec<ProxyView>,
    /// The newest response of each server pod's `/stats`, by pod name.
    pub samples: BTreeMap<String, Sample>,
    /// Ready replicas of the proxy and managed Redis Deployments; `None` where it does not exist
    /// (yet).
    pub proxy_ready: Option<i32>,
    pub redis_ready: Option<i32>,
    /// Address of a LoadBalancer Service, once it has one.
    pub load_balancer: Option<String>,
    /// Serials that were reserved in the status, whose pod is neither in the watch cache nor 404 to
    /// a live GET.
    pub reserved_serials: Vec<i64>,
    /// Why no node can hold a pod of the current template; `None` where one can, or nodes are not
    /// known.
    pub no_node: Option<NoNode>,
    /// False while the watch of the resource, its pods or its records has been silent for more than
    /// 150 s: no pod may be changed then.
    pub watches_fresh: bool,
    /// Kinds whose watch has been silent for as long: what is known of their objects may be
    /// outdated.
    pub stale_children: Vec<ChildKind>,
}

impl Observed {
    /// The path that the servers of this cluster serve, not the client path. Pods of release 0.1.0
    /// serve that of their spec; new pods are created like them, so that HAProxy needs one rule.
    /// Where pods differ, those in rotation decide, by their number and then by their age.
    pub(crate) fn server_path(&self) -> &str {
        let alive = self
            .pods
            .values()
            .filter(|view| !view.has_ended() && !view.terminating);
        let is_serving = |view: &PodView| view.ready && !view.state.is_draining();
        let mut paths: BTreeMap<&str, (bool, usize, Reverse<i64>)> = BTreeMap::new();
        for view in alive {
            let (serves, count, oldest) =
                paths
                    .entry(view.path())
                    .or_insert((false, 0, Reverse(view.serial)));
            if is_serving(view) && !*serves {
                (*serves, *count) = (true, 0);
            }
            *count += usize::from(is_serving(view) == *serves);
            *oldest = (*oldest).max(Reverse(view.serial));
        }
        let most = paths.into_iter().max_by_key(|(_, weight)| *weight);
        most.map_or(ClientPath::DEFAULT, |(path, _)| path)
    }
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
    /// What it has of the labels and annotations that the spec has for all objects.
    pub common: CommonMetadata,
    /// `websocket-operator.io/protect` is set.
    pub protected: bool,
    pub phase: PodPhase,
    /// The Ready condition.
    pub ready: bool,
    /// When the Ready condition last became true.
    pub ready_since: Option<Timestamp>,
    pub created: Timestamp,
    /// `deletionTimestamp` is set.
    pub terminating: bool,
    pub ip: Option<IpAddr>,
    /// Client port and path of its own spec, which may be of an older template.
    pub listener: Listener,
    /// Image of its server.
    pub image: Option<String>,
    pub node: Option<String>,
    /// False where the node's Ready condition is not True, or the pod is marked so by the node
    /// controller.
    pub node_ready: bool,
    pub zone: Option<String>,
    /// The scheduler has bound it to a node.
    pub scheduled: bool,
    /// Why a container waits (`ImagePullBackOff`, `CrashLoopBackOff`,
    /// `CreateContainerConfigError`), or that no node has room.
    pub waiting_reason: Option<String>,
    /// How often the kubelet has restarted its server.
    pub restarts: i32,
    /// How its server ended last: `OOMKilled`, or `Error` with the exit code.
    pub last_exit: Option<String>,
}

/// A view that is made once per change of the pod: a copy shares it until one of both is changed.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedPod(Arc<PodView>);

impl From<PodView> for SharedPod {
    fn from(view: PodView) -> Self {
        Self(Arc::new(view))
    }
}

impl Deref for SharedPod {
    type Target = PodView;

    fn deref(&self) -> &PodView {
        &self.0
    }
}

impl DerefMut for SharedPod {
    fn deref_mut(&mut self) -> &mut PodView {
        Arc::make_mut(&mut self.0)
    }
}

impl PodView {
    /// Where its server accepts clients: a pod of an older template keeps its port.
    pub(crate) fn port(&self, cluster: &ValidCluster) -> u16 {
        self.listener.port.unwrap_or(cluster.server.port)
    }

    /// The path that its server serves.
    pub(crate) fn path(&self) -> &str {
        self.listener.path.as_deref().unwrap_or(ClientPath::DEFAULT)
    }

    /// Failed or succeeded.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, PodPhase::Failed | PodPhase::Succeeded)
    }
}

/// Where the server of a pod accepts clients, by the pod's spec; `None` where the spec does not say
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    pub port: Option<u16>,
    pub path: Option<String>,
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
    const ALL: [Self; 5] = [
        Self::Starting,
        Self::Active,
        Self::Cordoned,
        Self::Shedding,
        Self::Removing,
    ];

    /// The state with this word in the label.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

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

/// Why a pod drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainReason {
    Rollout,
    ScaleDown,
}

impl DrainReason {
    /// The reason with this word in the annotation.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Rollout, Self::ScaleDown]
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }

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

/// One response of a server's `/stats`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub at: Timestamp,
    /// The pod is asked again after it.
    pub interval: Interval,
    /// The pod's uid, so that a sample of an earlier pod is never taken for this one's.
    pub pod_uid: String,
    pub boot_id: String,
    pub connections: i64,
    pub capacity: i64,
    /// It accepts new connections.
    pub admits: bool,
    pub cordoned: bool,
    pub refused_full: i64,
    pub shed_total: i64,
    pub shed_target: i64,
    pub broker_up: bool,
    /// Number of consecutive samples, this one included, with zero connections.
    pub zero_in_a_row: u32,
}

impl Sample {
    /// It is not overdue for the next one.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        since(self.at, now) <= self.interval.fresh_for()
    }
}

/// One HAProxy pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyView {
    pub name: String,
    pub ready: bool,
    pub terminating: bool,
    /// The newest response of the agent; `None` if what it read from HAProxy is stale, or it did
    /// not respond.
    pub agent: Option<Arc<AgentView>>,
}

/// The response of an agent's `/status`, as far as decisions need it.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentView {
    /// When the agent read it from HAProxy.
    pub at: Timestamp,
    pub haproxy_version: String,
    pub applied_hash: String,
    pub applied_structure: String,
    pub applied_settings: String,
    pub synced: bool,
    /// HAProxy's line about a configuration that it refused, with the refused structure.
    pub refusal: Option<Refusal>,
    /// Counters of the running HAProxy; `None` before its first reply, and from an agent of release
    /// 0.1.0.
    pub worker: Option<WorkerCounters>,
    /// Sessions and state by server (pod) name.
    pub servers: BTreeMap<String, AgentServer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentServer {
    pub sessions: i64,
    /// True once the running HAProxy sends no new clients there (`maint`).
    pub maint: bool,
    /// HAProxy's own check finds it up.
    pub up: bool,
    /// The check is answered with 404: HAProxy sends no new clients there.
    pub rejects: bool,
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

impl ChildKind {
    pub const ALL: [Self; 7] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::NetworkPolicy,
        Self::ConfigMap,
        Self::Service,
        Self::Deployment,
    ];
}

/// Why no node can hold a pod of the current template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoNode {
    /// No node has the labels of `server.nodeSelector`.
    Selector,
    /// Every node has less of this resource than a pod requests.
    TooSmall {
        resource: &'static str,
        request: String,
        largest: String,
    },
    /// No node has enough of all resources together.
    Combination,
}

/// A live child that is controlled by this resource.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildView {
    pub uid: String,
    /// `websocket-operator.io/applied-hash`.
    pub applied_hash: Option<String>,
    pub object: Arc<LiveChild>,
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
