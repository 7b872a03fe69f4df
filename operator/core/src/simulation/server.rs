//! The process in a server pod, as far as its control contract shows it.

/// `PUT /shed` is refused for another process than the one that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongBoot;

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) boot: u64,
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
    /// It has been down, cut or lost, or deleted by a person: who looks at it may be wrong about it.
    pub(super) hurt: bool,
    /// Of the drain that goes on: whether moves were granted in it.
    pub(super) granted: bool,
}

impl Server {
    pub(super) fn new(boot: u64, clock: i64, ready_at: Option<i64>) -> Self {
        Self {
            boot,
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
    pub(super) fn reboot(&mut self, boot: u64) {
        *self = Self {
            cut_until: self.cut_until,
            kubelet_lost_until: self.kubelet_lost_until,
            leaving_since: self.leaving_since,
            heard_at: self.heard_at,
            hurt: true,
            ..Self::new(boot, self.heard_at, self.ready_at)
        };
    }

    /// Clients and probes of proxies get through.
    pub(super) fn serves(&self, clock: i64) -> bool {
        self.down_until.is_none() && self.ready_at.is_some_and(|at| at <= clock)
    }

    /// The control port answers.
    pub(super) fn answers(&self, clock: i64) -> bool {
        self.serves(clock) && self.cut_until <= clock
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
