//! A cluster at one moment, for plans that a person can follow.

use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::common::CommonMetadata;
use crate::decide;
use crate::live::LiveChild;
use crate::memory::Memory;
use crate::observed::{AgentServer, AgentView, ChildView, Observed, PodState, PodView, ProxyView, Sample};
use crate::plan::Plan;
use crate::testing;
use crate::validate::ValidCluster;
use crate::{numbers, resources};
use wsc_contract::agent::WorkerCounters;
use wsc_contract::{labels, names};

pub(super) const BOUNDS: &str = "scaling: {minReplicas: 2, maxReplicas: 20}";

/// Everything that a plan is made of. Pods take 100 connections and should have 75.
pub(super) struct Scene {
    pub(super) cluster: ValidCluster,
    pub(super) observed: Observed,
    pub(super) memory: Memory,
    pub(super) now: Timestamp,
}

impl Scene {
    /// A cluster that was just made, with this spec besides `server.maxConnections: 100`.
    pub(super) fn fresh(spec: &str) -> Self {
        let cluster = testing::cluster(&format!("server: {{maxConnections: 100}}\n{spec}"));
        let observed = Observed {
            generation: 1,
            watches_fresh: true,
            ..Observed::default()
        };
        Self {
            cluster,
            observed,
            memory: Memory::default(),
            now: testing::start(),
        }
    }

    /// The same cluster after an hour, with these connections on its pods: no step is due.
    pub(super) fn running(spec: &str, connections: &[i64]) -> Self {
        let mut scene = Self::fresh(spec);
        for (serial, connections) in (0..).zip(connections) {
            scene.add(testing::pod(serial), *connections);
        }
        let long_ago = scene.now - SignedDuration::from_hours(1);
        scene.observed.proxies = vec![proxy("chat-proxy-a"), proxy("chat-proxy-b")];
        scene.observed.proxy_ready = Some(2);
        scene.observed.redis_ready = Some(1);
        scene.observed.status.desired_replicas = numbers::count(connections.len());
        scene.memory.fresh_since = Some(long_ago);
        scene.memory.wanted = vec![(scene.now, numbers::count(connections.len()))];
        scene.memory.budget.filled_at = Some(scene.now);
        scene.sample();
        // Twice, because the proxies' answer to what is published comes after it.
        for _ in 0..2 {
            let plan = scene.step(0);
            scene.adopt(&plan);
            scene.sample();
        }
        scene.memory.started_at = Some(long_ago);
        scene
    }

    pub(super) fn add(&mut self, mut pod: PodView, connections: i64) {
        if pod.template_hash.is_empty() {
            pod.template_hash = resources::template_hash(&self.cluster);
        }
        let mut sample = testing::sample(&pod, connections);
        sample.at = self.now;
        self.observed.samples.insert(pod.name.clone(), sample);
        self.observed.pods.insert(pod.name.clone(), pod.into());
    }

    pub(super) fn pod(&mut self, serial: i64) -> &mut PodView {
        let name = names::server_pod("chat", serial);
        self.observed.pods.get_mut(&name).unwrap()
    }

    pub(super) fn said(&mut self, serial: i64) -> &mut Sample {
        let name = names::server_pod("chat", serial);
        self.observed.samples.get_mut(&name).unwrap()
    }

    /// What the agent of this proxy reports from now on.
    pub(super) fn agent(&mut self, index: usize) -> &mut AgentView {
        Arc::make_mut(self.observed.proxies[index].agent.as_mut().unwrap())
    }

    /// Counters of the HAProxy of this proxy.
    pub(super) fn haproxy(&mut self, index: usize) -> &mut WorkerCounters {
        self.agent(index).worker.as_mut().unwrap()
    }

    /// Time passes, and a plan is made.
    pub(super) fn step(&mut self, seconds: i64) -> Plan {
        self.now += SignedDuration::from_secs(seconds);
        let plan = decide(&self.cluster, &self.observed, &self.memory, self.now);
        self.memory = plan.memory.clone();
        plan
    }

    /// Everybody answers again, with the connections that there are.
    pub(super) fn sample(&mut self) {
        for sample in self.observed.samples.values_mut() {
            sample.at = self.now;
            sample.zero_in_a_row = if sample.connections == 0 {
                sample.zero_in_a_row + 1
            } else {
                0
            };
        }
        for proxy in &mut self.observed.proxies {
            if let Some(agent) = proxy.agent.as_mut().map(Arc::make_mut) {
                agent.at = self.now;
            }
        }
    }

