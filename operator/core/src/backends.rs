//! From pods to HAProxy's servers.

use sha2::{Digest, Sha256};
use wsc_api::names;
use wsc_haproxy::{ProxySettings, RenderedConfig, Server, ServerOptions, ServerState, render};

use crate::observed::{PodState, PodView};
use crate::plan::Draft;
use crate::pool::{Pool, Role};
use crate::validate::ValidCluster;

/// Bytes of the pod uid's hash in the cookie: 64 bits are enough to tell the pods of one cluster apart for ever.
const COOKIE_BYTES: usize = 8;

/// HAProxy's configuration with the servers as they are once the draft is done.
pub(crate) fn config(cluster: &ValidCluster, pool: &Pool<'_>, draft: &Draft<'_>) -> RenderedConfig {
    let servers: Vec<Server> = pool
        .members
        .iter()
        .filter_map(|member| {
            let state = match member.role {
                // A server that is deleted while its tunnels live would cut them: it stays until the pod is gone.
                Role::Terminating => ServerState::Maint,
                Role::Dead | Role::Starting => return None,
                // Un-Ready is the kubelet's word; HAProxy asks the pod itself and sends nobody to one that does not answer.
                Role::Serving | Role::Broken | Role::Draining => match draft.state(member.view) {
                    _ if draft.is_deleted(member.view) => ServerState::Maint,
                    PodState::Starting | PodState::Active => ServerState::Ready,
                    PodState::Cordoned | PodState::Shedding | PodState::Removing => ServerState::Maint,
                },
            };
            server(cluster, member.view, state)
        })
        .collect();
    render(&settings(cluster), &servers)
}

fn server(cluster: &ValidCluster, view: &PodView, state: ServerState) -> Option<Server> {
    Some(Server {
        name: view.name.clone(),
        address: view.ip?,
        port: cluster.server.port,
        cookie: cookie(&view.uid),
        state,
    })
}

/// Says nothing to who reads it, and is the same in every proxy.
fn cookie(uid: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(uid.as_bytes());
    let bytes = digest.iter().take(COOKIE_BYTES);
    bytes.fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn settings(cluster: &ValidCluster) -> ProxySettings {
    let proxy = &cluster.proxy;
    ProxySettings {
        port: names::PROXY_PORT,
        path: cluster.server.path.clone(),
        sticky: proxy.sticky.clone(),
        origins: proxy.origins.clone(),
        timeouts: proxy.timeouts,
        server_options: ServerOptions::default(),
        runtime_folder: None,
    }
}
