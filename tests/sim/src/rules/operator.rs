//! The operator: `wsc_core::decide` with default settings. Around it what the controller, the API
//! server, the agents and the servers do where nothing fails.

mod api;
mod process;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rand::RngExt;
use wsc_api::v1alpha1::{WebSocketCluster, WebSocketClusterStatus};
use wsc_contract::agent::ServerState;
use wsc_contract::names;
use wsc_core::memory::Memory;
use wsc_core::observed::{AgentServer, AgentView, Observed, PodState, PodView, ProxyView, Sample};
use wsc_core::plan::{ControlCall, ControlVerb, Plan};
use wsc_core::samples::ServerSamples;
use wsc_core::serials::Serials;
use wsc_core::validate::{Images, ValidCluster, validate};
use wsc_core::{decide, status};

use self::api::Api;
use self::process::Process;
use super::{Pods, Rules};
use crate::numbers::count;
use crate::world::{CAPACITY, World};

pub(crate) const MIN_REPLICAS: i64 = 2;
pub(crate) const MAX_REPLICAS: i64 = 100;
/// Connections of a pod at the default `targetUtilizationPercent` of 75.
pub(crate) const TARGET: i64 = CAPACITY * 75 / 100;
/// The default of `disruption.maxMovesPerSecond`.
pub(crate) const MAX_MOVES_PER_SECOND: i64 = 200;

const NAME: &str = "chat";
const PROXIES: i64 = 2;
/// Interval of samples in tenths of a second: 5 s, with a jitter of 10 %.
const TICK_TENTHS: std::ops::RangeInclusive<i64> = 45..=55;

#[derive(Debug)]
pub(crate) struct Operator {
    cluster: ValidCluster,
    memory: Memory,
    status: WebSocketClusterStatus,
    api: Api,
    samples: ServerSamples,
    serials: Serials,
    /// By serial.
    processes: BTreeMap<i64, Process>,
    agent: Option<Arc<AgentView>>,
    /// In tenths of a second.
    next_tick: Option<i64>,
    /// Of the moves of all processes.
    carry: f64,
}

impl Operator {
    /// A resource with default settings, besides its capacity and its limits.
    pub(crate) fn new() -> Result<Self> {
        let spec = format!(
            "{{server: {{maxConnections: {CAPACITY}}}, \
             scaling: {{mode: Connections, minReplicas: {MIN_REPLICAS}, maxReplicas: {MAX_REPLICAS}}}, \
             proxy: {{replicas: {PROXIES}}}}}"
        );
        let spec = serde_yaml::from_str(&spec).context("the spec of the simulated resource")?;
        let mut resource = WebSocketCluster::new(NAME, spec);
        resource.metadata.namespace = Some("default".to_owned());
        resource.metadata.uid = Some("00000000-0000-0000-0000-000000000000".to_owned());
        resource.metadata.generation = Some(1);
        let image = |name: &str| format!("registry.example.org/{name}:1");
        let images = Images {
            server: image("wsc-server"),
            proxy: image("wsc-proxy"),
            redis: image("wsc-redis"),
            operator_namespace: "operators".to_owned(),
        };
        Ok(Self {
            cluster: validate(&resource, &images)?,
            memory: Memory::default(),
            status: WebSocketClusterStatus::default(),
            api: Api::default(),
            samples: ServerSamples::default(),
            serials: Serials::default(),
            processes: BTreeMap::new(),
            agent: None,
            next_tick: None,
            carry: 0.0,
        })
    }

    /// Kubelets: pods start, become Ready, and are removed a second after their deletion.
    fn run_pods(&mut self, world: &mut World) {
        for (name, serial) in self.api.serials() {
            if self.api.is_terminating(&name) {
                world.remove(serial);
                self.processes.remove(&serial);
                self.api.gone(&name);
            } else {
                self.api
                    .observe_kubelet(&name, world.is_ready(serial), at(world.clock));
            }
        }
    }

    /// Agents apply what was published a second ago; a cordoned server rejects clients.
    fn route(&mut self, world: &mut World) {
        let ready: Vec<&str> = self
            .api
            .published()
            .into_iter()
            .flat_map(|(set, _)| &set.servers)
            .filter(|server| server.state == ServerState::Ready)
            .map(|server| server.name.as_str())
            .collect();
        for (name, serial) in self.api.serials() {
            let cordoned = self
                .processes
                .get(&serial)
                .is_some_and(|process| process.cordoned);
            world.set_rotation(serial, ready.contains(&name.as_str()) && !cordoned);
        }
    }

    fn shed(&mut self, world: &mut World) {
        for (serial, process) in &mut self.processes {
            let moved = world.move_clients(*serial, process.due(&mut self.carry));
            process.moved(moved);
        }
    }

    fn sample(&mut self, world: &World) {
        for pod in self.api.pods().values() {
            if let Some(sample) = self.stats(world, pod) {
                self.samples.sampled(sample);
            }
        }
        self.agent = Some(Arc::new(self.agent_view(world)));
    }

    fn stats(&self, world: &World, pod: &PodView) -> Option<Sample> {
        let server = world
            .servers
            .get(&pod.serial)
            .filter(|_| world.is_ready(pod.serial))?;
        let process = self.processes.get(&pod.serial)?;
        Some(Sample {
            at: at(world.clock),
            pod_uid: pod.uid.clone(),
            boot_id: pod.uid.clone(),
            connections: server.connections,
            capacity: CAPACITY,
            admits: !process.cordoned && server.connections < CAPACITY,
            cordoned: process.cordoned,
            refused_full: 0,
            shed_total: process.done,
            shed_target: process.target,
            broker_up: true,
            zero_in_a_row: 0,
        })
    }

