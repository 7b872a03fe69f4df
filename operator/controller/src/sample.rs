//! Samples server pods and proxies every few seconds, and keeps the newest answers. One scheduler decides for all clusters which pod
//! is asked next; this module only sends.

pub(crate) mod http;
pub(crate) mod parse;
mod schedule;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use wsc_contract::labels::Component;
use wsc_contract::{paths, ports};
use wsc_core::observed::{AgentView, Sample, SharedPod};
use wsc_core::samples::ServerSamples;

use crate::clock;
use crate::error::{Error, PodError};
use crate::identity::{ClusterKey, Uid};
use crate::report::metrics::Metrics;
use crate::watch::{Nodes, SeenPod, World};
use crate::worker::Wake;
use http::{PodClient, PodRequest};
use schedule::{ClusterId, Question, SLOTS, Schedule, Target};

/// While nothing is due.
const IDLE: Duration = Duration::from_mins(1);

/// What an agent has not read from HAProxy for longer is stale.
const AGENT_FRESH: SignedDuration = SignedDuration::from_secs(15);

/// The newest answers of one cluster's pods, by the pods' uids.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    servers: ServerSamples,
    agents: HashMap<Uid, Arc<AgentView>>,
}

enum Answer {
    Server(Sample),
    /// `None` while the agent has read nothing from its HAProxy.
    Agent(Option<AgentView>),
}

/// Samples the pods of all clusters.
pub(crate) struct Sampler {
    state: Mutex<State>,
    /// Something may be due earlier than planned.
    wake: Notify,
    client: PodClient,
    metrics: Arc<Metrics>,
}

struct State {
    schedule: Schedule,
    feeds: HashMap<ClusterId, Feed>,
}

/// Where the answers of one cluster go.
#[derive(Clone)]
struct Feed {
    key: ClusterKey,
    samples: Arc<Samples>,
    worker: Arc<Wake>,
}

/// The pods of a cluster are sampled until this is dropped.
pub(crate) struct Subscription {
    sampler: Arc<Sampler>,
    id: ClusterId,
    samples: Arc<Samples>,
}

impl Samples {
    /// The newest sample of each of these pods, by pod name.
    pub(crate) fn servers(&self, pods: &BTreeMap<String, SharedPod>) -> BTreeMap<String, Sample> {
        let content = self.content.lock();
        let samples = pods
            .iter()
            .filter_map(|(name, pod)| Some((name.clone(), content.servers.get(&pod.uid)?.clone())));
        samples.collect()
    }

    /// The newest status of the agent of a proxy pod, while it is fresh.
    pub(crate) fn agent(&self, pod_uid: &Uid, now: Timestamp) -> Option<Arc<AgentView>> {
        let agent = self.content.lock().agents.get(pod_uid).cloned();
        agent.filter(|agent| now.duration_since(agent.at) <= AGENT_FRESH)
    }

    /// Takes in the answer to a control call.
    pub(crate) fn answered(&self, sample: Sample) {
        self.content.lock().servers.answered(sample);
    }

    fn keep(&self, targets: &[Target]) {
        let uids: BTreeSet<&str> = targets.iter().map(|target| &*target.uid).collect();
        let mut content = self.content.lock();
        content.servers.retain(|uid| uids.contains(uid));
        content.agents.retain(|uid, _| uids.contains(&**uid));
    }

    fn put(&self, target: &Target, answer: Answer) {
        let mut content = self.content.lock();
        match answer {
            Answer::Server(sample) => content.servers.sampled(sample),
            Answer::Agent(Some(agent)) => {
                content.agents.insert(target.uid.clone(), Arc::new(agent));
            }
            Answer::Agent(None) => {
                content.agents.remove(&target.uid);
            }
        }
    }
}

impl Sampler {
    pub(crate) fn new(client: PodClient, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                schedule: Schedule::new(SLOTS, rand::random()),
                feeds: HashMap::new(),
            }),
            wake: Notify::new(),
            client,
            metrics,
        })
    }

    /// Samples the pods of this cluster from now on. `worker` is woken when all healthy ones have answered.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        key: ClusterKey,
        samples: Arc<Samples>,
        worker: Arc<Wake>,
    ) -> Subscription {
        let mut state = self.state.lock();
        let id = state.schedule.add_cluster(Instant::now().into_std());
        let feed = Feed {
            key,
            samples: samples.clone(),
            worker,
        };
        state.feeds.insert(id, feed);
        Subscription {
            sampler: self.clone(),
            id,
            samples,
        }
    }

    /// Sends what is due, until the process ends.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let wakes_at = self.send_due();
            let idle = Instant::now() + IDLE;
            tokio::select! {
                () = tokio::time::sleep_until(wakes_at.map_or(idle, Instant::from_std)) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    fn send_due(self: &Arc<Self>) -> Option<std::time::Instant> {
        let mut state = self.state.lock();
        while let Some(question) = state.schedule.next(Instant::now().into_std()) {
            tokio::spawn(self.clone().sample(question));
        }
        state.schedule.wakes_at()
    }

    async fn sample(self: Arc<Self>, question: Question) {
        let answer = ask(&self.client, &question).await;
        self.metrics.sample(answer.is_ok());
        let mut state = self.state.lock();
        let now = Instant::now().into_std();
        let news = state.schedule.finished(&question, answer.is_ok(), now);
        let feed = state.feeds.get(&question.cluster).cloned();
        drop(state);
        self.wake.notify_one();
        let Some(feed) = feed else {
            return;
        };
        match answer {
            Ok(answer) => feed.samples.put(&question.target, answer),
            Err(error) => {
                tracing::debug!(cluster = %feed.key, pod = &*question.target.name, error = %error, "sample failed");
            }
        }
        if news {
            feed.worker.sampled();
        }
    }
}

