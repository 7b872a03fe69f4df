//! Version `v1alpha1` of the resource.

mod pod;
mod proxy;
mod redis;
mod scaling;
mod server;
mod spec;
mod status;

pub use pod::{LocalObjectReference, PodSettings, SecretKeyReference};
pub use proxy::{ProxySpec, SameSite, ServiceSpec, ServiceType, StickySpec, TimeoutsSpec};
pub use redis::{ExternalRedis, ManagedRedis, RedisSpec};
pub use scaling::{
    BehaviorSpec, DisruptionSpec, DrainSpec, NoticeSpec, OnDeadline, ScaleDownSpec, ScalingMode, ScalingSpec,
};
pub use server::{EnvVar, EnvVarSource, ServerSpec};
pub use spec::{WebSocketCluster, WebSocketClusterSpec};
pub use status::{ConnectionsStatus, Decision, DrainStatus, WebSocketClusterStatus};
