//! What happens to the world, and when.

use proptest::prelude::*;

use super::server::Trait;
use super::settings::{DEAD_REDIS, Faults, SICK, Spec};
use super::world::World;
use wsc_api::v1alpha1::{OnDeadline, ScalingMode};

/// One thing that happens; pods are meant by their place among those that live.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Wait,
    Arrive(usize),
    Leave(usize),
    Template(u8),
    MaxConnections(i64),
    Port(u16),
    Path(&'static str),
    Origin(&'static str),
    Redis(u8),
    Mode(ScalingMode),
    Sicken(usize, Trait),
    SkewClock(usize, i64),
    MaxReplicas(i32),
    Replicas(i32),
    OnDeadline(OnDeadline),
    KillServer(usize),
    DeletePod(usize),
    LoseKubelet(usize, i64),
    CutControl(usize, i64),
    StickAgent(usize, i64),
    RedisDown(i64),
    WatchStalls(i64),
    SamplesLost(usize, i64),
    WritesLost(usize, i64),
    CallsLost(usize, i64),
    StartsFail(i64),
    OperatorEnds,
    OperatorEndsAtWrite(u64, bool),
    /// The operator of this release, with other images.
    Upgrade(u8),
}

/// What happens, and how long nothing else does.
pub(super) type Script = Vec<(Action, i64)>;

impl World {
    pub(super) fn play(&mut self, script: &Script) {
        for (action, seconds) in script {
            self.log.push(format!("{:>5} {action:?}", self.clock));
            self.happen(action);
            self.run(*seconds);
        }
    }

    fn happen(&mut self, action: &Action) {
        match *action {
            Action::Wait => {}
            Action::Arrive(clients) => self.crowd.arrive(clients),
            Action::Leave(clients) => self.crowd.leave(clients, &mut self.random),
            Action::Template(template) => self.respec(|spec| spec.template = template),
            Action::MaxConnections(most) => self.respec(|spec| spec.max_connections = most),
            Action::Port(port) => self.respec(|spec| spec.port = port),
            Action::Path(path) => self.respec(|spec| spec.path = path),
            Action::Origin(origin) => self.respec(|spec| spec.origin = origin),
            Action::Redis(redis) => self.respec(|spec| spec.redis = redis),
            Action::Mode(mode) => self.respec(|spec| spec.mode = mode),
            Action::Sicken(index, sickness) => {
                if let Some((uid, _)) = self.choose(index) {
                    let server = self.servers.get_mut(&uid).unwrap();
                    (server.sickness, server.hurt) = (Some(sickness), true);
                }
            }
            Action::SkewClock(index, seconds) => {
                if let Some((uid, _)) = self.choose(index) {
                    self.servers.get_mut(&uid).unwrap().skew = seconds;
                }
            }
            Action::MaxReplicas(most) => self.respec(|spec| spec.max_replicas = most),
            Action::Replicas(replicas) => self.respec(|spec| spec.replicas = replicas),
            Action::OnDeadline(on_deadline) => self.respec(|spec| spec.on_deadline = on_deadline),
            Action::KillServer(index) => self.kill(index),
            Action::DeletePod(index) => self.delete(index),
            Action::LoseKubelet(..) | Action::CutControl(..) | Action::StickAgent(..) => self.lose(action),
            Action::RedisDown(seconds) => self.faults.redis_down_until = self.clock + seconds,
            Action::WatchStalls(seconds) => {
                let since = self.faults.watch_stalled_since.unwrap_or(self.clock);
                self.fail(seconds, |faults| faults.watch_stalled_since = Some(since));
            }
            Action::SamplesLost(percent, seconds) => {
                self.fail(seconds, |faults| faults.samples_lost_percent = percent);
            }
            Action::WritesLost(percent, seconds) => {
                self.fail(seconds, |faults| faults.writes_lost_percent = percent);
            }
            Action::CallsLost(percent, seconds) => {
                self.fail(seconds, |faults| faults.calls_lost_percent = percent);
            }
            Action::StartsFail(seconds) => self.fail(seconds, |faults| faults.starts_fail = true),
            Action::OperatorEnds => self.crash(),
            Action::OperatorEndsAtWrite(write, after) => self.operator.dies_in = Some((write, after)),
            Action::Upgrade(release) => {
                self.release = release;
                self.crash();
            }
        }
    }

    fn fail(&mut self, seconds: i64, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults);
        self.faults.until = self.clock + seconds;
    }

    /// Uid and name of one of the pods that live.
    fn choose(&self, index: usize) -> Option<(String, String)> {
        let living: Vec<_> = self.api.living().collect();
        let pod = living.get(index % living.len().max(1))?;
        let known = self.servers.contains_key(&pod.uid);
        known.then(|| (pod.uid.clone(), pod.name.clone()))
    }

    fn kill(&mut self, index: usize) {
        let clock = self.clock;
        if let Some((uid, _)) = self.choose(index) {
            let server = self.servers.get_mut(&uid).unwrap();
            if server.ready_at.is_some_and(|at| at <= clock) {
                (server.down_until, server.hurt) = (Some(clock + 3), true);
                self.crowd.cut(&uid, clock, &mut self.random);
            }
        }
    }

    fn delete(&mut self, index: usize) {
        if let Some((uid, name)) = self.choose(index) {
            self.servers.get_mut(&uid).unwrap().hurt = true;
            self.api.touch(&name, |pod| pod.terminating = true);
        }
    }

    fn lose(&mut self, action: &Action) {
        match *action {
            Action::LoseKubelet(index, seconds) => {
                let until = self.clock + seconds;
                if let Some((uid, _)) = self.choose(index) {
                    let server = self.servers.get_mut(&uid).unwrap();
                    (server.kubelet_lost_until, server.hurt) = (until, true);
                }
            }
            Action::CutControl(index, seconds) => {
                let until = self.clock + seconds;
                if let Some((uid, _)) = self.choose(index) {
                    self.servers.get_mut(&uid).unwrap().cut_until = until;
                }
            }
            Action::StickAgent(index, seconds) => {
                let proxies = self.crowd.proxies.len();
                self.crowd.proxies[index % proxies].stuck_until = self.clock + seconds;
            }
            _ => {}
        }
    }
}

