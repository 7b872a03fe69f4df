//! `spec.proxy`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wsc_contract::cookie::CookieName;
use wsc_contract::origin::OriginPattern;

use super::pod::PodSettings;
use crate::on_change::OnChange;
use crate::syntax;

/// HAProxy in front of the server pods: Service, sticky sessions, allowed origins, timeouts and pod settings.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProxySpec {
    /// Number of HAProxy pods.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 50), extend("x-on-change" = OnChange::ScalesProxies))]
    pub replicas: i32,

    /// Service that clients connect to.
    #[serde(default)]
    pub service: ServiceSpec,

    /// Sticky sessions: the cookie by which HAProxy routes a reconnecting client to the same server pod.
    #[serde(default)]
    pub sticky: StickySpec,

    /// Allowed values of the `Origin` header, as browsers send it: `https://example.org`, `https://*.example.org` (one label),
    /// `capacitor://localhost` or `*` (any but `null`); without entries only the origin of the requested host. Requests without the header are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 255), pattern(OriginPattern::SCHEMA)),
        extend("x-on-change" = OnChange::UpdatesProxies)
    )]
    #[x_kube(validation = Rule::new(format!("self.all(origin, origin.matches(r'{}'))", OriginPattern::SCHEMA))
        .message(format!("proxy.origins: each must be {}", OriginPattern::RULE).as_str()))]
    pub origins: Vec<String>,

    /// Timeouts of HAProxy.
    #[serde(default)]
    pub timeouts: TimeoutsSpec,

    #[serde(flatten)]
    pub pod: PodSettings,
}

/// Service that clients connect to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Type of the Service.
    #[serde(default, rename = "type")]
    #[schemars(extend("x-on-change" = OnChange::UpdatesService))]
    pub type_: ServiceType,

    /// Port of the Service.
    #[serde(default = "default_service_port")]
    #[schemars(range(min = 1, max = 65535), extend("x-on-change" = OnChange::UpdatesService))]
    pub port: i32,

    /// Annotations of the Service, for example those of a cloud load balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        extend("maxProperties" = 32, "additionalProperties" = syntax::annotation_values(syntax::ANNOTATION_LENGTH / 2)),
        extend("x-on-change" = OnChange::UpdatesService)
    )]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('websocket-operator.io/'))")
        .message("proxy.service.annotations must not set annotations of websocket-operator.io/"))]
    #[x_kube(validation = Rule::new(syntax::keys_rule(syntax::ANNOTATION_KEY))
        .message(format!("proxy.service.annotations: each key must be {}", syntax::KEY_RULE).as_str()))]
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

/// Sticky sessions: the cookie by which HAProxy routes a reconnecting client to the same server pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StickySpec {
    /// Name of the cookie; after a change clients receive a new cookie.
    #[serde(default = "default_cookie_name")]
    #[schemars(length(min = 1, max = CookieName::MAX_LENGTH), pattern(CookieName::SCHEMA), extend("x-on-change" = OnChange::ReloadsProxies))]
    pub cookie_name: String,

    /// `Max-Age` of the cookie; 0 makes it a session cookie.
    #[serde(default)]
    #[schemars(range(min = 0, max = 31_536_000), extend("x-on-change" = OnChange::ReloadsProxies))]
    pub max_age_seconds: i32,

    /// `SameSite` attribute of the cookie; `None` also sets `Secure`, which requires https.
    #[serde(default)]
    #[schemars(extend("x-on-change" = OnChange::ReloadsProxies))]
    pub same_site: SameSite,
}

/// `SameSite` attribute of the cookie.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    #[default]
    Lax,
    Strict,
    None,
}

/// Timeouts of HAProxy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutsSpec {
    /// Time limit for HAProxy to establish a TCP connection to a server pod.
    #[serde(default = "default_connect_seconds")]
    #[schemars(range(min = 1, max = 60), extend("x-on-change" = OnChange::ReloadsProxies))]
    pub connect_seconds: i32,

    /// Time limit for a client to send its WebSocket handshake.
    #[serde(default = "default_handshake_seconds")]
    #[schemars(range(min = 1, max = 300), extend("x-on-change" = OnChange::ReloadsProxies))]
    pub handshake_seconds: i32,

    /// Time after which HAProxy closes a WebSocket connection without traffic in either direction.
    #[serde(default = "default_tunnel_seconds")]
    #[schemars(range(min = 60, max = 604_800), extend("x-on-change" = OnChange::ReloadsProxies))]
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
