//! A resource whose values are valid, and what is wrong with one that has others.

use std::time::Duration;

use wsc_api::v1alpha1::{EnvVar, OnDeadline, Pins, PodSettings, SecretKeyReference, ServiceSpec};
use wsc_contract::close::CloseCode;
use wsc_contract::control::Notice;
use wsc_contract::origin::OriginPattern;
use wsc_haproxy::{Sticky, Timeouts};

use crate::common::CommonMetadata;

/// Version of the pod templates: raised when one of them changes for another reason than the spec
/// or an image.
const TEMPLATE: i64 = 1;

/// Images and surroundings that the operator was installed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pub server: String,
    pub proxy: String,
    pub redis: String,
    /// The operator's own namespace.
    pub operator_namespace: String,
}

impl Images {
    /// Pins of a resource that follows them.
    pub(crate) fn pins(&self) -> Pins {
        Pins {
            server: self.server.clone(),
            proxy: self.proxy.clone(),
            redis: self.redis.clone(),
            template: TEMPLATE,
        }
    }
}

/// A `WebSocketCluster` with names checked, numbers in range and strings parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidCluster {
    pub name: String,
    pub(crate) namespace: String,
    pub uid: String,
    pub generation: i64,
    /// The annotation that rolls the server pods.
    pub(crate) restarted_at: Option<String>,
    /// The operator's own namespace: `NetworkPolicies` let its pods reach control ports.
    pub(crate) operator_namespace: String,
    /// The installed ones, until [`crate::pins::resolve`].
    pub(crate) pins: Pins,
    /// Labels and annotations of all objects and pods.
    pub(crate) common: CommonMetadata,
    pub(crate) scaling: Scaling,
    pub(crate) server: Server,
    pub(crate) redis: RedisTarget,
    pub(crate) proxy: Proxy,
    pub(crate) drain: DrainSettings,
    pub(crate) disruption: Disruption,
    /// Times that the Secret of the managed Redis was replaced, from the status.
    pub(crate) redis_secret_replacements: i64,
    /// The newest spec, if it is invalid and this is an earlier one.
    pub(crate) rejected: Option<Rejected>,
}

impl ValidCluster {
    /// Image of the server pods.
    pub(crate) fn server_image(&self) -> &str {
        self.server.image.as_deref().unwrap_or(&self.pins.server)
    }
}

/// An invalid spec while an earlier one is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) problem: Invalid,
    /// Generation of the spec that is in force.
    pub(crate) in_force: i64,
}

/// Number of server pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scaling {
    pub(crate) mode: Mode,
    pub(crate) min_replicas: i32,
    pub(crate) max_replicas: i32,
    /// 1 to 100.
    pub(crate) target_utilization_percent: i32,
    /// Pods on top of what the connections need.
    pub(crate) buffer: Amount,
    pub(crate) stabilization_window: Duration,
}

/// How the number of server pods is determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By the connections.
    Connections,
    /// By `spec.replicas`, which is not clamped yet.
    Replicas(i32),
}

/// A number, or a percentage of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    Count(i64),
    Percent(i64),
}

/// The server pods.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    /// Of the resource itself.
    pub(crate) image: Option<String>,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) max_connections: i64,
    pub(crate) start_deadline: Duration,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) termination_grace_period_seconds: i64,
    pub(crate) pod: PodSettings,
}

/// The Redis that carries broadcasts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RedisTarget {
    /// One that the operator runs.
    Managed(Box<PodSettings>),
    /// An external one, without user and password.
    Url(String),
    /// An external one whose URL is in a Secret.
    SecretRef(SecretKeyReference),
}

/// HAProxy in front of the pool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proxy {
    pub(crate) replicas: i32,
    pub(crate) service: ServiceSpec,
    pub(crate) sticky: Sticky,
    pub(crate) origins: Vec<OriginPattern>,
    pub(crate) timeouts: Timeouts,
    pub(crate) pod: PodSettings,
}

/// Connection draining.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DrainSettings {
    pub(crate) natural: Duration,
    pub(crate) deadline: Duration,
    pub(crate) on_deadline: OnDeadline,
    pub(crate) close_code: CloseCode,
    pub(crate) jitter_seconds: u32,
}

impl DrainSettings {
    /// Close frame for clients of a pod that drains.
    pub(crate) fn notice(&self) -> Notice {
        Notice {
            close_code: self.close_code.get(),
            jitter_seconds: self.jitter_seconds,
        }
    }
}

/// Limits of moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disruption {
    pub(crate) moves_per_minute: Amount,
    pub(crate) max_moves_per_second: u32,
    pub(crate) max_concurrent_drains: Amount,
}

/// What is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// Path of the field in the spec: `server.maxConnections`.
    pub field: String,
    pub problem: String,
}

impl Invalid {
    /// The problem with the path of the field in the whole resource.
    pub(crate) fn in_resource(&self) -> String {
        let root = if self.field.starts_with("metadata.") {
            ""
        } else {
            "spec."
        };
        format!("{root}{self}")
    }
}

impl Rejected {
    /// What is wrong with the newest spec, and what is in force instead.
    pub(crate) fn message(&self) -> String {
        format!(
            "{}; the spec of generation {} stays in force until it is fixed",
            self.problem.in_resource(),
            self.in_force
        )
    }
}
