//! Samples server pods and proxies every few seconds, and keeps the newest answers.

pub(crate) mod http;
pub(crate) mod parse;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use wsc_contract::labels::Component;
use wsc_contract::{paths, ports};
use wsc_core::observed::{AgentView, PodView, Sample};
use wsc_core::samples::ServerSamples;

use crate::context::{Context, POD_CALLS};
use crate::error::{Error, PodError};
use crate::identity::{ClusterKey, PodName, Uid};
use crate::observe::pods;

/// Interval of samples, with 10 % of jitter, so that clusters are not sampled at the same time.
const TICK: Duration = Duration::from_secs(5);
/// A change of the pods starts a round at once, but not more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The newest answers of one cluster's pods, by the pods' uids.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    servers: ServerSamples,
    agents: HashMap<Uid, AgentView>,
}

/// One pod to sample.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    uid: Uid,
    name: PodName,
    ip: IpAddr,
    component: Component,
    ready: bool,
}

enum Answer {
    Server(Sample),
    Agent(AgentView),
}

impl Samples {
    /// The newest sample of each of these pods, by pod name.
    pub(crate) fn servers(&self, pods: &BTreeMap<String, PodView>) -> BTreeMap<String, Sample> {
        let content = self.content.lock();
        let samples = pods
            .iter()
            .filter_map(|(name, pod)| Some((name.clone(), content.servers.get(&pod.uid)?.clone())));
        samples.collect()
    }

    /// The newest status of the agent of a proxy pod.
    pub(crate) fn agent(&self, pod_uid: &Uid) -> Option<AgentView> {
        self.content.lock().agents.get(pod_uid).cloned()
    }

    /// Takes in the answer to a control call.
    pub(crate) fn answered(&self, sample: Sample) {
        self.content.lock().servers.answered(sample);
    }

    fn keep(&self, targets: &BTreeSet<Target>) {
        let uids: BTreeSet<&str> = targets.iter().map(|target| &*target.uid).collect();
        let mut content = self.content.lock();
        content.servers.retain(|uid| uids.contains(uid));
        content.agents.retain(|uid, _| uids.contains(&**uid));
    }

    fn put(&self, target: &Target, answer: Answer) {
        match answer {
            Answer::Server(sample) => self.content.lock().servers.sampled(sample),
            Answer::Agent(agent) => {
                self.content.lock().agents.insert(target.uid.clone(), agent);
            }
        }
    }
}

/// Samples one cluster until it is dropped. After each round `done` is notified; `resample` starts a round if the pods changed.
pub(crate) async fn run(
    context: Arc<Context>,
    key: ClusterKey,
    samples: Arc<Samples>,
    resample: Arc<Notify>,
    done: Arc<Notify>,
) {
    let mut asked = BTreeSet::new();
    let mut last = Instant::now();
    let mut next = last;
    loop {
        let tick = tokio::select! {
            () = tokio::time::sleep_until(next) => true,
            () = resample.notified() => false,
        };
        let mut targets = targets(&context, &key);
        if !tick && targets == asked {
            continue;
        }
        if !tick && last.elapsed() < SHORTEST_PAUSE {
            tokio::time::sleep_until(last + SHORTEST_PAUSE).await;
            targets = self::targets(&context, &key);
        }
        samples.keep(&targets);
        ask_all(&context, &samples, &targets).await;
        asked = targets;
        last = Instant::now();
        next = last + TICK.mul_f64(rand::random_range(0.9..1.1));
        done.notify_one();
    }
}

fn targets(context: &Context, key: &ClusterKey) -> BTreeSet<Target> {
    let Some(scope) = context.world.scope(&key.namespace) else {
        return BTreeSet::new();
    };
    let pods = scope.pods.of(key);
    pods.values().filter_map(|pod| target(pod)).collect()
}

fn target(pod: &Pod) -> Option<Target> {
    let component = pods::component(pod)?;
    let status = pod.status.as_ref()?;
    let running = status.phase.as_deref() == Some("Running");
    if component == Component::Redis || !running {
        return None;
    }
    Some(Target {
        uid: Uid::of(&pod.metadata)?,
        name: PodName::of(&pod.metadata)?,
        ip: status.pod_ip.as_ref()?.parse().ok()?,
        component,
        ready: pods::ready_since(pod).is_some(),
    })
}

async fn ask_all(context: &Context, samples: &Samples, targets: &BTreeSet<Target>) {
    let questions: Vec<_> = targets
        .iter()
        .map(|target| ask_one(context, samples, target))
        .collect();
    stream::iter(questions)
        .buffer_unordered(POD_CALLS)
        .collect::<()>()
        .await;
}

async fn ask_one(context: &Context, samples: &Samples, target: &Target) {
    let answer = {
        // The semaphore is never closed; the bound holds over all clusters.
        let _slot = context.pod_calls.acquire().await;
        ask(target).await
    };
    context.metrics.sample(answer.is_ok());
    match answer {
        Ok(answer) => samples.put(target, answer),
        Err(error) => tracing::debug!(pod = &*target.name, error = %error, "sample failed"),
    }
}

async fn ask(target: &Target) -> Result<Answer, Error> {
    let answer = match target.component {
        Component::Proxy => ask_agent(target).await.map(Answer::Agent),
        _ => ask_server(target).await.map(Answer::Server),
    };
    answer.map_err(|source| Error::Pod {
        what: format!("sample of pod {}", &*target.name),
        source,
    })
}

async fn ask_agent(target: &Target) -> Result<AgentView, PodError> {
    let address = SocketAddr::new(target.ip, ports::AGENT.number);
    let body = http::get(address, paths::STATUS, http::AGENT_BYTES).await?;
    Ok(parse::agent(&body, Timestamp::now())?)
}

async fn ask_server(target: &Target) -> Result<Sample, PodError> {
    let address = SocketAddr::new(target.ip, ports::CONTROL.number);
    let body = http::get(address, paths::STATS, http::STATS_BYTES).await?;
    Ok(parse::stats(&body, &target.name, &target.uid, Timestamp::now())?)
}
