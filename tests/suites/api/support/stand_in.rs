//! Simulates a node with its kubelet and the processes of its pods: pods get an address, become ready, answer on their
//! control port, and are gone when they were deleted.

mod node;
mod stub;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};
use futures::StreamExt;
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wsc_testing::cluster::Cluster;

use super::send;
pub(crate) use stub::Server;
use stub::Stub;

/// The pods of one namespace, all on one node of its own.
pub(crate) struct StandIn {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    cluster: Cluster,
    namespace: String,
    pods: Mutex<HashMap<String, Running>>,
}

/// What runs in a pod, by the pod's uid.
struct Running {
    name: String,
    server: Arc<Mutex<Server>>,
    _stub: Option<Stub>,
}

impl StandIn {
    /// From now on pods of the namespace run.
    pub(crate) async fn start(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let shared = Arc::new(Shared {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            pods: Mutex::default(),
        });
        node::create(cluster, namespace).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(node::beat(cluster.clone(), namespace.to_owned()));
        tasks.spawn(watch(shared.clone()));
        Ok(Self {
            shared,
            _tasks: tasks,
        })
    }

    /// Reads, or changes, the server in each server pod.
    pub(crate) fn each(&self, mut what: impl FnMut(&str, &mut Server)) {
        for running in self.shared.running().values() {
            what(&running.name, &mut running.server.lock());
        }
    }

    /// How often server pods were asked how they are.
    pub(crate) fn asked(&self) -> u64 {
        let mut asked = 0;
        self.each(|_, server| asked += server.asked);
        asked
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.pods.lock()
    }

    fn pod_path(&self, name: &str, subresource: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{name}{subresource}", self.namespace)
    }
}

async fn watch(shared: Arc<Shared>) {
    let pods: Api<Pod> = Api::namespaced(shared.cluster.client.clone(), &shared.namespace);
    let events = watcher(pods, watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let pod = match event {
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => pod,
            Ok(watcher::Event::Delete(pod)) => {
                shared
                    .running()
                    .remove(pod.metadata.uid.as_deref().unwrap_or_default());
                continue;
            }
            _ => continue,
        };
        // A pod that has changed meanwhile comes again.
        let _ = look_after(&shared, &pod).await;
    }
}

/// Does the next thing that a kubelet would do, or nothing.
async fn look_after(shared: &Arc<Shared>, pod: &Pod) -> Result<()> {
    let name = pod.metadata.name.as_deref().context("a pod without a name")?;
    let uid = pod.metadata.uid.as_deref().context("a pod without a uid")?;
    if pod.metadata.deletion_timestamp.is_some() {
        shared.running().remove(uid);
        let now = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        send(
            &shared.cluster,
            Method::DELETE,
            &shared.pod_path(name, ""),
            Some(&now),
        )
        .await?
        .ok();
        return Ok(());
    }
    if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": shared.namespace});
        let binding = json!({"metadata": {"name": name}, "target": target});
        send(
            &shared.cluster,
            Method::POST,
            &shared.pod_path(name, "/binding"),
            Some(&binding),
        )
        .await?
        .ok();
        return Ok(());
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase != Some("Pending") || shared.running().contains_key(uid) {
        return Ok(());
    }
    let address = next_address();
    let server = Arc::new(Mutex::new(Server::new(name)));
    let running = Running {
        name: name.to_owned(),
        server: server.clone(),
        _stub: stub::start(shared, pod, address, server).await?,
    };
    shared.running().insert(uid.to_owned(), running);
    let status = json!({"status": status(pod, address)});
    let answer = send(
        &shared.cluster,
        Method::PATCH,
        &shared.pod_path(name, "/status"),
        Some(&status),
    )
    .await?;
    if answer.is_err() {
        shared.running().remove(uid);
    }
    Ok(())
}

/// All is well with the pod.
fn status(pod: &Pod, address: IpAddr) -> Value {
    let now = Timestamp::now().to_string();
    let types = [
        "PodReadyToStartContainers",
        "Initialized",
        "PodScheduled",
        "ContainersReady",
        "Ready",
    ];
    let conditions = types.map(|type_| json!({"type": type_, "status": "True", "lastTransitionTime": now}));
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let containers = containers.map(|container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "stand-in", "ready": true, "started": true, "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        })
    });
    json!({
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": containers.collect::<Vec<_>>(),
    })
}

/// An address of the pod network, which is all on loopback in the API tier.
pub(crate) fn next_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [third, fourth] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(10, 244, third, fourth).into()
}
