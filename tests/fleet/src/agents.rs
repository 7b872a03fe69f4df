//! The agents of all proxies: each reports that its HAProxy runs what is published.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use wsc_contract::agent::AgentStatus;
use wsc_contract::{labels, names};
use wsc_testing::stand_in::Published;

use crate::pods::{Key, Pods};

/// What is published for each cluster.
#[derive(Debug, Default)]
pub(crate) struct Agents(Mutex<HashMap<Key, Published>>);

impl Agents {
    /// Watches the published configuration of all clusters from now on.
    pub(crate) fn start(client: &Client) -> Arc<Self> {
        let agents = Arc::new(Self::default());
        tokio::spawn(watch(agents.clone(), client.clone()));
        agents
    }

    /// `GET /status`; none before something was published.
    pub(crate) fn status(&self, cluster: &Key, pods: &Pods) -> Option<AgentStatus> {
        let published = self.0.lock().get(cluster)?.clone();
        let connections = pods.connections(cluster);
        Some(published.status(|name| connections.get(name).copied().unwrap_or(0)))
    }

    fn take(&self, map: &ConfigMap) -> Result<()> {
        let label = |key| map.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        let cluster = label(labels::CLUSTER).context("no cluster")?;
        let name = map.metadata.name.as_ref().context("no name")?;
        if *name != names::haproxy_config(cluster) {
            return Ok(());
        }
        let published = Published::read(map)?;
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
