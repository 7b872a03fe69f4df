use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PodSettings;

/// HAProxy in front of the pool.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProxySpec {
    /// HAProxy pods (pods, default 2, 1 to 50). A change adds or removes proxies; clients of a removed one reconnect.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 50))]
    pub replicas: i32,

    /// The Service that clients connect to. A change restarts nothing.
    #[serde(default)]
    pub service: ServiceSpec,

    /// The cookie that brings a client back to its pod. A change reloads HAProxy.
    #[serde(default)]
    pub sticky: StickySpec,

    /// Web origins that may connect: `https://example.org`, `https://example.org:8443`, `https://*.example.org` (one label) or `*`
    /// for everybody (default: only pages of the same host; at most 64). Clients without an `Origin` header are no browsers and may
    /// connect. A change reloads HAProxy and rolls the server pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255), pattern(r"^(\*|https?://(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?|https?://\[[0-9a-fA-F:]+\](:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?)$")))]
    pub origins: Vec<String>,

    /// Time limits. A change reloads HAProxy.
    #[serde(default)]
    pub timeouts: TimeoutsSpec,

    #[serde(flatten)]
    pub pod: PodSettings,
}

/// The Service that clients connect to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP` (default), `NodePort` or `LoadBalancer`. A change restarts nothing.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,

    /// Port of the Service (default 80, 1 to 65535). A change restarts nothing.
    #[serde(default = "default_service_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,

    /// Annotations on the Service, for example for a cloud's load balancer (default none, at most 32). A change restarts nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(key, size(key) <= 253 && !key.startsWith('websocket-operator.io/'))")
        .message("proxy.service.annotations must not set annotations of websocket-operator.io/"))]
    pub annotations: BTreeMap<String, String>,
}

/// Type of the Service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}

/// The cookie that brings a client back to its pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StickySpec {
    /// Name of the cookie (default `wsc`, 1 to 64 characters of a cookie token). A change reloads HAProxy; clients get a new cookie.
    #[serde(default = "default_cookie_name")]
    #[schemars(length(min = 1, max = 64), pattern(r"^[A-Za-z0-9_.-]+$"))]
    pub cookie_name: String,

    /// How long a cookie brings a client back (seconds, default 0 = as long as the browser keeps a session cookie, 0 to 31536000).
    /// A change reloads HAProxy.
    #[serde(default)]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub max_age_seconds: i32,

    /// `SameSite` of the cookie: `Lax` (default), `Strict` or `None` (with `Secure`: only for pages served by https).
    /// A change reloads HAProxy.
    #[serde(default)]
    pub same_site: SameSite,
}

/// `SameSite` of the cookie.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    #[default]
    Lax,
    Strict,
    None,
}

/// Time limits of HAProxy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutsSpec {
    /// How long HAProxy waits for a server to accept (seconds, default 2, 1 to 60). A change reloads HAProxy.
    #[serde(default = "default_connect_seconds")]
    #[schemars(range(min = 1, max = 60))]
    pub connect_seconds: i32,

    /// How long a client has to send its handshake (seconds, default 10, 1 to 300). A change reloads HAProxy.
    #[serde(default = "default_handshake_seconds")]
    #[schemars(range(min = 1, max = 300))]
    pub handshake_seconds: i32,

    /// How long a WebSocket may be silent in both directions (seconds, default 3600, 60 to 604800; at least twice the server's
    /// heartbeat of 25 s). A change reloads HAProxy.
    #[serde(default = "default_tunnel_seconds")]
    #[schemars(range(min = 60, max = 604_800))]
    pub tunnel_seconds: i32,
}

impl Default for ProxySpec {
    fn default() -> Self {
        Self {
            replicas: default_replicas(),
            service: ServiceSpec::default(),
            sticky: StickySpec::default(),
            origins: Vec::new(),
            timeouts: TimeoutsSpec::default(),
            pod: PodSettings::default(),
        }
    }
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            type_: ServiceType::default(),
            port: default_service_port(),
            annotations: BTreeMap::new(),
        }
    }
}

impl Default for StickySpec {
    fn default() -> Self {
        Self {
            cookie_name: default_cookie_name(),
            max_age_seconds: 0,
            same_site: SameSite::default(),
        }
    }
}

impl Default for TimeoutsSpec {
    fn default() -> Self {
        Self {
            connect_seconds: default_connect_seconds(),
            handshake_seconds: default_handshake_seconds(),
            tunnel_seconds: default_tunnel_seconds(),
        }
    }
}

fn default_replicas() -> i32 {
    2
}
fn default_service_port() -> i32 {
    80
}
fn default_cookie_name() -> String {
    "wsc".to_owned()
}
fn default_connect_seconds() -> i32 {
    2
}
fn default_handshake_seconds() -> i32 {
    10
}
fn default_tunnel_seconds() -> i32 {
    3600
}
