//! Time passes: clients connect and disconnect, pods start and end, and the operator runs.

use super::invariants;
use super::operator::Operator;
use super::pass;
use super::server::Server;
use super::settings::{Faults, at};
use super::world::World;
use crate::observed::{PodPhase, PodView};

/// A pod that gets SIGTERM is gone by then.
const GRACE: i64 = 15;

impl World {
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
        if self.crowd.connected() == 0 && !self.was_ready {
            self.ledger.unserved_at_first = self.crowd.unserved;
        }
        for uid in arrivals {
            invariants::arrived(self, &uid);
        }
        let moves = uids.values().map(|uid| self.shed(uid)).sum();
        invariants::moved(self, moves);
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
            let made = self.api.made[&pod.uid].clone();
            let mut server = Server::new(self.boots, made, clock, ready_at);
            server.sickness = server.made.is_sick.then_some(self.sickness);
            server.hurt = server.made.is_sick;
            self.servers.insert(pod.uid.clone(), server);
            let host = u8::try_from(pod.serial % 250).unwrap();
            self.api.touch(name, |pod| {
                pod.ip = Some([10, 0, 0, host].into());
                pod.node = Some(format!("node-{}", pod.serial % 3));
                pod.phase = PodPhase::Running;
                pod.scheduled = true;
            });
            return;
        }
        let redis = self.faults.redis_down_until <= clock;
        let server = self.servers.get_mut(&pod.uid).unwrap();
        if server.down_until.is_some_and(|until| until <= clock) {
            self.boots += 1;
            server.reboot(self.boots, clock);
        }
        let before = server.serves(clock);
        server.age(clock, redis);
        if before && !server.serves(clock) {
            self.ledger.cut += self.crowd.cut(&pod.uid, clock, &mut self.random);
        }
        let kubelet = server.kubelet_lost_until <= clock;
        let ready = kubelet && server.serves(clock);
        let (restarts, since) = (server.restarts, at(clock + server.skew));
        let waits = server.down_until.map(|_| "CrashLoopBackOff".to_owned());
        if pod.terminating {
            if kubelet {
                self.terminate(&pod);
            }
        } else if pod.ready != ready || pod.node_ready != kubelet || pod.restarts != restarts {
            self.api.touch(name, |pod| {
                pod.node_ready = kubelet;
                pod.restarts = restarts;
                pod.waiting_reason = waits;
                pod.ready_since = ready.then(|| pod.ready_since.unwrap_or(since));
                pod.ready = ready;
            });
        }
    }

    /// SIGTERM: all clients are closed within the grace period.
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

    /// Returns the number of clients that are requested to reconnect in this second.
    fn shed(&mut self, uid: &str) -> i64 {
        let clock = self.clock;
        let Some(server) = self.servers.get_mut(uid).filter(|server| server.serves(clock)) else {
            return 0;
        };
        let mut asked = 0;
        for _ in 0..server.due() {
            if self.crowd.ask_one(uid, clock, &mut self.random) {
                server.asked();
                asked += 1;
            }
        }
        asked
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
            self.operator = Operator::start(&self.api, self.clock);
        }
        if self.operator.is_round_due(self.clock) {
            let jitter = self.random.seconds(3) - 1;
            self.operator.begin_round(self.clock, jitter);
            pass::sample(self);
            self.operator.poked |= pass::is_due(self);
        }
        if std::mem::take(&mut self.operator.poked) && pass::pass(self).is_err() {
            self.crash();
        }
    }
}
