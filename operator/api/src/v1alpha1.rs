//! Version `v1alpha1` of the resource.

mod disruption;
mod drain;
mod pod;
mod proxy;
mod redis;
mod scaling;
mod server;
mod spec;
mod status;

pub use disruption::DisruptionSpec;
pub use drain::{DrainSpec, NoticeSpec, OnDeadline};
pub use pod::{LocalObjectReference, PodSettings, SecretKeyReference};
pub use proxy::{ProxySpec, SameSite, ServiceSpec, ServiceType, StickySpec, TimeoutsSpec};
pub use redis::{ExternalRedis, ManagedRedis, RedisSpec};
pub use scaling::{BehaviorSpec, ScaleDownSpec, ScalingMode, ScalingSpec};
pub use server::{EnvVar, EnvVarSource, ServerSpec};
pub use spec::{WebSocketCluster, WebSocketClusterSpec};
pub use status::{ConnectionsStatus, Decision, DrainStatus, Pins, WebSocketClusterStatus};
