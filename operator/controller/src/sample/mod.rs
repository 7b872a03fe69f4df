//! Asks server pods and proxies how they are, every few seconds, and keeps the newest answers.

pub mod http;
pub mod parse;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use wsc_api::names::{self, Component};
use wsc_core::observed::{AgentView, Sample};

use crate::context::{ClusterKey, Context, POD_CALLS, locked};
use crate::error::Error;
use crate::observe::pods;

/// How often pods are asked; each time 10 % more or less, so that clusters do not march in step.
const TICK: Duration = Duration::from_secs(5);
/// Pods that come or go are asked at once, but not more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The newest answers of one cluster's pods, by the pods' uids.
#[derive(Debug, Default)]
pub struct Samples {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    servers: HashMap<String, Sample>,
    agents: HashMap<String, AgentView>,
}

/// One pod to ask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    uid: String,
    name: String,
    ip: IpAddr,
    component: Component,
    ready: bool,
}

enum Answer {
    Server(Sample),
    Agent(AgentView),
}

impl Samples {
    /// Samples of server pods by pod name.
    pub fn servers(&self, names: &BTreeMap<String, String>) -> BTreeMap<String, Sample> {
        let content = locked(&self.content);
        names
            .iter()
            .filter_map(|(name, uid)| Some((name.clone(), content.servers.get(uid)?.clone())))
            .collect()
    }

    /// What the agent of a proxy pod last said.
    pub fn agent(&self, pod_uid: &str) -> Option<AgentView> {
        locked(&self.content).agents.get(pod_uid).cloned()
    }

    /// Takes in a periodic answer: only these count towards [`Sample::zero_in_a_row`].
    fn sampled(&self, mut sample: Sample) {
        let mut content = locked(&self.content);
        let before = content.servers.get(&sample.pod_uid);
        let before = before.filter(|before| before.boot_id == sample.boot_id);
        sample.zero_in_a_row = match (sample.connections, before) {
            (0, Some(before)) => before.zero_in_a_row.saturating_add(1),
            (0, None) => 1,
            _ => 0,
        };
        content.servers.insert(sample.pod_uid.clone(), sample);
    }

    /// Takes in the answer to a control call. It may come moments after a sample, so it does not count as one more zero.
    pub fn answered(&self, mut sample: Sample) {
        let mut content = locked(&self.content);
        let before = content.servers.get(&sample.pod_uid);
        let before = before.filter(|before| before.boot_id == sample.boot_id);
        if sample.connections == 0 {
            sample.zero_in_a_row = before.map_or(0, |before| before.zero_in_a_row);
        }
        content.servers.insert(sample.pod_uid.clone(), sample);
    }

    fn keep(&self, targets: &BTreeSet<Target>) {
        let uids: BTreeSet<&str> = targets.iter().map(|target| target.uid.as_str()).collect();
        let mut content = locked(&self.content);
        content.servers.retain(|uid, _| uids.contains(uid.as_str()));
        content.agents.retain(|uid, _| uids.contains(uid.as_str()));
    }

    fn put(&self, target: &Target, answer: Answer) {
        match answer {
            Answer::Server(sample) => self.sampled(sample),
            Answer::Agent(agent) => {
                locked(&self.content).agents.insert(target.uid.clone(), agent);
            }
        }
    }
}

/// Samples one cluster until it is dropped. After each round `done` is notified; `poke` asks for a look at whether pods came or went.
pub async fn run(
    context: Arc<Context>,
    key: ClusterKey,
    samples: Arc<Samples>,
    poke: Arc<Notify>,
    done: Arc<Notify>,
) {
    let mut asked = BTreeSet::new();
    let mut last = Instant::now();
    let mut next = last;
    loop {
        let tick = tokio::select! {
            () = tokio::time::sleep_until(next) => true,
            () = poke.notified() => false,
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
        ask_all(&context, &key, &samples, &targets).await;
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
        uid: pod.metadata.uid.clone()?,
        name: pod.metadata.name.clone()?,
        ip: status.pod_ip.as_ref()?.parse().ok()?,
        component,
        ready: pods::ready_since(pod).is_some(),
    })
}

async fn ask_all(context: &Context, key: &ClusterKey, samples: &Samples, targets: &BTreeSet<Target>) {
    let questions: Vec<_> = targets
        .iter()
        .map(|target| ask_one(context, key, samples, target))
        .collect();
    stream::iter(questions)
        .buffer_unordered(POD_CALLS)
        .collect::<()>()
        .await;
}

async fn ask_one(context: &Context, key: &ClusterKey, samples: &Samples, target: &Target) {
    let answer = {
        // The semaphore is never closed; the bound holds over all clusters.
        let _slot = context.pod_calls.acquire().await;
        ask(target).await
    };
    context.metrics.sample(answer.is_ok());
    match answer {
        Ok(answer) => samples.put(target, answer),
        Err(error) => tracing::debug!(cluster = %key, pod = target.name, error = %error, "no sample"),
    }
}

async fn ask(target: &Target) -> Result<Answer, Error> {
    let failed = |problem: String| Error::Pod {
        what: format!("sample of pod {}", target.name),
        problem,
    };
    if target.component == Component::Proxy {
        let address = SocketAddr::new(target.ip, names::AGENT_PORT);
        let body = http::get(address, "/status", http::AGENT_BYTES)
            .await
            .map_err(failed)?;
        let agent = parse::agent(&body, Timestamp::now()).map_err(failed)?;
        return Ok(Answer::Agent(agent));
    }
    let address = SocketAddr::new(target.ip, names::CONTROL_PORT);
    let body = http::get(address, "/stats", http::STATS_BYTES)
        .await
        .map_err(failed)?;
    let sample = parse::stats(&body, &target.name, &target.uid, Timestamp::now()).map_err(failed)?;
    Ok(Answer::Server(sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(boot_id: &str, connections: i64) -> Sample {
        Sample {
            at: Timestamp::UNIX_EPOCH,
            pod_uid: "u".to_owned(),
            boot_id: boot_id.to_owned(),
            connections,
            capacity: 10,
            cordoned: false,
            refused_full: 0,
            shed_total: 0,
            shed_target: 0,
            broker_up: true,
            zero_in_a_row: 0,
        }
    }

    fn zeros(samples: &Samples) -> u32 {
        samples.servers(&BTreeMap::from([("chat-1".to_owned(), "u".to_owned())]))["chat-1"].zero_in_a_row
    }

    #[test]
    fn only_samples_in_a_row_of_one_process_count_as_zeros() {
        let samples = Samples::default();
        samples.sampled(sample("a", 0));
        assert_eq!(zeros(&samples), 1);
        samples.answered(sample("a", 0));
        assert_eq!(zeros(&samples), 1, "the answer to a call is no sample");
        samples.sampled(sample("a", 0));
        assert_eq!(zeros(&samples), 2);
        samples.sampled(sample("b", 0));
        assert_eq!(zeros(&samples), 1, "another process");
        samples.sampled(sample("b", 3));
        assert_eq!(zeros(&samples), 0);
        samples.answered(sample("b", 0));
        assert_eq!(zeros(&samples), 0);
    }
}
