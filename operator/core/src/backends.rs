//! From pods to HAProxy's servers.

use wsc_contract::agent::ServerState;
use wsc_contract::ports;
use wsc_haproxy::{ProxySettings, RenderedConfig, Server, ServerOptions, render};

use crate::draft::Draft;
use crate::hash::short_hex;
use crate::observed::{PodState, PodView};
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
                // Readiness is the kubelet's view; HAProxy checks the pod itself and routes nothing to one that does not answer.
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
        // Opaque and identical in every proxy.
        cookie: short_hex(view.uid.as_bytes(), COOKIE_BYTES),
        state,
    })
}

fn settings(cluster: &ValidCluster) -> ProxySettings {
    let proxy = &cluster.proxy;
    ProxySettings {
        port: ports::PROXY.number,
        path: cluster.server.path.clone(),
        sticky: proxy.sticky.clone(),
        origins: proxy.origins.clone(),
        timeouts: proxy.timeouts,
        server_options: ServerOptions::default(),
        runtime_folder: None,
    }
}