    /// Each proxy has an equal share of the connections.
    fn agent_view(&self, world: &World) -> AgentView {
        let published = self.api.published();
        let servers = published.iter().flat_map(|(set, _)| &set.servers);
        let servers = servers.map(|server| {
            let serial = names::serial_of(NAME, &server.name).unwrap_or(-1);
            let connections = world.servers.get(&serial).map_or(0, |server| server.connections);
            let view = AgentServer {
                sessions: (connections + PROXIES - 1) / PROXIES,
                maint: server.state == ServerState::Maint,
                up: world.is_ready(serial),
                rejects: connections >= CAPACITY,
            };
            (server.name.clone(), view)
        });
        AgentView {
            at: at(world.clock),
            haproxy_version: "3.0".to_owned(),
            applied_hash: published.map_or_else(String::new, |(set, _)| set.hash.clone()),
            applied_structure: published.map_or_else(String::new, |(set, _)| set.structure.clone()),
            applied_settings: published.map_or_else(String::new, |(_, settings)| settings.clone()),
            synced: true,
            refusal: None,
            worker: None,
            servers: servers.collect(),
        }
    }

    fn observe(&mut self, now: Timestamp) -> Observed {
        let mut status = self.status.clone();
        let seen = self.api.serials().into_iter().map(|(_, serial)| serial).collect();
        status.next_serial = self.serials.observe(status.next_serial, &seen, now);
        for serial in self.serials.due(now) {
            self.serials.release(serial);
        }
        let proxy = |index: i64| ProxyView {
            name: format!("{NAME}-proxy-{index}"),
            ready: true,
            terminating: false,
            agent: self.agent.clone(),
        };
        let sample = |pod: &PodView| Some((pod.name.clone(), self.samples.get(&pod.uid)?.clone()));
        let view = |(name, pod): (&String, &PodView)| (name.clone(), pod.clone().into());
        Observed {
            status,
            generation: self.cluster.generation,
            pods: self.api.pods().iter().map(view).collect(),
            children: self.api.children().clone(),
            proxies: (0..PROXIES).map(proxy).collect(),
            samples: self.api.pods().values().filter_map(sample).collect(),
            proxy_ready: i32::try_from(PROXIES).ok(),
            redis_ready: Some(1),
            reserved_serials: self.serials.pending(),
            watches_fresh: true,
            ..Observed::default()
        }
    }

    fn pass(&mut self, world: &mut World) -> Result<()> {
        let now = at(world.clock);
        let observed = self.observe(now);
        let plan = decide(&self.cluster, &observed, &self.memory, now);
        self.apply(world, &observed, plan, now)
    }

    /// In the order of `apply` in the controller; every write succeeds.
    fn apply(&mut self, world: &mut World, observed: &Observed, plan: Plan, now: Timestamp) -> Result<()> {
        for child in &plan.apply {
            self.api.apply(child)?;
        }
        if let Some(end) = plan.reserve_serials {
            self.serials.reserve(observed.status.next_serial..end, now);
            self.status = status::with_serials(&plan.status, end);
            self.serials.confirm(end);
        }
        for pod in &plan.create_pods {
            let serial = self.api.create(NAME, pod, now)?;
            self.processes.insert(serial, Process::default());
            world.create(serial);
        }
        for mark in &plan.mark_pods {
            self.api.mark(mark);
        }
        for call in &plan.calls {
            self.call(world, call);
        }
        for delete in &plan.delete_pods {
            self.api.delete(delete);
        }
        if let Some(wanted) = status::update(Some(&self.status), &plan.status) {
            self.status = wanted;
        }
        self.memory = plan.memory;
        if !plan.create_pods.is_empty() {
            self.memory.creates_accepted();
        }
        Ok(())
    }

    fn call(&mut self, world: &World, call: &ControlCall) {
        let Some(pod) = self.api.pods().get(&call.pod) else {
            return;
        };
        let Some(process) = self.processes.get_mut(&pod.serial) else {
            return;
        };
        match call.verb {
            ControlVerb::Cordon => process.cordoned = true,
            ControlVerb::Uncordon => process.cordoned = false,
            ControlVerb::Shed {
                total, per_second, ..
            } => process.shed(total, per_second),
        }
        if let Some(sample) = self.stats(world, pod) {
            self.samples.answered(sample);
        }
    }
}

impl Rules for Operator {
    fn step(&mut self, world: &mut World) -> Result<()> {
        self.run_pods(world);
        self.route(world);
        self.shed(world);
        let tenths = world.clock * 10;
        let due = self.next_tick.is_none_or(|tick| tick <= tenths);
        if due {
            let started = self.next_tick.unwrap_or(tenths);
            self.next_tick = Some(started + world.random.random_range(TICK_TENTHS));
            self.sample(world);
        }
        if self.api.take_events() || due {
            self.pass(world)?;
        }
        Ok(())
    }

    fn pods(&self, _world: &World) -> Pods {
        let pods = self.api.pods();
        let active = pods
            .values()
            .filter(|pod| pod.state == PodState::Active && pod.ready);
        let draining = pods.values().filter(|pod| pod.drain.is_some());
        Pods {
            desired: i64::from(self.status.desired_replicas),
            active: count(active.count()),
            draining: count(draining.count()),
            existing: count(pods.len()),
        }
    }
}

/// The simulated time; which day it is matters to nothing.
fn at(clock: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365) + SignedDuration::from_secs(clock)
}
