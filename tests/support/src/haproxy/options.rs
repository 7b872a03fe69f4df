//! What a test may choose about a proxy pod.

use std::path::PathBuf;

use wsc_contract::cookie::CookieName;
use wsc_haproxy::{ProxySettings, SameSite, ServerOptions, Sticky, Timeouts};

/// What a pod is made of.
#[derive(Debug, Clone)]
pub struct PodOptions {
    /// `POD_NAME`.
    pub name: String,
    /// Port and folder in it are replaced by the pod's own.
    pub settings: ProxySettings,
    /// Whether fault proxies stand between the agent and both sockets of HAProxy.
    pub faults: bool,
    /// The agent's source of changes.
    pub source: Source,
    /// Interval between two comparisons without a change.
    pub recheck_ms: u64,
    /// The least time between two reloads.
    pub reload_interval_ms: u64,
}

/// The agent's source of changes.
#[derive(Debug, Clone)]
pub enum Source {
    /// From the mounted files.
    Files,
    /// From the API server that this kubeconfig names, in namespace `default`, for the cluster
    /// `chat`.
    ConfigMap(PathBuf),
}

impl Default for PodOptions {
    fn default() -> Self {
        Self {
            name: "chat-proxy-0".to_owned(),
            settings: ProxySettings {
                port: 0,
                path: "/ws".to_owned(),
                server_path: "/ws".to_owned(),
                sticky: Sticky {
                    cookie_name: cookie_name(),
                    max_age_seconds: 0,
                    same_site: SameSite::Lax,
                },
                origins: Vec::new(),
                timeouts: Timeouts {
                    connect_seconds: 2,
                    handshake_seconds: 10,
                    tunnel_seconds: 3600,
                },
                server_options: ServerOptions::default(),
                runtime_folder: None,
            },
            faults: false,
            source: Source::Files,
            recheck_ms: 200,
            reload_interval_ms: 0,
        }
    }
}

#[expect(clippy::expect_used, reason = "a constant that is a cookie name")]
fn cookie_name() -> CookieName {
    "wsc".parse().expect("wsc is a cookie name")
}