impl Subscription {
    /// The pods to sample from now on.
    pub(crate) fn update(&self, targets: Vec<Target>) {
        self.samples.keep(&targets);
        let now = Instant::now().into_std();
        self.sampler
            .state
            .lock()
            .schedule
            .set_targets(self.id, targets, now);
        self.sampler.wake.notify_one();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.sampler.state.lock();
        state.schedule.remove_cluster(self.id);
        state.feeds.remove(&self.id);
    }
}

/// The pods of a cluster that can be sampled.
pub(crate) fn targets(world: &World, key: &ClusterKey) -> Vec<Target> {
    let Some(scope) = world.scope(&key.namespace) else {
        return Vec::new();
    };
    let pods = scope.pods.of(key);
    let mut nodes = Nodes::new(world);
    let targets = pods.values().filter_map(|pod| target(pod, nodes.of(pod)));
    targets.collect()
}

fn target(pod: &SeenPod, node: Option<&Node>) -> Option<Target> {
    let component = pod.component?;
    if component == Component::Redis || !pod.running {
        return None;
    }
    Some(Target {
        uid: pod.uid.clone()?,
        name: pod.name()?,
        ip: pod.ip?,
        component,
        ready: pod.ready,
        node_ready: pod.node_ready(node),
    })
}

async fn ask(client: &PodClient, question: &Question) -> Result<Answer, Error> {
    let answer = match question.target.component {
        Component::Proxy => ask_agent(client, question).await.map(Answer::Agent),
        _ => ask_server(client, question).await.map(Answer::Server),
    };
    answer.map_err(|source| Error::Pod {
        what: format!("sample of pod {}", &*question.target.name),
        source,
    })
}

async fn ask_agent(client: &PodClient, question: &Question) -> Result<Option<AgentView>, PodError> {
    let address = SocketAddr::new(question.target.ip, ports::AGENT.number);
    let request = PodRequest {
        keep_alive: question.keep_alive,
        ..PodRequest::get(address, paths::STATUS, http::AGENT_BYTES)
    };
    let body = client.send(request).await?;
    Ok(parse::agent(&body, clock::now())?)
}

async fn ask_server(client: &PodClient, question: &Question) -> Result<Sample, PodError> {
    let target = &question.target;
    let address = SocketAddr::new(target.ip, ports::CONTROL.number);
    let request = PodRequest {
        keep_alive: question.keep_alive,
        ..PodRequest::get(address, paths::STATS, http::STATS_BYTES)
    };
    let body = client.send(request).await?;
    Ok(parse::stats(&body, &target.name, &target.uid, clock::now())?)
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;
    use crate::identity::PodName;

    #[test]
    fn agent_that_reads_nothing_is_silent() {
        let (samples, now) = (Samples::default(), clock::now());
        let meta = ObjectMeta {
            name: Some("chat-proxy-0".to_owned()),
            uid: Some("uid-proxy".to_owned()),
            ..ObjectMeta::default()
        };
        let target = Target {
            uid: Uid::of(&meta).unwrap(),
            name: PodName::of(&meta).unwrap(),
            ip: [10, 0, 0, 9].into(),
            component: Component::Proxy,
            ready: true,
            node_ready: true,
        };
        let responds = |version: &str, age: &str| {
            let body = format!(
                r#"{{"haproxy_version":"{version}","observed_ms_ago":{age},"refusal":null,"synced":false,"servers":[]}}"#
            );
            let answer = parse::agent(body.as_bytes(), now).unwrap();
            samples.put(&target, Answer::Agent(answer));
            samples.agent(&target.uid, now).is_some()
        };
        assert!(responds("3.0.11", "0") && responds("3.0.11", "15000"));
        assert!(!responds("3.0.11", "15001"), "its HAProxy does not reply");
        assert!(responds("3.0.11", "100"));
        assert!(!responds("", "null"), "its HAProxy has not replied yet");
    }
}
