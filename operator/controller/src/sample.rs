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
use wsc_core::observed::{AgentView, Sample, SharedPod};
use wsc_core::samples::ServerSamples;
use wsc_core::sampling::Interval;

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
    agents: HashMap<Uid, AgentAnswer>,
}

#[derive(Debug)]
struct AgentAnswer {
    view: Arc<AgentView>,
    /// At which the agent is asked again.
    interval: Interval,
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
    /// When the loop that sends looks again.
    planned: Option<std::time::Instant>,
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
        let answers = self.answers.lock();
        let AgentAnswer { view, interval } = answers.agents.get(pod_uid)?;
        let age = now.duration_since(view.at);
        (age <= interval.fresh_for()).then(|| view.clone())
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

    /// `interval`: at which the pod is asked again.
    fn put(&self, target: &SampleTarget, answer: Answer, interval: Interval) {
        let mut answers = self.answers.lock();
        match answer {
            Answer::Server(sample) => answers.servers.sampled(Sample { interval, ..sample }),
            Answer::Agent(Some(agent)) => {
                let view = Arc::new(agent);
                let answer = AgentAnswer { view, interval };
                answers.agents.insert(target.uid.clone(), answer);
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
                planned: None,
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
        feeds.planned = feeds.schedule.wakes_at();
        feeds.planned
    }

    /// The schedule changed. Most changes make nothing due earlier than the loop looks again.
    fn changed(&self, feeds: &Feeds) {
        let wakes_at = feeds.schedule.wakes_at();
        let is_earlier = wakes_at.is_some_and(|at| feeds.planned.is_none_or(|planned| at < planned));
        if is_earlier || feeds.schedule.is_queueing() {
            self.wake.notify_one();
        }
    }

    async fn sample(self: Arc<Self>, question: Question) {
        let answer = ask(&self.client, &question).await;
        self.metrics.sample(answer.is_ok());
        let mut feeds = self.feeds.lock();
        let now = Instant::now().into_std();
        let finished = feeds.schedule.finished(&question, answer.is_ok(), now);
        self.changed(&feeds);
        let feed = feeds.of_clusters.get(&question.cluster).cloned();
        drop(feeds);
        let (Some(feed), Some(finished)) = (feed, finished) else {
            return;
        };
        match answer {
            Ok(answer) => feed.samples.put(&question.target, answer, finished.interval),
            Err(error) => {
                tracing::debug!(cluster = %feed.key, pod = &*question.target.name, error = %error, "sample failed");
            }
        }
        if finished.is_news {
            feed.worker.sampled();
        }
    }
}

impl Subscription {
    /// The pods to sample from now on.
    pub(crate) fn update(&self, targets: Vec<SampleTarget>) {
        self.samples.keep(&targets);
        self.change(|schedule, now| schedule.set_targets(self.id, targets, now));
    }

    /// The interval while all its pods respond.
    pub(crate) fn set_interval(&self, interval: Interval) {
        self.change(|schedule, now| schedule.set_interval(self.id, interval, now));
    }

    fn change(&self, change: impl FnOnce(&mut Schedule, std::time::Instant)) {
        let mut feeds = self.sampler.feeds.lock();
        change(&mut feeds.schedule, Instant::now().into_std());
        self.sampler.changed(&feeds);
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
        let responds = |interval: Interval, version: &str, age: &str| {
            let body = format!(
                r#"{{"haproxy_version":"{version}","observed_ms_ago":{age},"refusal":null,"synced":false,"servers":[]}}"#
            );
            let answer = parse::agent(body.as_bytes(), now).unwrap();
            samples.put(&target, Answer::Agent(answer), interval);
            samples.agent(&target.uid, now).is_some()
        };
        for (interval, last, stale) in [
            (Interval::Active, "15000", "15001"),
            (Interval::Quiet, "25000", "25001"),
        ] {
            let responds = |version, age| responds(interval, version, age);
            assert!(responds("3.0.11", "0") && responds("3.0.11", last));
            assert!(!responds("3.0.11", stale), "its HAProxy does not reply");
            assert!(responds("3.0.11", "100"));
            assert!(!responds("", "null"), "its HAProxy has not replied yet");
        }
    }
}
