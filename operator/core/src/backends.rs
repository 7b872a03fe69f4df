//! From pods to HAProxy's servers.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::ConfigMap;
use wsc_contract::agent::ServerState;
use wsc_contract::{labels, ports};
use wsc_haproxy::{ProxySettings, RenderedConfig, Server, ServerOptions, render};

use crate::draft::Draft;
use crate::hash::short_hex;
use crate::memory::Published;
use crate::observed::PodView;
use crate::pool::Pool;
use crate::resources;
use crate::validate::ValidCluster;

/// Bytes of the pod uid's hash in the cookie: 64 bits are enough to distinguish the pods of one
/// cluster.
const COOKIE_BYTES: usize = 8;

/// The ports on which the pods that are there accept clients.
pub(crate) fn ports(cluster: &ValidCluster, pool: &Pool<'_>) -> BTreeSet<u16> {
    let ports = pool.members.iter().map(|member| member.view.port(cluster));
    ports.collect()
}

/// Hashes of HAProxy's configuration with the servers as they are once the draft is done.
pub(crate) struct Hashes {
    pub(crate) servers: String,
    pub(crate) structure: String,
    pub(crate) settings: String,
    /// Of the `ConfigMap`.
    pub(crate) applied: String,
}

/// The hashes; the configuration is rendered only if it is another one than that of the last plan.
pub(crate) fn config(draft: &mut Draft<'_>, pool: &Pool<'_>) -> Hashes {
    let without_servers = rendered(draft, &[]);
    let inputs = inputs(draft, pool, &without_servers);
    let before = draft.memory.published.take();
    let published = before
        .filter(|published| published.inputs == inputs)
        .unwrap_or_else(|| {
            let rendered = rendered(draft, &servers(draft, pool));
            let map = resources::config_map(draft.cluster, &rendered);
            let mut annotations = map.metadata.annotations.unwrap_or_default();
            Published {
                inputs,
                servers: rendered.backend_set.hash,
                applied: annotations.remove(labels::APPLIED_HASH).unwrap_or_default(),
            }
        });
    draft.memory.published = Some(published.clone());
    Hashes {
        servers: published.servers,
        structure: without_servers.backend_set.structure,
        settings: without_servers.settings.hash().to_owned(),
        applied: published.applied,
    }
}

/// The `ConfigMap` with that configuration.
pub(crate) fn config_map(draft: &Draft<'_>, pool: &Pool<'_>) -> ConfigMap {
    let rendered = rendered(draft, &servers(draft, pool));
    resources::config_map(draft.cluster, &rendered)
}

/// A number that changes with everything that the `ConfigMap` is rendered from.
fn inputs(draft: &Draft<'_>, pool: &Pool<'_>, without_servers: &RenderedConfig) -> u64 {
    let mut hasher = DefaultHasher::new();
    let map = resources::config_map(draft.cluster, without_servers);
    // Structs of strings and maps always serialize.
    serde_json::to_vec(&map).unwrap_or_default().hash(&mut hasher);
    for (view, state) in states(draft, pool) {
        (&view.name, &view.uid, view.ip, view.port(draft.cluster), state).hash(&mut hasher);
    }
    hasher.finish()
}

fn rendered(draft: &Draft<'_>, servers: &[Server]) -> RenderedConfig {
    render(&settings(draft.cluster, draft.observed.server_path()), servers)
}

/// The pods that the proxies have.
fn states<'a>(draft: &Draft<'a>, pool: &Pool<'a>) -> impl Iterator<Item = (&'a PodView, ServerState)> {
    let server_path = draft.observed.server_path();
    pool.members.iter().filter_map(move |member| {
        let state = draft.control(member)?.server?;
        // A pod behind another path would return 404.
        let fits = member.view.path() == server_path;
        let state = if fits { state } else { ServerState::Maint };
        Some((member.view, state))
    })
}

fn servers(draft: &Draft<'_>, pool: &Pool<'_>) -> Vec<Server> {
    let server = |(view, state): (&PodView, ServerState)| {
        Some(Server {
            name: view.name.clone(),
            address: view.ip?,
            port: view.port(draft.cluster),
            // Opaque and identical in every proxy.
            cookie: short_hex(view.uid.as_bytes(), COOKIE_BYTES),
            state,
        })
    };
    states(draft, pool).filter_map(server).collect()
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