pub(super) fn specs() -> impl Strategy<Value = Spec> {
    let mode = prop_oneof![4 => Just(ScalingMode::Connections), 1 => Just(ScalingMode::Replicas)];
    let on_deadline = prop_oneof![3 => Just(OnDeadline::Close), 1 => Just(OnDeadline::Wait)];
    let spec = (mode, on_deadline, 2..8_i32, 4..9_i32, 1..=3_i64);
    spec.prop_map(
        |(mode, on_deadline, replicas, max_replicas, moves_per_second)| Spec {
            moves_per_second,
            ..Spec::new(mode, on_deadline, replicas, max_replicas)
        },
    )
}

/// Clients come and go, people change the resource; nothing fails.
fn ordinary() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => Just(Action::Wait),
        6 => (1..60_usize).prop_map(Action::Arrive),
        6 => (1..60_usize).prop_map(Action::Leave),
        2 => (0..SICK).prop_map(Action::Template),
        1 => prop_oneof![Just(12_i64), Just(20), Just(40)].prop_map(Action::MaxConnections),
        1 => prop_oneof![Just(8080_u16), Just(8081)].prop_map(Action::Port),
        1 => prop_oneof![Just("/ws"), Just("/chat")].prop_map(Action::Path),
        1 => prop_oneof![Just("*"), Just("https://example.org")].prop_map(Action::Origin),
        1 => (0..DEAD_REDIS).prop_map(Action::Redis),
        1 => prop_oneof![Just(ScalingMode::Connections), Just(ScalingMode::Replicas)].prop_map(Action::Mode),
        1 => (2..9_i32).prop_map(Action::MaxReplicas),
        1 => (0..9_i32).prop_map(Action::Replicas),
        1 => prop_oneof![Just(OnDeadline::Close), Just(OnDeadline::Wait)].prop_map(Action::OnDeadline),
    ]
}

/// What may befall one pod.
fn traits() -> impl Strategy<Value = Trait> {
    prop_oneof![
        Just(Trait::FewFiles),
        Just(Trait::LittleMemory),
        Just(Trait::Crashes),
        Just(Trait::NeverSampled),
        Just(Trait::NoRedis),
    ]
}

fn faults() -> impl Strategy<Value = Action> {
    prop_oneof![
        (0..8_usize).prop_map(Action::KillServer),
        (0..8_usize).prop_map(Action::DeletePod),
        (0..8_usize, 10..400_i64).prop_map(|(pod, seconds)| Action::LoseKubelet(pod, seconds)),
        (0..8_usize, 5..400_i64).prop_map(|(pod, seconds)| Action::CutControl(pod, seconds)),
        (0..2_usize, 5..200_i64).prop_map(|(proxy, seconds)| Action::StickAgent(proxy, seconds)),
        (1..60_i64).prop_map(Action::RedisDown),
        (2..200_i64).prop_map(Action::WatchStalls),
        (10..=100_usize, 5..120_i64).prop_map(|(percent, seconds)| Action::SamplesLost(percent, seconds)),
        (10..80_usize, 5..60_i64).prop_map(|(percent, seconds)| Action::WritesLost(percent, seconds)),
        (10..60_usize, 5..60_i64).prop_map(|(percent, seconds)| Action::CallsLost(percent, seconds)),
        (5..60_i64).prop_map(Action::StartsFail),
        Just(Action::Template(SICK)),
        Just(Action::Redis(DEAD_REDIS)),
        (0..8_usize, traits()).prop_map(|(pod, sickness)| Action::Sicken(pod, sickness)),
        (0..8_usize, -900..900_i64).prop_map(|(pod, seconds)| Action::SkewClock(pod, seconds)),
        Just(Action::OperatorEnds),
        (0..12_u64, any::<bool>()).prop_map(|(write, after)| Action::OperatorEndsAtWrite(write, after)),
    ]
}

/// Only what people and clients do.
pub(super) fn ordinary_scripts() -> impl Strategy<Value = Script> {
    lives(ordinary().boxed())
}

/// The operator is upgraded, too, and back.
pub(super) fn scripts_with_upgrades() -> impl Strategy<Value = Script> {
    let upgrade = (0..3_u8).prop_map(Action::Upgrade);
    lives(prop_oneof![5 => ordinary(), 1 => upgrade].boxed())
}

/// Many ordinary things and some faults, close together and far apart.
pub(super) fn scripts() -> impl Strategy<Value = Script> {
    lives(prop_oneof![3 => ordinary(), 2 => faults()].boxed())
}

fn lives(action: BoxedStrategy<Action>) -> impl Strategy<Value = Script> {
    let pause = prop_oneof![3 => 1..20_i64, 2 => 20..90_i64];
    let begin = (10..80_usize).prop_map(|clients| (Action::Arrive(clients), 40));
    (begin, prop::collection::vec((action, pause), 4..24)).prop_map(|(begin, mut rest)| {
        rest.insert(0, begin);
        rest
    })
}
