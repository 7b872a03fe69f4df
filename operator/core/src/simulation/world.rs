//! A cluster on a small virtual Kubernetes: seconds pass, clients come and go, pods start and die, and the operator looks and acts.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use wsc_api::v1alpha1::{OnDeadline, ScalingMode};

use super::api::{Api, Event};
use super::clients::Crowd;
use super::invariants::{self, Ledger};
use super::operator::{self, Operator};
use super::random::Random;
use super::server::Server;
use crate::observed::{PodPhase, PodView};
use crate::testing;
use crate::validate::ValidCluster;

/// Connections that a pod takes.
pub(super) const CAPACITY: i64 = 20;
/// The target of 75 %.
pub(super) const TARGET: i64 = 15;
pub(super) const MOVES_PER_SECOND: f64 = 1.0;
pub(super) const MOST_DRAINS: usize = 2;
/// A pod that gets SIGTERM is gone by then.
const GRACE: i64 = 15;

pub(super) fn at(clock: i64) -> Timestamp {
    testing::start() + k8s_openapi::jiff::SignedDuration::from_secs(clock)
}

/// What the resource says.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) mode: ScalingMode,
    pub(super) on_deadline: OnDeadline,
    pub(super) replicas: i32,
    pub(super) max_replicas: i32,
    pub(super) template: u8,
}

impl Spec {
    fn cluster(&self, generation: i64) -> ValidCluster {
        let yaml = format!(
            "
replicas: {}
scaling:
  mode: {:?}
  minReplicas: 2
  maxReplicas: {}
  behavior: {{scaleDown: {{stabilizationWindowSeconds: 30}}}}
server: {{maxConnections: {CAPACITY}, env: [{{name: TEMPLATE, value: '{}'}}]}}
drain: {{naturalSeconds: 20, deadlineSeconds: 120, onDeadline: {:?}}}
disruption: {{movesPerMinute: 60, maxMovesPerSecond: 3, maxConcurrentDrains: {MOST_DRAINS}}}
",
            self.replicas, self.mode, self.max_replicas, self.template, self.on_deadline
        );
        let mut cluster = testing::cluster(&yaml);
        cluster.generation = generation;
        cluster
    }
}

/// What goes wrong now.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) until: i64,
    pub(super) writes_lost_percent: usize,
    pub(super) calls_lost_percent: usize,
    pub(super) samples_lost_percent: usize,
    pub(super) watch_stalled_since: Option<i64>,
    pub(super) redis_down_until: i64,
    pub(super) starts_fail: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: i64,
    pub(super) random: Random,
    pub(super) spec: Spec,
    pub(super) cluster: ValidCluster,
    pub(super) api: Api,
    /// By pod uid.
    pub(super) servers: BTreeMap<String, Server>,
    pub(super) crowd: Crowd,
    pub(super) operator: Operator,
    /// There is no operator before this.
    pub(super) operator_down_until: Option<i64>,
    pub(super) faults: Faults,
    pub(super) ledger: Ledger,
    /// Writes that the API server has taken or refused.
    pub(super) writes: u64,
    pub(super) log: Vec<String>,
    /// The operator ends at this write of all, before or after it.
    pub(super) ends_at_write: Option<(u64, bool)>,
    was_ready: bool,
    in_flight: Vec<Event>,
    boots: u64,
}

impl World {
    pub(super) fn new(seed: u64, spec: Spec) -> Self {
        let cluster = spec.cluster(1);
        let mut world = Self {
            clock: 0,
            random: Random::new(seed),
            spec,
            cluster,
            api: Api::default(),
            servers: BTreeMap::new(),
            crowd: Crowd::default(),
            operator: Operator::default(),
            operator_down_until: Some(0),
            faults: Faults::default(),
            ledger: Ledger::default(),
            writes: 0,
            log: Vec::new(),
            ends_at_write: None,
            was_ready: false,
            in_flight: Vec::new(),
            boots: 0,
        };
        world.crowd.proxies = vec![super::clients::Proxy::default(); 2];
        world
    }

    pub(super) fn respec(&mut self, change: impl FnOnce(&mut Spec)) {
        change(&mut self.spec);
        self.cluster = self.spec.cluster(self.cluster.generation + 1);
        self.operator.poked = true;
    }

    /// Uids by pod name.
    pub(super) fn uids(&self) -> BTreeMap<String, String> {
        let pods = self.api.pods.values();
        pods.map(|pod| (pod.name.clone(), pod.uid.clone())).collect()
    }

    pub(super) fn crash(&mut self) {
        let pause = 1 + self.random.seconds(20);
        self.operator_down_until = Some(self.clock + pause);
        self.log.push(format!("{:>5} the operator ends", self.clock));
    }

