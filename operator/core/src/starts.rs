//! Server pods of the current template that do not come up: that fail to start, that end soon after
//! they became ready, and that the API server rejects. Each kind counts in a row of its own; a long
//! row stalls the pool until it ends or the template changes.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::failures::{Cause, Problem};
use crate::numbers::whole_second;

/// This number of failures in a row is no accident.
const STALLED_AFTER: u32 = 3;
/// A quota that was used up for a moment, by a pod that was about to go, rejects no second attempt.
const QUOTA_AFTER: u32 = 2;

/// Failures of pods of one template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Starts {
    revision: String,
    /// Pods that were never ready; one that becomes ready ends the row.
    pub(crate) failed: Row,
    /// Servers that ended soon after their pod had become ready; ends when the template is proven.
    pub(crate) crashed: Row,
    /// Pods that the API server rejected; one that it accepts ends the row.
    rejected: Row,
    /// Creates that failed without a rejection; one that succeeds ends the row.
    unanswered: Row,
    /// Rejections in a row because a quota is used up.
    over_quota: u32,
    /// Serving pods of the template when an old pod last drained to make room for one more.
    pub(crate) made_room_at: Option<i32>,
    /// A pod has been ready long enough that a crash is not caused by the template.
    pub(crate) proven: bool,
}

/// Failures of one kind, in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) count: u32,
    last_at: Option<Timestamp>,
    /// Cause of the last one, for messages.
    pub(crate) reason: String,
}

/// Why new pods do not come up: a reason of the condition `Stalled`, and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Pauses between attempts: the first after `from` failures, doubled by each further one.
struct Pauses {
    from: u32,
    first: SignedDuration,
    longest: SignedDuration,
}

/// Pods that start and fail use resources; a create that is rejected does not, and quotas are
/// raised by hand.
const AFTER_FAILURES: Pauses = Pauses {
    from: STALLED_AFTER,
    first: SignedDuration::from_secs(10),
    longest: SignedDuration::from_secs(300),
};
const AFTER_REJECTIONS: Pauses = Pauses {
    from: 1,
    first: SignedDuration::from_secs(5),
    longest: SignedDuration::from_secs(60),
};

impl Row {
    /// Counts one failure, unless the attempt began before the last one: pods that were created
    /// together are one attempt.
    pub(crate) fn fail(&mut self, began: Timestamp, reason: String, now: Timestamp) -> bool {
        if self.last_at.is_some_and(|last| began < last) {
            return false;
        }
        self.count = self.count.saturating_add(1);
        self.last_at = Some(whole_second(now));
        self.reason = reason;
        true
    }

    fn is_long(&self) -> bool {
        self.count >= STALLED_AFTER
    }

    /// When the next attempt may begin.
    fn next_try(&self, pauses: &Pauses) -> Option<Timestamp> {
        let more = self.count.checked_sub(pauses.from)?;
        let pause = (pauses.first * (1_i32 << more.min(8))).min(pauses.longest);
        self.last_at.map(|at| at + pause)
    }
}

impl Starts {
    pub(crate) fn create_failed(&mut self, problem: &Problem, now: Timestamp) {
        let row = match problem.cause {
            Cause::Quota | Cause::Object => &mut self.rejected,
            Cause::Call => &mut self.unanswered,
        };
        row.fail(now, problem.message.clone(), now);
        self.over_quota = match problem.cause {
            Cause::Quota => self.over_quota.saturating_add(1),
            Cause::Object => 0,
            Cause::Call => self.over_quota,
        };
    }

    pub(crate) fn create_succeeded(&mut self) {
        (self.rejected, self.unanswered) = (Row::default(), Row::default());
        self.over_quota = 0;
    }

    /// A pod has been ready for long: a crash from now on is not caused by the template.
    pub(crate) fn prove(&mut self) {
        self.crashed = Row::default();
        self.proven = true;
    }

    /// Why the last pod was not created.
    pub(crate) fn refusal(&self) -> Option<&str> {
        let rows = [&self.rejected, &self.unanswered].into_iter();
        let last = rows.filter(|row| row.count > 0).max_by_key(|row| row.last_at)?;
        Some(&last.reason)
    }

    /// Why the quota allows no more pods, if it is used up.
    pub(crate) fn used_up_quota(&self) -> Option<&str> {
        (self.over_quota >= QUOTA_AFTER).then_some(&*self.rejected.reason)
    }

    /// When the next pod may be created; `None`: at once.
    pub(crate) fn next_try(&self) -> Option<Timestamp> {
        let failures = [&self.failed, &self.crashed].map(|row| row.next_try(&AFTER_FAILURES));
        let creates = [&self.rejected, &self.unanswered].map(|row| row.next_try(&AFTER_REJECTIONS));
        failures.into_iter().chain(creates).flatten().max()
    }

    /// Pods that run fail; more of them would not help.
    pub(crate) fn pods_fail(&self) -> bool {
        self.failed.is_long() || self.crashed.is_long()
    }

    /// Too many failures in a row.
    pub(crate) fn stall(&self) -> Option<Stall> {
        let stall = |row: &Row, reason, what: &str, remedy: &str| {
            row.is_long().then(|| Stall {
                reason,
                message: format!("{what}: {}. Running pods are kept; {remedy}", row.reason),
            })
        };
        let fix = "change server.image, server.env or server.resources";
        stall(
            &self.failed,
            "PodStartFailed",
            "several consecutive server pods failed to start",
            fix,
        )
        .or_else(|| {
            let what = "server pods of the current template end soon after they became ready";
            stall(&self.crashed, "PodCrashed", what, fix)
        })
        .or_else(|| {
            let what = "the API server rejects server pods";
            let remedy = "raise the quota, change the policy or change spec.server";
            stall(&self.rejected, "PodRejected", what, remedy)
        })
    }

    /// Another revision has no failures yet.
    pub(crate) fn update(&mut self, revision: &str) {
        if self.revision != revision {
            *self = Self {
                revision: revision.to_owned(),
                ..Self::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::after;

    fn row(failures: &[(i64, i64)]) -> Row {
        let mut row = Row::default();
        for (began, failed) in failures {
            row.fail(after(*began), "x".to_owned(), after(*failed));
        }
        row
    }

    #[test]
    fn pods_that_began_together_are_one_attempt() {
        assert_eq!(row(&[(0, 90), (0, 90), (1, 91)]).count, 1);
        assert_eq!(row(&[(0, 90), (90, 180), (91, 181)]).count, 2);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pause = |failures: u32, pauses: &Pauses| {
            let row = Row {
                count: failures,
                last_at: Some(after(0)),
                reason: String::new(),
            };
            row.next_try(pauses)
                .map(|at| at.duration_since(after(0)).as_secs())
        };
        assert_eq!(
            [2, 3, 4, 7, 8, 99].map(|failures| pause(failures, &AFTER_FAILURES)),
            [None, Some(10), Some(20), Some(160), Some(300), Some(300)]
        );
        assert_eq!(
            [0, 1, 2, 4, 5, 99].map(|failures| pause(failures, &AFTER_REJECTIONS)),
            [None, Some(5), Some(10), Some(40), Some(60), Some(60)]
        );
    }

    #[test]
    fn rejection_is_no_template_failure() {
        let starts = Starts {
            rejected: row(&[(0, 0), (5, 5), (15, 15)]),
            ..Starts::default()
        };
        assert_eq!(starts.stall().unwrap().reason, "PodRejected");
        assert!(!starts.pods_fail());
    }
}
