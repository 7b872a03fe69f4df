//! How often the pods of a cluster are sampled, and how long a sample counts. Decided from facts;
//! the schedule is the shell's.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

/// The schedule adds or takes off up to a tenth.
const ACTIVE_SECONDS: i64 = 5;
const QUIET_SECONDS: i64 = 15;
/// From when a sample is due until the last one is stale: room for two more requests, since a
/// failed one makes the cluster active.
const OVERDUE_SECONDS: i64 = 10;

/// The interval at which all pods of a cluster are sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Interval {
    /// Something is under way, a sample is missing, or a threshold is near.
    #[default]
    Active,
    /// Nothing is, no fewer pods are recommended, and twice the connections would need no more.
    Quiet,
}

impl Interval {
    const fn seconds(self) -> i64 {
        match self {
            Self::Active => ACTIVE_SECONDS,
            Self::Quiet => QUIET_SECONDS,
        }
    }

    /// From one sample to the next one.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.seconds().unsigned_abs())
    }

    /// A sample after which the pod is asked again at this interval is stale when it is older.
    pub const fn fresh_for(self) -> SignedDuration {
        SignedDuration::from_secs(self.seconds() + OVERDUE_SECONDS)
    }
}

/// What the interval of a cluster depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Nothing starts, drains, fails or is held, and every server pod and proxy has responded.
    pub(crate) is_calm: bool,
    /// Pods that serve.
    pub(crate) serving: i64,
    /// Pods that are recommended now: with fewer than serve, the stabilization window may end in a
    /// scale-down.
    pub(crate) recommended: i64,
    /// Pods that twice the connections would need. Clients are not expected to double within one
    /// quiet interval.
    pub(crate) for_twice: i64,
}

pub(crate) fn interval(facts: &Facts) -> Interval {
    let may_shrink = facts.recommended < facts.serving;
    let may_grow = facts.for_twice > facts.serving;
    if facts.is_calm && !may_shrink && !may_grow {
        Interval::Quiet
    } else {
        Interval::Active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Facts = Facts {
        is_calm: true,
        serving: 3,
        recommended: 3,
        for_twice: 3,
    };

    #[test]
    fn only_calm_cluster_is_quiet() {
        assert_eq!(interval(&CALM), Interval::Quiet);
        for (what, facts) in [
            (
                "something is under way",
                Facts {
                    is_calm: false,
                    ..CALM
                },
            ),
            (
                "it may shrink",
                Facts {
                    recommended: 2,
                    ..CALM
                },
            ),
            ("it may grow", Facts { for_twice: 4, ..CALM }),
        ] {
            assert_eq!(interval(&facts), Interval::Active, "{what}");
        }
        assert_eq!(interval(&Facts { for_twice: 1, ..CALM }), Interval::Quiet);
    }

    #[test]
    fn sample_stays_fresh_after_one_failed_request() {
        for interval in [Interval::Active, Interval::Quiet] {
            // Both with the longest jitter, and the deadline of a request.
            let (due, again) = (interval.duration(), Interval::Active.duration());
            let answered = (due + again).mul_f64(1.1) + Duration::from_secs(2);
            let fresh = Duration::try_from(interval.fresh_for()).unwrap();
            assert!(answered <= fresh, "{interval:?}: {answered:?} of {fresh:?}");
        }
    }
}