    pub(super) fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.step();
        }
    }

    fn step(&mut self) {
        self.clock += 1;
        if self.faults.until <= self.clock {
            let redis_down_until = self.faults.redis_down_until;
            self.faults = Faults {
                redis_down_until,
                ..Faults::default()
            };
        }
        for name in self.api.pods.keys().cloned().collect::<Vec<_>>() {
            self.kubelet(&name);
        }
        let uids = self.uids();
        let arrivals = self.crowd.step(
            self.clock,
            self.api.published.as_ref(),
            &mut self.servers,
            &uids,
            &mut self.random,
        );
        for uid in arrivals {
            invariants::arrived(self, &uid);
        }
        for uid in uids.values() {
            self.shed(uid);
        }
        self.watch();
        self.operate();
        let conditions = &self.api.resource.status.conditions;
        let mut ready = conditions.iter().filter(|condition| condition.type_ == "Ready");
        let is_ready = ready.any(|condition| condition.status == "True");
        self.ledger.ready_lost += usize::from(self.was_ready && !is_ready);
        self.was_ready = is_ready;
    }

    /// Makes the pod what its kubelet makes of it.
    fn kubelet(&mut self, name: &str) {
        let pod = self.api.pods[name].clone();
        let clock = self.clock;
        if !self.servers.contains_key(&pod.uid) {
            self.boots += 1;
            let ready_at = (!self.faults.starts_fail).then(|| clock + 2 + self.random.seconds(6));
            let server = Server::new(self.boots, clock, ready_at);
            self.servers.insert(pod.uid.clone(), server);
            let host = u8::try_from(pod.serial % 250).unwrap();
            self.api.touch(name, |pod| {
                pod.ip = Some([10, 0, 0, host].into());
                pod.node = Some(format!("node-{}", pod.serial % 3));
                pod.phase = PodPhase::Running;
            });
            return;
        }
        let server = self.servers.get_mut(&pod.uid).unwrap();
        if server.down_until.is_some_and(|until| until <= clock) {
            self.boots += 1;
            server.reboot(self.boots);
        }
        let kubelet = server.kubelet_lost_until <= clock;
        let ready = kubelet && server.serves(clock);
        if pod.terminating {
            if kubelet {
                self.terminate(&pod);
            }
        } else if pod.ready != ready || pod.node_ready != kubelet {
            self.api.touch(name, |pod| {
                pod.node_ready = kubelet;
                pod.ready_since = ready.then(|| pod.ready_since.unwrap_or_else(|| at(clock)));
                pod.ready = ready;
            });
        }
    }

    /// SIGTERM: everybody is asked within the grace period.
    fn terminate(&mut self, pod: &PodView) {
        let clock = self.clock;
        let server = self.servers.get_mut(&pod.uid).unwrap();
        let since = *server.leaving_since.get_or_insert(clock);
        for _ in 0..3 {
            self.crowd.ask_one(&pod.uid, clock, &mut self.random);
        }
        if self.crowd.on(&pod.uid).0 == 0 || clock - since >= GRACE {
            self.ledger.cut += self.crowd.cut(&pod.uid, clock, &mut self.random);
            self.servers.remove(&pod.uid);
            self.api.gone(&pod.name);
        }
    }

    fn shed(&mut self, uid: &str) {
        let clock = self.clock;
        let Some(server) = self.servers.get_mut(uid).filter(|server| server.serves(clock)) else {
            return;
        };
        for _ in 0..server.due() {
            if self.crowd.ask_one(uid, clock, &mut self.random) {
                server.asked();
            }
        }
    }

    /// Events arrive in order, sometimes late.
    fn watch(&mut self) {
        let news = std::mem::take(&mut self.api.events);
        if self.operator_down_until.is_some() {
            self.in_flight.clear();
            return;
        }
        if self.faults.watch_stalled_since.is_none() && !self.random.chance(20) {
            for event in std::mem::take(&mut self.in_flight) {
                self.operator.deliver(event);
            }
        }
        self.in_flight.extend(news);
    }

    fn operate(&mut self) {
        if let Some(until) = self.operator_down_until {
            if until > self.clock {
                return;
            }
            self.operator_down_until = None;
            self.crowd.forget();
            self.operator = Operator::start(self);
        }
        if self.operator.next_tick <= self.clock {
            self.operator.next_tick = self.clock + 4 + self.random.seconds(3);
            operator::sample(self);
            self.operator.poked = true;
        }
        if !std::mem::take(&mut self.operator.poked) {
            return;
        }
        if operator::pass(self).is_err() {
            self.crash();
        }
    }
}
