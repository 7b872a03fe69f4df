//! The process in a server pod, as far as its control contract shows it.

use k8s_openapi::api::core::v1::Pod;
use wsc_contract::env::server as env;

use super::settings::{DEAD_REDIS, SICK};
use crate::resources;

/// `PUT /shed` is refused for another process than the one that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongBoot;

/// What its pod says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) port: u16,
    pub(super) capacity: i64,
    pub(super) has_redis: bool,
    /// Its template is the sick one.
    pub(super) is_sick: bool,
    pub(super) image: String,
}

impl Made {
    pub(super) fn of(pod: &Pod) -> Self {
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let value = |name: &str| {
            let variables = container.env.iter().flatten();
            let mut named = variables.filter(|variable| variable.name == name);
            named.next().and_then(|variable| variable.value.clone()).unwrap()
        };
        Self {
            port: resources::listener(pod).port.unwrap(),
            capacity: value(env::MAX_CONNECTIONS).parse().unwrap(),
            has_redis: !value(env::REDIS_URL).contains(&format!("redis-{DEAD_REDIS}:")),
            is_sick: value("TEMPLATE") == SICK.to_string(),
            image: resources::image(pod).unwrap().to_owned(),
        }
    }
}

/// What is wrong with a server, until its pod is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trait {
    /// Its limit of open files is half of what it needs.
    FewFiles,
    /// It rejects new clients at half of its connections.
    LittleMemory,
    /// It ends 30 s after it became ready, each time.
    Crashes,
    /// Its control port never answers.
    NeverSampled,
    /// It lost Redis for good.
    NoRedis,
    /// It never becomes ready.
    NeverStarts,
}

/// Time from Ready to the end of a crashing server, in seconds.
const CRASHES_AFTER: i64 = 30;

#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each changed on its own"
)]
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) boot: u64,
    pub(super) made: Made,
    pub(super) sickness: Option<Trait>,
    /// It has been ready: it waits for Redis only before that.
    pub(super) started: bool,
    /// Since when its process has served.
    serving_since: i64,
    pub(super) restarts: i32,
    /// Seconds by which the clock of its node is ahead.
    pub(super) skew: i64,
    /// It answers. A process that died is started again by its kubelet at this time.
    pub(super) down_until: Option<i64>,
    /// Its control port does not answer, though it serves.
    pub(super) cut_until: i64,
    /// The kubelet is silent, though the process runs.
    pub(super) kubelet_lost_until: i64,
    /// When it is ready for the first time; `None` if it never will be.
    pub(super) ready_at: Option<i64>,
    /// Since when it has got SIGTERM.
    pub(super) leaving_since: Option<i64>,
    pub(super) cordoned: bool,
    pub(super) target: i64,
    pub(super) done: i64,
    pub(super) refused_full: i64,
    per_second: f64,
    credit: f64,
    /// When the operator last heard from it, in truth.
    pub(super) heard_at: i64,
    /// It has been down, cut or lost, or deleted by a person: who looks at it may be wrong about
    /// it.
    pub(super) hurt: bool,
    /// Of the drain that goes on: whether moves were granted in it.
    pub(super) granted: bool,
}

impl Server {
    pub(super) fn new(boot: u64, made: Made, clock: i64, ready_at: Option<i64>) -> Self {
        Self {
            boot,
            made,
            sickness: None,
            started: false,
            serving_since: clock,
            restarts: 0,
            skew: 0,
            down_until: None,
            cut_until: 0,
            kubelet_lost_until: 0,
            ready_at,
            leaving_since: None,
            cordoned: false,
            target: 0,
            done: 0,
            refused_full: 0,
            per_second: 1.0,
            credit: 0.0,
            heard_at: clock,
            hurt: false,
            granted: false,
        }
    }

    /// Another process, which knows nothing.
    pub(super) fn reboot(&mut self, boot: u64, clock: i64) {
        *self = Self {
            sickness: self.sickness,
            started: self.started,
            serving_since: clock,
            restarts: self.restarts + 1,
            skew: self.skew,
            cut_until: self.cut_until,
            kubelet_lost_until: self.kubelet_lost_until,
            leaving_since: self.leaving_since,
            heard_at: self.heard_at,
            hurt: true,
            ..Self::new(boot, self.made.clone(), self.heard_at, self.ready_at)
        };
    }

    /// Its kubelet looks at it: the first time that it is ready, and the ends that its sickness
    /// makes.
    pub(super) fn age(&mut self, clock: i64, redis: bool) {
        let process = self.down_until.is_none() && self.ready_at.is_some_and(|at| at <= clock);
        if process
            && !self.started
            && redis
            && self.made.has_redis
            && self.sickness != Some(Trait::NeverStarts)
        {
            (self.started, self.serving_since) = (true, clock);
        }
        let old = clock - self.serving_since >= CRASHES_AFTER;
        if self.sickness == Some(Trait::Crashes) && self.serves(clock) && old {
            let pause = 10_i64 << self.restarts.min(5);
            self.down_until = Some(clock + pause.min(300));
        }
    }

    /// Connections that it says it takes.
    pub(super) fn capacity(&self) -> i64 {
        match self.sickness {
            Some(Trait::FewFiles) => self.made.capacity / 2,
            _ => self.made.capacity,
        }
    }

    /// It accepts no more than this.
    pub(super) fn limit(&self) -> i64 {
        match self.sickness {
            Some(Trait::FewFiles | Trait::LittleMemory) => self.made.capacity / 2,
            _ => self.made.capacity,
        }
    }

    pub(super) fn broker_up(&self, redis: bool) -> bool {
        redis && self.made.has_redis && self.sickness != Some(Trait::NoRedis)
    }

    /// Clients and probes of proxies get through.
    pub(super) fn serves(&self, clock: i64) -> bool {
        self.down_until.is_none() && self.started && self.ready_at.is_some_and(|at| at <= clock)
    }

    /// The control port answers, also before it is ready.
    pub(super) fn answers(&self, clock: i64) -> bool {
        let process = self.down_until.is_none() && self.ready_at.is_some_and(|at| at <= clock);
        process && self.cut_until <= clock && self.sickness != Some(Trait::NeverSampled)
    }

    /// How many moves are new with this request.
    pub(super) fn shed(&mut self, boot_id: &str, total: i64, per_second: f64) -> Result<i64, WrongBoot> {
        assert!(
            per_second > 0.0 && per_second.is_finite() && total >= 0,
            "a request that servers refuse"
        );
        if boot_id != self.boot.to_string() {
            return Err(WrongBoot);
        }
        let more = total - self.target.max(self.done);
        (self.target, self.per_second) = (total, per_second);
        Ok(more.max(0))
    }

    /// How many clients may be asked in this second.
    pub(super) fn due(&mut self) -> i64 {
        if self.done >= self.target {
            self.credit = 0.0;
            return 0;
        }
        self.credit = (self.credit + self.per_second).min(self.per_second + 1.0);
        crate::numbers::whole(self.credit).min(self.target - self.done)
    }

    pub(super) fn asked(&mut self) {
        self.done += 1;
        self.credit -= 1.0;
    }
}
