//! What is to be done: plain data. `apply` in the shell destructures [`Plan`] without `..`, so a
//! new kind cannot be forgotten.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use wsc_api::v1alpha1::WebSocketClusterStatus;
use wsc_contract::control::Notice;

use crate::common::CommonMetadata;
use crate::hold::Reason;
use crate::memory::Memory;
use crate::observed::{ChildKey, ChildKind, PodState};

/// The reasons of holds.
pub fn holds() -> impl Iterator<Item = &'static str> {
    Reason::ALL.into_iter().map(Reason::as_str)
}

/// One pass of the operator over one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Children to create or apply, in this order. Unchanged ones are not in it.
    pub apply: Vec<Child>,
    /// Children that are no longer wanted.
    pub remove: Vec<ChildKey>,
    /// Create the managed Redis password Secret, by POST; 409 is success.
    pub create_redis_secret: Option<String>,
    /// Check by a POST without effect whether that Secret exists: 409 is yes.
    pub check_redis_secret: bool,
    /// Reserve serials up to here (exclusive) in `status.nextSerial`, with the resource version,
    /// before the creates.
    pub reserve_serials: Option<i64>,
    /// Server pods to create, after the reservation.
    pub create_pods: Vec<Pod>,
    /// State label and drain annotations to write on server pods, with uid and resource version.
    pub mark_pods: Vec<PodMark>,
    /// Labels and annotations of the spec to write on server pods, with uid and resource version.
    pub update_pods: Vec<PodMetadata>,
    /// Calls to control ports of server pods.
    pub calls: Vec<ControlCall>,
    /// Server pods to delete, with uid and resource version as preconditions.
    pub delete_pods: Vec<PodDelete>,
    /// The whole wanted status; the shell patches it when it differs from the live one.
    pub status: WebSocketClusterStatus,
    pub events: Vec<Event>,
    /// Each reason for a hold, and whether it is in force.
    pub holds: Vec<(&'static str, bool)>,
    /// One line each for the log: a decision with its inputs.
    pub decisions: Vec<String>,
    /// What to remember until the next plan.
    pub memory: Memory,
    /// When to look again, if nothing happens before.
    pub recheck_after: Duration,
    /// Nothing is under way: samples alone are a reason for another plan only when they change the
    /// [`crate::Outlook`].
    pub is_quiet: bool,
}

/// A child object, typed.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    ServiceAccount(Box<ServiceAccount>),
    Role(Box<Role>),
    RoleBinding(Box<RoleBinding>),
    NetworkPolicy(Box<NetworkPolicy>),
    ConfigMap(Box<ConfigMap>),
    Service(Box<Service>),
    Deployment(Box<Deployment>),
}

/// What to write on a server pod. Server-side apply of exactly these, so that `None` removes the
/// drain annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct PodMark {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub state: PodState,
    pub drain: Option<crate::observed::Drain>,
}

/// Labels and annotations to set on a server pod, or to remove where there is no value. Others
/// stay.
#[derive(Clone, Debug, PartialEq)]
pub struct PodMetadata {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
    /// What the pod has of the spec's then, and its hash.
    pub(crate) common: CommonMetadata,
    pub hash: String,
}

impl PodMetadata {
    /// The pod has what was to be written.
    pub fn is_in(&self, live: &ObjectMeta) -> bool {
        CommonMetadata::of(live) == self.common
    }
}

/// A call to the control port of a server pod. All are idempotent.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlCall {
    pub pod: String,
    pub pod_uid: String,
    pub address: std::net::IpAddr,
    pub verb: ControlVerb,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ControlVerb {
    Cordon,
    Uncordon,
    /// Cumulative since `boot_id`.
    Shed {
        boot_id: String,
        total: i64,
        per_second: f64,
        notice: Notice,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDelete {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub reason: String,
}

/// A Kubernetes Event about the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// One word.
    pub reason: String,
    /// What was done, as a verb: `ScaleUp`, `Drain`, `Apply`.
    pub action: String,
    pub note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Normal,
    Warning,
}

impl Child {
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::ServiceAccount(object) => &object.metadata,
            Self::Role(object) => &object.metadata,
            Self::RoleBinding(object) => &object.metadata,
            Self::NetworkPolicy(object) => &object.metadata,
            Self::ConfigMap(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::Deployment(object) => &object.metadata,
        }
    }

    /// The object as JSON. Structs of strings, numbers, lists and maps always serialize.
    pub fn to_json(&self) -> Value {
        let json = match self {
            Self::ServiceAccount(object) => serde_json::to_value(object),
            Self::Role(object) => serde_json::to_value(object),
            Self::RoleBinding(object) => serde_json::to_value(object),
            Self::NetworkPolicy(object) => serde_json::to_value(object),
            Self::ConfigMap(object) => serde_json::to_value(object),
            Self::Service(object) => serde_json::to_value(object),
            Self::Deployment(object) => serde_json::to_value(object),
        };
        json.unwrap_or_default()
    }

    pub fn key(&self) -> ChildKey {
        let kind = match self {
            Self::ServiceAccount(_) => ChildKind::ServiceAccount,
            Self::Role(_) => ChildKind::Role,
            Self::RoleBinding(_) => ChildKind::RoleBinding,
            Self::NetworkPolicy(_) => ChildKind::NetworkPolicy,
            Self::ConfigMap(_) => ChildKind::ConfigMap,
            Self::Service(_) => ChildKind::Service,
            Self::Deployment(_) => ChildKind::Deployment,
        };
        ChildKey {
            kind,
            name: self.metadata().name.clone().unwrap_or_default(),
        }
    }
}
