//! Watches the pool: the resource, its pods and its configuration at the API server, and what each program says about itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::join_all;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, ListParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector::Lookup};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::{labels, names, ports};

use super::board::Board;
use super::http::Http;
use super::install::{NAMESPACE, OPERATOR_NAMESPACE};
use super::pool::{self, AgentStatus, Stats};
use wsc_testing::cluster::{Cluster, within};

/// Between two questions to every program.
const LOOK: Duration = Duration::from_secs(1);
/// One call to the API server.
const CALL: Duration = Duration::from_secs(10);
/// Port of the operator's metrics.
const OPERATOR_PORT: u16 = 8080;

/// Writes what it sees on the board until it is dropped.
#[derive(Debug)]
pub struct Observer {
    _tasks: JoinSet<()>,
}

impl Observer {
    /// Starts to watch the resource of this name.
    pub fn start(cluster: &Cluster, board: &Arc<Board>, name: &str) -> Self {
        let mut tasks = JoinSet::new();
        let client = || cluster.client.clone();
        let labels = watcher::Config::default().labels(&format!("{}={name}", labels::CLUSTER));
        let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
        let on_pod = pods(Arc::clone(board));
        tasks.spawn(follow(Api::namespaced(client(), NAMESPACE), labels, on_pod));
        let on_resource = resource(Arc::clone(board));
        tasks.spawn(follow(
            Api::namespaced(client(), NAMESPACE),
            named(name),
            on_resource,
        ));
        let on_config = configuration(Arc::clone(board));
        let config = named(&names::haproxy_config(name));
        tasks.spawn(follow(Api::namespaced(client(), NAMESPACE), config, on_config));
        tasks.spawn(look_forever(client(), Arc::clone(board), name.to_owned()));
        Self { _tasks: tasks }
    }
}

/// Hands over every event of a watch; a watch that breaks off starts again.
async fn follow<K>(api: Api<K>, config: watcher::Config, mut on: impl FnMut(Event<K>) + Send)
where
    K: kube::Resource + Lookup + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let events = watcher(api, config).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        if let Ok(event) = event {
            on(event);
        }
    }
}

fn pods(board: Arc<Board>) -> impl FnMut(Event<core::Pod>) + Send {
    move |event| {
        let now = Instant::now();
        board.pool(|pool| match event {
            Event::Apply(pod) | Event::InitApply(pod) => match component(&pod) {
                Some("server") => pool.server(&pod, now),
                Some("proxy") => pool.proxy(&pod),
                _ => {}
            },
            Event::Delete(pod) => pool.gone(&pod),
            // A list follows: who is not in it went while nobody watched.
            Event::Init => pool.pods.clear(),
            Event::InitDone => {}
        });
        board.count_pods();
    }
}

fn component(pod: &core::Pod) -> Option<&str> {
    pod.metadata
        .labels
        .as_ref()?
        .get(labels::COMPONENT)
        .map(String::as_str)
}

fn resource(board: Arc<Board>) -> impl FnMut(Event<WebSocketCluster>) + Send {
    move |event| {
        if let Event::Apply(resource) | Event::InitApply(resource) = event {
            board.status(resource.status.unwrap_or_default());
            board.count_pods();
        }
    }
}

fn configuration(board: Arc<Board>) -> impl FnMut(Event<core::ConfigMap>) + Send {
    move |event| {
        if let Event::Apply(config) | Event::InitApply(config) = event {
            let backends = config
                .data
                .unwrap_or_default()
                .remove("backends.json")
                .unwrap_or_default();
            let outcome = board.pool(|pool| pool.published(&backends));
            if let Err(err) = outcome {
                board.note(format!("backends.json cannot be read: {err}"));
            }
        }
    }
}

async fn look_forever(client: kube::Client, board: Arc<Board>, name: String) {
    let http = Http::default();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look(&http, &board).await;
        if let Ok(Some(granted)) = granted(&client, &http, &name).await {
            board.pool(|pool| pool.granted = granted);
        }
    }
}

/// Asks every server pod and every agent once. One that does not answer is asked again the next time.
pub async fn look(http: &Http, board: &Board) {
    let (servers, proxies) = board.pool(|pool| {
        let servers = pool.pods.iter();
        let servers: Vec<_> = servers
            .filter_map(|(name, pod)| Some((name.clone(), pod.uid.clone(), pod.ip.clone()?)))
            .collect();
        let proxies = pool.proxies.iter();
        let proxies: Vec<_> = proxies
            .filter_map(|(uid, proxy)| Some((uid.clone(), proxy.ip.clone()?)))
            .collect();
        (servers, proxies)
    });
    let servers = servers.into_iter().map(async |(name, uid, ip)| {
        if let Ok(stats) = ask::<Stats>(http, &ip, ports::CONTROL.number, "stats").await {
            board.pool(|pool| pool.said(&name, &uid, stats));
        }
    });
    let proxies = proxies.into_iter().map(async |(uid, ip)| {
        if let Ok(status) = ask::<AgentStatus>(http, &ip, ports::AGENT.number, "status").await {
            board.pool(|pool| pool.agent_said(&uid, status));
        }
    });
    futures::join!(join_all(servers), join_all(proxies));
}

async fn ask<T: DeserializeOwned>(http: &Http, ip: &str, port: u16, path: &str) -> Result<T> {
    let body = http.get(&format!("http://{}:{port}/{path}", host(ip))).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// An IPv6 address stands in brackets in a URL.
fn host(ip: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    }
}

/// What the operator's metric says, if the operator answers.
async fn granted(client: &kube::Client, http: &Http, name: &str) -> Result<Option<u64>> {
    let pods: Api<core::Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let labels = ListParams::default().labels(&format!("{}=operator", labels::COMPONENT));
    let found = within(CALL, "listing the operator's pods", pods.list(&labels)).await?;
    let ips = found.into_iter().filter_map(|pod| pod.status?.pod_ip);
    for ip in ips {
        let scrape = http
            .get(&format!("http://{}:{OPERATOR_PORT}/metrics", host(&ip)))
            .await?;
        if let Some(granted) = pool::granted(&String::from_utf8_lossy(&scrape), NAMESPACE, name) {
            return Ok(Some(granted));
        }
    }
    Ok(None)
}
