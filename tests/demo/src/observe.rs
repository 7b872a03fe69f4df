//! Watches the pool: the resource, its pods and its configuration at the API server, and the status
//! of each program.

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
use wsc_contract::agent::AgentStatus;
use wsc_contract::control::Stats;
use wsc_contract::{files, labels, names, paths, ports};

use super::dashboard::Dashboard;
use super::install::{NAMESPACE, OPERATOR_NAMESPACE};
use super::pool;
use wsc_testing::cluster::{Cluster, within};
use wsc_testing::http1;

/// Between two requests to every program.
const LOOK: Duration = Duration::from_secs(1);
/// One call to the API server.
const CALL: Duration = Duration::from_secs(10);
/// One answer of a program.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Updates the dashboard until it is dropped.
#[derive(Debug)]
pub(crate) struct Observer {
    _tasks: JoinSet<()>,
}

impl Observer {
    /// Starts to watch the resource of this name.
    pub(crate) fn start(cluster: &Cluster, dashboard: &Arc<Dashboard>, name: &str) -> Self {
        let mut tasks = JoinSet::new();
        let client = || cluster.client.clone();
        let labels = watcher::Config::default().labels(&format!("{}={name}", labels::CLUSTER));
        let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
        let on_pod = pods(Arc::clone(dashboard));
        tasks.spawn(follow(Api::namespaced(client(), NAMESPACE), labels, on_pod));
        let on_resource = resource(Arc::clone(dashboard));
        tasks.spawn(follow(
            Api::namespaced(client(), NAMESPACE),
            named(name),
            on_resource,
        ));
        let on_config = configuration(Arc::clone(dashboard));
        let config = named(&names::haproxy_config(name));
        tasks.spawn(follow(Api::namespaced(client(), NAMESPACE), config, on_config));
        tasks.spawn(look_forever(client(), Arc::clone(dashboard), name.to_owned()));
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

fn pods(dashboard: Arc<Dashboard>) -> impl FnMut(Event<core::Pod>) + Send {
    move |event| {
        let now = Instant::now();
        dashboard.pool(|pool| match event {
            Event::Apply(pod) | Event::InitApply(pod) => match component(&pod) {
                Some("server") => pool.server(&pod, now),
                Some("proxy") => pool.proxy(&pod),
                _ => {}
            },
            Event::Delete(pod) => pool.gone(&pod),
            // A list follows: a pod that is not in it was deleted during the gap.
            Event::Init => pool.pods.clear(),
            Event::InitDone => {}
        });
        dashboard.count_pods();
    }
}

fn component(pod: &core::Pod) -> Option<&str> {
    pod.metadata
        .labels
        .as_ref()?
        .get(labels::COMPONENT)
        .map(String::as_str)
}

fn resource(dashboard: Arc<Dashboard>) -> impl FnMut(Event<WebSocketCluster>) + Send {
    move |event| {
        if let Event::Apply(resource) | Event::InitApply(resource) = event {
            dashboard.status(resource.status.unwrap_or_default());
            dashboard.count_pods();
        }
    }
}

fn configuration(dashboard: Arc<Dashboard>) -> impl FnMut(Event<core::ConfigMap>) + Send {
    move |event| {
        if let Event::Apply(config) | Event::InitApply(config) = event {
            let backends = config
                .data
                .unwrap_or_default()
                .remove(files::BACKENDS)
                .unwrap_or_default();
            let outcome = dashboard.pool(|pool| pool.published(&backends));
            if let Err(err) = outcome {
                dashboard.note(format!("backends.json cannot be read: {err}"));
            }
        }
    }
}

async fn look_forever(client: kube::Client, dashboard: Arc<Dashboard>, name: String) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look(&dashboard).await;
        if let Ok(Some(granted)) = granted(&client, &name).await {
            dashboard.pool(|pool| pool.granted = granted);
        }
    }
}

/// Requests the status of every server pod and every agent once.
pub(crate) async fn look(dashboard: &Dashboard) {
    let (servers, proxies) = dashboard.pool(|pool| {
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
        if let Ok(stats) = ask::<Stats>(&ip, ports::CONTROL.number, paths::STATS).await {
            dashboard.pool(|pool| pool.answered(&name, &uid, stats));
        }
    });
    let proxies = proxies.into_iter().map(async |(uid, ip)| {
        if let Ok(status) = ask::<AgentStatus>(&ip, ports::AGENT.number, paths::STATUS).await {
            dashboard.pool(|pool| pool.agent_answered(&uid, status));
        }
    });
    futures::join!(join_all(servers), join_all(proxies));
}

async fn ask<T: DeserializeOwned>(ip: &str, port: u16, path: &str) -> Result<T> {
    let body = http1::fetch(ip, port, path, ANSWER_TIMEOUT).await?;
    Ok(serde_json::from_str(&body)?)
}

/// The operator's metric, if the operator answers.
async fn granted(client: &kube::Client, name: &str) -> Result<Option<u64>> {
    let pods: Api<core::Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let labels = ListParams::default().labels(&format!("{}=operator", labels::COMPONENT));
    let found = within(CALL, "listing the operator's pods", pods.list(&labels)).await?;
    let ips = found.into_iter().filter_map(|pod| pod.status?.pod_ip);
    for ip in ips {
        let scrape = http1::fetch(&ip, ports::OPERATOR.number, paths::METRICS, ANSWER_TIMEOUT).await?;
        if let Some(granted) = pool::granted(&scrape, NAMESPACE, name) {
            return Ok(Some(granted));
        }
    }
    Ok(None)
}
