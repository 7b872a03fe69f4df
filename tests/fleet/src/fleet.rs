//! The clusters of a run: created, changed and observed at the API server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};
use wsc_api::v1alpha1::WebSocketCluster;

use crate::api::send;
use crate::pods::{CAPACITY, Key};

/// Clusters of a namespace.
const PER_NAMESPACE: usize = 100;
/// Resources that are created at the same time.
const PARALLEL: usize = 20;
const POLL: Duration = Duration::from_millis(100);
/// What is Ready, and without work.
const SETTLED: [(&str, &str); 5] = [
    ("Ready", "True"),
    ("ProxyConfigured", "True"),
    ("RedisReachable", "True"),
    ("Progressing", "False"),
    ("Reconciling", "False"),
];

/// All resources.
pub(crate) struct Fleet {
    client: Client,
    keys: Vec<Key>,
    seen: Arc<Mutex<HashMap<Key, Progress>>>,
}

/// What the status of a resource shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    #[default]
    Starting,
    Ready,
    /// Ready, and nothing is in progress.
    Settled,
}

/// The serial number in the name of a cluster.
pub(crate) fn number(cluster: &str) -> usize {
    let number = cluster.rsplit_once('-').map(|(_, number)| number.parse());
    number.and_then(Result::ok).unwrap_or(0)
}

impl Fleet {
    /// Creates the namespaces for this number of clusters and watches their status.
    pub(crate) async fn new(client: &Client, clusters: usize) -> Result<Self> {
        for namespace in 0..clusters.div_ceil(PER_NAMESPACE) {
            let namespace = json!({"metadata": {"name": format!("fleet-{namespace}")}});
            send(client, Method::POST, "/api/v1/namespaces", &namespace).await?;
        }
        let fleet = Self {
            client: client.clone(),
            keys: (0..clusters).map(key).collect(),
            seen: Arc::default(),
        };
        tokio::spawn(watch(client.clone(), fleet.seen.clone()));
        Ok(fleet)
    }

    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Creates all resources.
    pub(crate) async fn create(&self, scaling: &Value) -> Result<()> {
        let spec = json!({
            "server": {"maxConnections": CAPACITY},
            "scaling": scaling,
            "proxy": {"replicas": 2},
        });
        self.each(PARALLEL, |(namespace, name)| {
            let resource = json!({
                "apiVersion": "websocket-operator.io/v1alpha1", "kind": "WebSocketCluster",
                "metadata": {"name": name, "namespace": namespace}, "spec": spec,
            });
            (Method::POST, path(namespace), resource)
        })
        .await
    }

    /// Changes an annotation that no rule reads, one resource after the other: a reconcile of each
    /// has nothing to do.
    pub(crate) async fn annotate(&self, value: usize) -> Result<()> {
        let change = json!({"metadata": {"annotations": {"example.org/note": value.to_string()}}});
        self.each(1, |(namespace, name)| {
            let path = format!("{}/{name}", path(namespace));
            (Method::PATCH, path, change.clone())
        })
        .await
    }

    async fn each(&self, parallel: usize, request: impl Fn(&Key) -> (Method, String, Value)) -> Result<()> {
        let calls = self.keys.iter().map(|key| {
            let (method, path, body) = request(key);
            async move { send(&self.client, method, &path, &body).await }
        });
        stream::iter(calls)
            .buffer_unordered(parallel)
            .try_for_each(async |()| Ok(()))
            .await
    }

    /// Number of clusters with at least this progress.
    pub(crate) fn count(&self, wanted: Progress) -> usize {
        let seen = self.seen.lock();
        let far = |progress: &Progress| *progress == wanted || *progress == Progress::Settled;
        seen.values().filter(|progress| far(progress)).count()
    }

    /// Waits until all clusters have at least this progress; none if the deadline passes first.
    pub(crate) async fn until(&self, wanted: Progress, deadline: Instant) -> Option<Instant> {
        while Instant::now() < deadline {
            if self.count(wanted) == self.keys.len() {
                return Some(Instant::now());
            }
            tokio::time::sleep(POLL).await;
        }
        None
    }
}

fn key(cluster: usize) -> Key {
    (
        format!("fleet-{}", cluster / PER_NAMESPACE),
        format!("chat-{cluster}"),
    )
}

fn path(namespace: &str) -> String {
    format!("/apis/websocket-operator.io/v1alpha1/namespaces/{namespace}/websocketclusters")
}

async fn watch(client: Client, seen: Arc<Mutex<HashMap<Key, Progress>>>) {
    let clusters: Api<WebSocketCluster> = Api::all(client);
    let events = watcher(clusters, watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        if let Ok(watcher::Event::Apply(cluster) | watcher::Event::InitApply(cluster)) = event
            && let Ok(key) = key_of(&cluster)
        {
            seen.lock().insert(key, progress(&cluster));
        }
    }
}

fn key_of(cluster: &WebSocketCluster) -> Result<Key> {
    let namespace = cluster.metadata.namespace.clone().context("no namespace")?;
    Ok((namespace, cluster.metadata.name.clone().context("no name")?))
}

fn progress(cluster: &WebSocketCluster) -> Progress {
    let Some(status) = &cluster.status else {
        return Progress::Starting;
    };
    let has = |(type_, wanted): &(&str, &str)| {
        let mut conditions = status.conditions.iter();
        conditions.any(|condition| condition.type_ == *type_ && condition.status == *wanted)
    };
    if cluster.metadata.generation != Some(status.observed_generation) || !has(&SETTLED[0]) {
        Progress::Starting
    } else if SETTLED.iter().all(has) {
        Progress::Settled
    } else {
        Progress::Ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_has_the_number() {
        assert_eq!(key(250), ("fleet-2".to_owned(), "chat-250".to_owned()));
        assert_eq!(number(&key(250).1), 250);
    }

    #[test]
    fn status_shows_the_progress() {
        let mut cluster: WebSocketCluster = serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": "chat", "generation": 2},
            "spec": {"scaling": {"minReplicas": 2, "maxReplicas": 20}},
        }))
        .unwrap();
        assert_eq!(progress(&cluster), Progress::Starting);
        let condition = |type_: &str, status: &str| {
            let time = "2026-01-01T00:00:00Z";
            json!({"type": type_, "status": status, "reason": "R", "message": "", "lastTransitionTime": time})
        };
        let mut with = |generation: i64, conditions: &[(&str, &str)]| {
            let conditions: Vec<Value> = conditions
                .iter()
                .map(|(type_, is)| condition(type_, is))
                .collect();
            let mut status =
                serde_json::to_value(wsc_api::v1alpha1::WebSocketClusterStatus::default()).unwrap();
            status["observedGeneration"] = json!(generation);
            status["conditions"] = json!(conditions);
            cluster.status = serde_json::from_value(status).unwrap();
            progress(&cluster)
        };
        assert_eq!(with(2, &SETTLED), Progress::Settled);
        assert_eq!(with(1, &SETTLED), Progress::Starting);
        assert_eq!(with(2, &SETTLED[..3]), Progress::Ready);
        assert_eq!(with(2, &SETTLED[1..]), Progress::Starting);
    }
}
