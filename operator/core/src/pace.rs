//! The rate at which a server process makes its granted moves.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::numbers::{float, since, whole};
use crate::observed::Sample;

/// A call that has no effect after this time was lost.
const ARRIVED: SignedDuration = SignedDuration::from_secs(3);
/// A process that makes no move for this time longer than its rate explains makes none.
pub(crate) const STUCK: SignedDuration = SignedDuration::from_secs(15);

/// The rate of one process, and the moves that it has not made yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pace {
    pub(crate) boot_id: String,
    pub(crate) per_second: f64,
    pub(crate) due: i64,
    /// The granted total, and when moves were last granted.
    pub(crate) total: i64,
    pub(crate) granted_at: Timestamp,
    /// Moves made, and when that number last rose.
    pub(crate) shed_total: i64,
    pub(crate) progress_at: Timestamp,
}

impl Pace {
    /// By the newest sample. The rate of moves that an earlier operator granted is not known: it is
    /// the highest.
    pub(crate) fn of(before: Option<Self>, sample: &Sample, most: i64, now: Timestamp) -> Option<Self> {
        let due = (sample.shed_target - sample.shed_total).clamp(0, sample.connections.max(0));
        let Some(mut pace) = before.filter(|pace| pace.boot_id == sample.boot_id) else {
            return (due > 0).then(|| Self {
                boot_id: sample.boot_id.clone(),
                per_second: float(most),
                due,
                total: sample.shed_target,
                granted_at: sample.at,
                shed_total: sample.shed_total,
                progress_at: now,
            });
        };
        let arrives = sample.shed_target < pace.total && since(pace.granted_at, sample.at) < ARRIVED;
        if sample.at > pace.granted_at && !arrives {
            pace.due = due;
        }
        if sample.shed_total > pace.shed_total {
            (pace.shed_total, pace.progress_at) = (sample.shed_total, now);
        }
        Some(pace)
    }

    pub(crate) fn is_moving(&self, now: Timestamp) -> bool {
        let longest = SignedDuration::from_secs(whole(float(self.due) / self.per_second)) + STUCK;
        self.due > 0 && since(self.progress_at, now) <= longest
    }
}
