//! The one count of moves: what the process of a pod was granted, what it has done, and what is
//! still due.
//!
//! A move is one connection that is closed with a request to reconnect elsewhere. Grants are
//! cumulative since the start of the process, so that a repeated or late call never adds moves, and
//! `/stats` has the grants after a restart of the operator.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::numbers::since;
use crate::observed::Sample;

/// After this time every granted move is made: a tick and the time for a graceful close.
const SETTLED: SignedDuration = SignedDuration::from_secs(15);

/// The moves of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    granted: Option<Granted>,
    /// What was done, as far as it is in the total of the resource.
    pub(crate) counted: Option<Counter>,
}

/// The highest `total` that one process was granted; it may not have accepted it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Granted {
    boot_id: String,
    total: i64,
    /// When the last moves were granted.
    at: Timestamp,
    /// Connections without a grant then. Those with one still count as connections until they are
    /// closed.
    left: i64,
    /// The grant of all remaining connections at the deadline.
    last: Option<LastGrant>,
}

/// Progress of a pod that closes its remaining connections at the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastGrant {
    /// The newest that was seen.
    shed_total: i64,
    /// When it last rose, or when the grant was made.
    pub(crate) progress_at: Timestamp,
    /// Between two clients.
    pub(crate) interval: SignedDuration,
}

/// A number that a process counts up from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    boot_id: String,
    value: i64,
}

impl Counter {
    pub(crate) fn new(boot_id: &str, value: i64) -> Self {
        Self {
            boot_id: boot_id.to_owned(),
            value,
        }
    }

    /// By how much `newer` is higher; all of it where another process counts.
    pub(crate) fn rise(&self, newer: &Self) -> i64 {
        let before = if self.boot_id == newer.boot_id {
            self.value
        } else {
            0
        };
        (newer.value - before).max(0)
    }
}

impl Moves {
    /// What this process was granted, as far as it is remembered.
    fn granted(&self, sample: &Sample) -> Option<&Granted> {
        self.granted
            .as_ref()
            .filter(|granted| granted.boot_id == sample.boot_id)
    }

    /// What this process was granted, whether the grant arrived or not.
    pub(crate) fn total(&self, sample: &Sample) -> i64 {
        self.granted(sample).map_or(sample.shed_target, |granted| {
            granted.total.max(sample.shed_target)
        })
    }

    /// Granted and not done yet.
    pub(crate) fn pending(&self, sample: &Sample) -> i64 {
        (self.total(sample) - sample.shed_total).max(0)
    }

    /// Connections without a grant. A moved connection counts until it is closed, and no new ones
    /// are accepted.
    pub(crate) fn ungranted(&self, sample: &Sample, now: Timestamp) -> i64 {
        let pending = self.pending(sample);
        let unasked = (sample.connections - pending).max(0);
        match self.granted(sample) {
            Some(granted) if pending > 0 || since(granted.at, now) < SETTLED => unasked.min(granted.left),
            _ => unasked,
        }
    }

    /// The last grant did not arrive, as far as the sample is newer than it.
    pub(crate) fn is_unacknowledged(&self, sample: &Sample) -> bool {
        sample.shed_target < self.total(sample)
    }

    /// The sample is older than the last grant.
    pub(crate) fn is_awaited(&self, sample: &Sample) -> bool {
        self.granted(sample)
            .is_some_and(|granted| sample.at <= granted.at)
    }

    /// Grants more moves; returns the new total.
    pub(crate) fn grant(&mut self, sample: &Sample, moves: i64, now: Timestamp) -> i64 {
        // A cancel may have left the target below what was shed: moves count from there.
        let total = self.total(sample).max(sample.shed_total) + moves;
        let left = (self.ungranted(sample, now) - moves).max(0);
        self.granted = Some(Granted {
            boot_id: sample.boot_id.clone(),
            total,
            at: now,
            left,
            last: None,
        });
        total
    }

    /// Marks the grant as the last one: of all connections that remain at the deadline.
    pub(crate) fn make_last(&mut self, sample: &Sample, interval: SignedDuration, now: Timestamp) {
        if let Some(granted) = &mut self.granted {
            granted.last = Some(LastGrant {
                shed_total: sample.shed_total,
                progress_at: now,
                interval,
            });
        }
    }

    /// The grant of all remaining connections of this process.
    pub(crate) fn last(&self, sample: &Sample) -> Option<&LastGrant> {
        self.granted(sample)?.last.as_ref()
    }

    /// Another pace of the last grant.
    pub(crate) fn pace_last(&mut self, sample: &Sample, interval: SignedDuration) {
        if let Some(last) = self.last_mut(sample) {
            last.interval = interval;
        }
    }

    /// Records when the process last closed one of the connections that remained at the deadline.
    pub(crate) fn note_progress(&mut self, sample: &Sample, now: Timestamp) {
        if let Some(last) = self.last_mut(sample)
            && sample.shed_total > last.shed_total
        {
            last.shed_total = sample.shed_total;
            last.progress_at = now;
        }
    }

    fn last_mut(&mut self, sample: &Sample) -> Option<&mut LastGrant> {
        let granted = self.granted.as_mut()?;
        (granted.boot_id == sample.boot_id)
            .then_some(granted.last.as_mut())
            .flatten()
    }

    /// Forgets what was granted: it is void, or was taken back.
    pub(crate) fn forget_grant(&mut self) {
        self.granted = None;
    }
}
