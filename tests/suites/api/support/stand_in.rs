//! Simulates a node with its kubelet and the processes of its pods: pods get an address, become
//! ready, answer on their control port, and are gone when they were deleted.

mod node;
mod stub;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::{Mutex, MutexGuard};
use serde_json::json;
use tokio::task::JoinSet;
use wsc_contract::labels::{self, Component};
use wsc_testing::cluster::Cluster;
use wsc_testing::stand_in::{Process, pod_status};

use super::send;
pub(crate) use stub::Server;
use stub::Stub;

/// Pause of a process that waits.
const LOOK: Duration = Duration::from_millis(100);

/// The pods of one namespace, all on one node of its own.
pub(crate) struct StandIn {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    cluster: Cluster,
    namespace: String,
    pods: Mutex<HashMap<String, Running>>,
    crash: Mutex<Option<Crash>>,
    /// Servers reach Redis.
    redis: AtomicBool,
}

/// An image whose server ends this long after each start.
#[derive(Clone, Debug)]
pub(crate) struct Crash {
    pub(crate) image: &'static str,
    pub(crate) after: Duration,
    pub(crate) pause: Duration,
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
            crash: Mutex::default(),
            redis: AtomicBool::new(true),
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

    /// Pods with this image crash from now on, and the kubelet starts their server again.
    pub(crate) fn crash(&self, crash: Crash) {
        *self.shared.crash.lock() = Some(crash);
    }

    /// Servers reach Redis, or not. One that never did is not ready; the others stay it.
    pub(crate) fn redis(&self, is_up: bool) {
        self.shared.redis.store(is_up, Ordering::Relaxed);
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

    fn reaches_redis(&self) -> bool {
        self.redis.load(Ordering::Relaxed)
    }

    /// It is a server pod, and Redis is away.
    fn waits(&self, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.as_ref();
        let component = labels.and_then(|labels| labels.get(labels::COMPONENT));
        component.is_some_and(|component| component == Component::Server.as_str()) && !self.reaches_redis()
    }

    fn crash_of(&self, pod: &Pod) -> Option<Crash> {
        let crash = self.crash.lock().clone()?;
        let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let crashes = containers.any(|container| container.image.as_deref() == Some(crash.image));
        crashes.then_some(crash)
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
    let waits = shared.waits(pod);
    let first = Process {
        ready: !waits,
        ..Process::first()
    };
    if !report(shared, pod, address, first).await? {
        shared.running().remove(uid);
    } else if waits {
        tokio::spawn(wait_for_redis(shared.clone(), pod.clone(), address));
    } else if let Some(crash) = shared.crash_of(pod) {
        tokio::spawn(keep_crashing(shared.clone(), pod.clone(), address, crash));
    }
    Ok(())
}

/// Whether the API server took the status of the pod.
async fn report(shared: &Shared, pod: &Pod, address: IpAddr, process: Process) -> Result<bool> {
    let name = pod.metadata.name.as_deref().context("a pod without a name")?;
    let status = json!({"status": pod_status(pod, address, process)});
    let path = shared.pod_path(name, "/status");
    let answer = send(&shared.cluster, Method::PATCH, &path, Some(&status)).await?;
    Ok(answer.is_ok())
}

/// Its pod becomes ready when Redis is back.
async fn wait_for_redis(shared: Arc<Shared>, pod: Pod, address: IpAddr) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    while shared.running().contains_key(&uid) {
        tokio::time::sleep(LOOK).await;
        let reported = shared.reaches_redis()
            && report(&shared, &pod, address, Process::first())
                .await
                .unwrap_or(false);
        if reported {
            return;
        }
    }
}

/// Ends with the pod.
async fn keep_crashing(shared: Arc<Shared>, pod: Pod, address: IpAddr, crash: Crash) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let mut process = Process::first();
    loop {
        let (pause, restarts) = if process.runs {
            (crash.after, process.restarts)
        } else {
            (crash.pause, process.restarts + 1)
        };
        tokio::time::sleep(pause).await;
        process = Process {
            restarts,
            runs: !process.runs,
            ready: !process.runs,
        };
        match shared.running().get(&uid) {
            Some(running) => running.server.lock().restart(process.runs),
            None => return,
        }
        // The next change makes up for one that was lost.
        let _ = report(&shared, &pod, address, process).await;
    }
}

/// An address of the pod network, which is all on loopback in the API tier.
pub(crate) fn next_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [third, fourth] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(10, 244, third, fourth).into()
}
