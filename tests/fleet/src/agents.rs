//! The agents of all proxies: each reports that its HAProxy runs what is published.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use wsc_contract::agent::{AgentStatus, ServerStatus};
use wsc_contract::files::{BACKENDS, SETTINGS};
use wsc_contract::{labels, names};
use wsc_haproxy::{BackendSet, Settings};

use crate::pods::{Key, Pods};

/// What is published for each cluster.
#[derive(Debug, Default)]
pub(crate) struct Agents(Mutex<HashMap<Key, Published>>);

#[derive(Clone, Debug)]
struct Published {
    set: BackendSet,
    settings: String,
}

impl Agents {
    /// Watches the published configuration of all clusters from now on.
    pub(crate) fn start(client: &Client) -> Arc<Self> {
        let agents = Arc::new(Self::default());
        tokio::spawn(watch(agents.clone(), client.clone()));
        agents
    }

    /// `GET /status`; none before something was published.
    pub(crate) fn status(&self, cluster: &Key, pods: &Pods) -> Option<AgentStatus> {
        let Published { set, settings } = self.0.lock().get(cluster)?.clone();
        let connections = pods.connections(cluster);
        let servers = set.servers.into_iter().map(|server| ServerStatus {
            sessions: connections.get(&server.name).copied().unwrap_or(0),
            name: server.name,
            state: server.state,
            up: true,
            rejects: false,
        });
        Some(AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            haproxy_version: "3.0.11".to_owned(),
            pid: 1,
            wanted_hash: set.hash.clone(),
            applied_hash: set.hash,
            wanted_structure: set.structure.clone(),
            applied_structure: set.structure,
            wanted_settings: settings.clone(),
            applied_settings: settings,
            synced: true,
            observed_ms_ago: Some(0),
            servers: servers.collect(),
            ..AgentStatus::default()
        })
    }

    fn take(&self, map: &ConfigMap) -> Result<()> {
        let label = |key| map.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        let cluster = label(labels::CLUSTER).context("no cluster")?;
        let name = map.metadata.name.as_ref().context("no name")?;
        if *name != names::haproxy_config(cluster) {
            return Ok(());
        }
        let data = map.data.as_ref().context("no data")?;
        let file = |name: &str| data.get(name).with_context(|| format!("no {name}"));
        let published = Published {
            set: BackendSet::from_json(file(BACKENDS)?)?,
            settings: Settings::from_json(file(SETTINGS)?)?.hash().to_owned(),
        };
        let namespace = map.metadata.namespace.clone().context("no namespace")?;
        self.0.lock().insert((namespace, cluster.clone()), published);
        Ok(())
    }
}

async fn watch(agents: Arc<Agents>, client: Client) {
    let maps: Api<ConfigMap> = Api::all(client);
    let events = watcher(maps, watcher::Config::default().labels(labels::CLUSTER)).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        if let Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) = event {
            // An agent without configuration responds with 503, and its cluster is not Ready.
            let _ = agents.take(&map);
        }
    }
}
