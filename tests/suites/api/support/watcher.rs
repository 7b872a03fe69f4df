//! Watches how many server pods there are, so that a twin is seen however briefly it lives.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use wsc_testing::cluster::Cluster;

#[derive(Debug, Default)]
struct Seen {
    there: BTreeSet<String>,
    most: usize,
    ever: BTreeSet<String>,
}

/// The server pods of a namespace since it began.
pub(crate) struct Pods {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Pods {
    pub(crate) fn watch(cluster: &Cluster, namespace: &str) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        let task = tokio::spawn(take(pods, seen.clone()));
        Self { seen, task }
    }

    /// The most that there ever were at the same time; those that are being deleted do not count.
    pub(crate) fn most(&self) -> usize {
        self.look(|seen| seen.most)
    }

    /// How many there ever were.
    pub(crate) fn ever(&self) -> usize {
        self.look(|seen| seen.ever.len())
    }

    fn look<T>(&self, what: impl FnOnce(&Seen) -> T) -> T {
        what(&self.seen.lock())
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(pods: Api<Pod>, seen: Arc<Mutex<Seen>>) {
    let config = watcher::Config::default().labels("websocket-operator.io/component=server");
    let events = watcher(pods, config).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let (pod, there) = match event {
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                let there = pod.metadata.deletion_timestamp.is_none();
                (pod, there)
            }
            Ok(watcher::Event::Delete(pod)) => (pod, false),
            _ => continue,
        };
        let uid = pod.metadata.uid.unwrap_or_default();
        let mut seen = seen.lock();
        if there {
            seen.there.insert(uid.clone());
            seen.ever.insert(uid);
        } else {
            seen.there.remove(&uid);
        }
        seen.most = seen.most.max(seen.there.len());
    }
}
