//! From pods to HAProxy's servers.

use std::collections::BTreeSet;

use wsc_contract::agent::ServerState;
use wsc_contract::ports;
use wsc_haproxy::{ProxySettings, RenderedConfig, Server, ServerOptions, render};

use crate::draft::Draft;
use crate::hash::short_hex;
use crate::observed::PodView;
use crate::pool::Pool;
use crate::validate::ValidCluster;

/// Bytes of the pod uid's hash in the cookie: 64 bits are enough to distinguish the pods of one
/// cluster.
const COOKIE_BYTES: usize = 8;

/// The ports on which the pods that are there accept clients.
pub(crate) fn ports(cluster: &ValidCluster, pool: &Pool<'_>) -> BTreeSet<u16> {
    let ports = pool.members.iter().map(|member| member.view.port(cluster));
    ports.collect()
}

/// HAProxy's configuration with the servers as they are once the draft is done.
pub(crate) fn config(cluster: &ValidCluster, pool: &Pool<'_>, draft: &Draft<'_>) -> RenderedConfig {
    let server_path = draft.observed.server_path();
    let servers: Vec<Server> = pool
        .members
        .iter()
        .filter_map(|member| {
            let state = draft.control(member)?.server?;
            // A pod behind another path would return 404.
            let fits = member.view.path() == server_path;
            let state = if fits { state } else { ServerState::Maint };
            server(cluster, member.view, state)
        })
        .collect();
    render(&settings(cluster, server_path), &servers)
}

fn server(cluster: &ValidCluster, view: &PodView, state: ServerState) -> Option<Server> {
    Some(Server {
        name: view.name.clone(),
        address: view.ip?,
        port: view.port(cluster),
        // Opaque and identical in every proxy.
        cookie: short_hex(view.uid.as_bytes(), COOKIE_BYTES),
        state,
    })
}

fn settings(cluster: &ValidCluster, server_path: &str) -> ProxySettings {
    let proxy = &cluster.proxy;
    ProxySettings {
        port: ports::PROXY.number,
        path: cluster.server.path.clone(),
        server_path: server_path.to_owned(),
        sticky: proxy.sticky.clone(),
        origins: proxy.origins.clone(),
        timeouts: proxy.timeouts,
        server_options: ServerOptions::default(),
        runtime_folder: None,
    }
}
