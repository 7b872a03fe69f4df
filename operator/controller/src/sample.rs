//! Samples server pods and proxies every few seconds, and keeps the newest answers. One scheduler
//! decides for all clusters which pod is asked next; this module only sends.

pub(crate) mod http;
pub(crate) mod parse;
mod schedule;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use wsc_contract::labels::Component;
use wsc_contract::{paths, ports};
use wsc_core::SAMPLE_FRESH;
use wsc_core::observed::{AgentView, Sample, SharedPod};
use wsc_core::samples::ServerSamples;

use crate::clock;
use crate::error::{Error, PodError};
use crate::identity::{ClusterKey, Uid};
use crate::report::metrics::Metrics;
use crate::watch::{Caches, Nodes, SeenPod};
use crate::worker::Wake;
use http::{PodClient, PodRequest};
use schedule::{ClusterId, Question, SLOTS, SampleTarget, Schedule};

/// While nothing is due.
const IDLE: Duration = Duration::from_mins(1);

/// The newest answers of one cluster's pods, by the pods' uids.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
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
    feeds: Mutex<Feeds>,
    /// Something may be due earlier than planned.
    wake: Notify,
    client: PodClient,
    metrics: Arc<Metrics>,
}

struct Feeds {
    schedule: Schedule,
    of_clusters: HashMap<ClusterId, Feed>,
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
        let answers = self.answers.lock();
        let samples = pods
            .iter()
            .filter_map(|(name, pod)| Some((name.clone(), answers.servers.get(&pod.uid)?.clone())));
        samples.collect()
    }

    /// The newest status of the agent of a proxy pod, while it is fresh.
    pub(crate) fn agent(&self, pod_uid: &Uid, now: Timestamp) -> Option<Arc<AgentView>> {
        let agent = self.answers.lock().agents.get(pod_uid).cloned();
        agent.filter(|agent| now.duration_since(agent.at) <= SAMPLE_FRESH)
    }

    /// Takes in the answer to a control call.
    pub(crate) fn answered(&self, sample: Sample) {
        self.answers.lock().servers.answered(sample);
    }

    fn keep(&self, targets: &[SampleTarget]) {
        let uids: BTreeSet<&str> = targets.iter().map(|target| &*target.uid).collect();
        let mut answers = self.answers.lock();
        answers.servers.retain(|uid| uids.contains(uid));
        answers.agents.retain(|uid, _| uids.contains(&**uid));
    }

    fn put(&self, target: &SampleTarget, answer: Answer) {
        let mut answers = self.answers.lock();
        match answer {
            Answer::Server(sample) => answers.servers.sampled(sample),
            Answer::Agent(Some(agent)) => {
                answers.agents.insert(target.uid.clone(), Arc::new(agent));
            }
            Answer::Agent(None) => {
                answers.agents.remove(&target.uid);
            }
        }
    }
}

impl Sampler {
    pub(crate) fn new(client: PodClient, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            feeds: Mutex::new(Feeds {
                schedule: Schedule::new(SLOTS, rand::random()),
                of_clusters: HashMap::new(),
            }),
            wake: Notify::new(),
            client,
            metrics,
        })
    }

    /// Samples the pods of this cluster from now on. `worker` is woken when all healthy ones have
    /// answered.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        key: ClusterKey,
        samples: Arc<Samples>,
        worker: Arc<Wake>,
    ) -> Subscription {
        let mut feeds = self.feeds.lock();
        let id = feeds.schedule.add_cluster(Instant::now().into_std());
        let feed = Feed {
            key,
            samples: samples.clone(),
            worker,
        };
        feeds.of_clusters.insert(id, feed);
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
        let mut feeds = self.feeds.lock();
        while let Some(question) = feeds.schedule.next(Instant::now().into_std()) {
            tokio::spawn(self.clone().sample(question));
        }
        feeds.schedule.wakes_at()
    }

    async fn sample(self: Arc<Self>, question: Question) {
        let answer = ask(&self.client, &question).await;
        self.metrics.sample(answer.is_ok());
        let mut feeds = self.feeds.lock();
        let now = Instant::now().into_std();
        let news = feeds.schedule.finished(&question, answer.is_ok(), now);
        let feed = feeds.of_clusters.get(&question.cluster).cloned();
        drop(feeds);
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
    pub(crate) fn update(&self, targets: Vec<SampleTarget>) {
        self.samples.keep(&targets);
        let now = Instant::now().into_std();
        self.sampler
            .feeds
            .lock()
            .schedule
            .set_targets(self.id, targets, now);
        self.sampler.wake.notify_one();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut feeds = self.sampler.feeds.lock();
        feeds.schedule.remove_cluster(self.id);
        feeds.of_clusters.remove(&self.id);
    }
}

/// The pods of a cluster that can be sampled.
pub(crate) fn targets(caches: &Caches, key: &ClusterKey) -> Vec<SampleTarget> {
    let Some(scope) = caches.scope(&key.namespace) else {
        return Vec::new();
    };
    let pods = scope.pods.of(key);
    let mut nodes = Nodes::new(caches);
    let targets = pods.values().filter_map(|pod| target(pod, nodes.of(pod)));
    targets.collect()
}

fn target(pod: &SeenPod, node: Option<&Node>) -> Option<SampleTarget> {
    let component = pod.component?;
    if component == Component::Redis || !pod.running {
        return None;
    }
    Some(SampleTarget {
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
        let target = SampleTarget {
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