    /// Time passes, everybody answers, and a plan is made.
    pub(super) fn tick(&mut self, seconds: i64) -> Plan {
        self.now += SignedDuration::from_secs(seconds);
        self.sample();
        self.step(0)
    }

    /// Everything that was planned got through, and the watch shows it.
    pub(super) fn adopt(&mut self, plan: &Plan) {
        for child in &plan.apply {
            let annotations = child.metadata().annotations.as_ref().unwrap();
            let view = ChildView {
                uid: "child".to_owned(),
                applied_hash: annotations.get(labels::APPLIED_HASH).cloned(),
                object: Arc::new(LiveChild::new(&testing::live(child))),
                terminating: false,
            };
            self.observed.children.insert(child.key(), view);
        }
        for created in &plan.create_pods {
            let name = created.metadata.name.as_deref().unwrap();
            let serial = names::serial_of("chat", name).unwrap();
            let pod = PodView {
                state: PodState::Starting,
                ready: false,
                ready_since: None,
                created: self.now,
                common: CommonMetadata::of(&created.metadata),
                listener: resources::listener(created),
                template_hash: resources::template_hash(&self.cluster),
                ..testing::pod(serial)
            };
            self.observed.pods.insert(pod.name.clone(), pod.into());
        }
        for mark in &plan.mark_pods {
            let pod = self.observed.pods.get_mut(&mark.name).unwrap();
            (pod.state, pod.drain) = (mark.state, mark.drain);
            pod.resource_version = next(&pod.resource_version);
        }
        for update in &plan.update_pods {
            let pod = self.observed.pods.get_mut(&update.name).unwrap();
            pod.common.clone_from(&update.common);
            pod.resource_version = next(&pod.resource_version);
        }
        for delete in &plan.delete_pods {
            self.observed.pods.remove(&delete.name);
            self.observed.samples.remove(&delete.name);
        }
        self.observed.status = plan.status.clone();
        self.publish(plan);
    }

    /// The proxies take over what was published.
    fn publish(&mut self, plan: &Plan) {
        let map = plan.apply.iter().find_map(|child| match child {
            crate::plan::Child::ConfigMap(map) => map.data.as_ref(),
            _ => None,
        });
        let Some(data) = map else {
            return;
        };
        let set = wsc_haproxy::BackendSet::from_json(&data["backends.json"]).unwrap();
        let settings = wsc_haproxy::Settings::from_json(&data["settings.json"]).unwrap();
        for proxy in &mut self.observed.proxies {
            let Some(agent) = proxy.agent.as_mut().map(Arc::make_mut) else {
                continue;
            };
            agent.applied_hash.clone_from(&set.hash);
            agent.applied_structure.clone_from(&set.structure);
            settings.hash().clone_into(&mut agent.applied_settings);
            let servers = set.servers.iter().map(|server| {
                let before = agent.servers.get(&server.name);
                let view = AgentServer {
                    sessions: before.map_or(0, |before| before.sessions),
                    maint: server.state == wsc_contract::agent::ServerState::Maint,
                    up: before.is_none_or(|before| before.up),
                    rejects: before.is_some_and(|before| before.rejects),
                };
                (server.name.clone(), view)
            });
            agent.servers = servers.collect();
        }
    }

    /// The pod's server did what it was told last.
    pub(super) fn obey(&mut self, plan: &Plan) {
        for call in &plan.calls {
            let Some(sample) = self.observed.samples.get_mut(&call.pod) else {
                continue;
            };
            match &call.verb {
                crate::plan::ControlVerb::Cordon => sample.cordoned = true,
                crate::plan::ControlVerb::Uncordon => sample.cordoned = false,
                crate::plan::ControlVerb::Shed { total, .. } => {
                    let moves = (*total - sample.shed_total).clamp(0, sample.connections);
                    sample.shed_target = *total;
                    sample.shed_total += moves;
                    sample.connections -= moves;
                }
            }
        }
    }
}

fn next(version: &str) -> String {
    (version.parse::<u64>().unwrap() + 1).to_string()
}

pub(super) fn proxy(name: &str) -> ProxyView {
    ProxyView {
        name: name.to_owned(),
        ready: true,
        terminating: false,
        agent: Some(Arc::new(AgentView {
            at: testing::start(),
            haproxy_version: "3.0.11".to_owned(),
            applied_hash: String::new(),
            applied_structure: String::new(),
            applied_settings: String::new(),
            synced: true,
            refusal: None,
            worker: Some(WorkerCounters {
                id: "7-1".to_owned(),
                ..WorkerCounters::default()
            }),
            servers: std::collections::BTreeMap::new(),
        })),
    }
}
