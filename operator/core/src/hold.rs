//! What is held back, why, and what ends it. A hold protects capacity that works, and never blocks
//! its own cure: growing is never held, and a pod that is sick by the measure of the hold may be
//! replaced.

use crate::pool::{Member, Role};

/// What a hold forbids; each forbids what is before it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Forbids {
    /// Fewer pods.
    Shrink,
    /// Any drain that the operator starts on its own, also one of a rollout.
    Drain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    StaleWatch,
    ChildConflict,
    RedisUnreachable,
    StatsUnavailable,
    SamplesMissing,
    ConnectionsRejected,
    Panic,
    WindowIncomplete,
}

/// One hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) reason: Reason,
    /// What happened.
    pub(crate) message: String,
}

/// The holds in force, the most general first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holds(Vec<Hold>);

impl Reason {
    pub(crate) const ALL: [Self; 8] = [
        Self::StaleWatch,
        Self::ChildConflict,
        Self::RedisUnreachable,
        Self::StatsUnavailable,
        Self::SamplesMissing,
        Self::ConnectionsRejected,
        Self::Panic,
        Self::WindowIncomplete,
    ];

    /// The label of the metric and the word in messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::StaleWatch => "StaleWatch",
            Self::ChildConflict => "ChildConflict",
            Self::RedisUnreachable => "RedisUnreachable",
            Self::StatsUnavailable => "StatsUnavailable",
            Self::SamplesMissing => "SamplesMissing",
            Self::ConnectionsRejected => "ConnectionsRejected",
            Self::Panic => "Panic",
            Self::WindowIncomplete => "WindowIncomplete",
        }
    }

    pub(crate) fn forbids(self) -> Forbids {
        match self {
            Self::SamplesMissing | Self::ConnectionsRejected | Self::WindowIncomplete => Forbids::Shrink,
            Self::StaleWatch
            | Self::ChildConflict
            | Self::RedisUnreachable
            | Self::StatsUnavailable
            | Self::Panic => Forbids::Drain,
        }
    }

    /// What ends the hold.
    pub(crate) fn cured_by(self) -> &'static str {
        match self {
            Self::StaleWatch => "it ends when the API server responds",
            Self::ChildConflict => "it ends when that object is deleted or the resource needs it no longer",
            Self::RedisUnreachable => {
                "it ends a minute after most server pods, or most of the current template, are connected to Redis"
            }
            Self::StatsUnavailable | Self::SamplesMissing => {
                "it ends when the control ports respond, or with the replacement of the pods; check their logs and NetworkPolicies"
            }
            Self::ConnectionsRejected => {
                "it ends one stabilization window after the last refused client or full pod"
            }
            Self::Panic => {
                "it ends a minute after its last cause; where the pool has scaling.maxReplicas pods, raise it or the capacity of a pod"
            }
            Self::WindowIncomplete => "it ends after one stabilization window of recent samples",
        }
    }

    /// The hold does not forbid a drain of this pod: it is sick by the measure of the hold, so
    /// there is no capacity to protect.
    fn spares(self, member: &Member<'_>) -> bool {
        match self {
            Self::StaleWatch | Self::ChildConflict => false,
            Self::RedisUnreachable => member
                .sample
                .map_or(member.is_stale(), |sample| !sample.broker_up),
            Self::StatsUnavailable => member.is_stale(),
            // A pod that accepts no connections has no room to protect.
            Self::Panic => member.role == Role::Broken || member.sample.is_some_and(|sample| !sample.admits),
            // They forbid fewer pods, not the drain of one that is replaced.
            Self::SamplesMissing | Self::ConnectionsRejected | Self::WindowIncomplete => true,
        }
    }
}

impl Hold {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// What happened, and what ends it.
    pub(crate) fn text(&self) -> String {
        format!("{}; {}", self.message, self.reason.cured_by())
    }
}

impl FromIterator<Hold> for Holds {
    fn from_iter<I: IntoIterator<Item = Hold>>(holds: I) -> Self {
        Self(holds.into_iter().collect())
    }
}

impl Holds {
    /// Each reason, and whether it holds.
    pub(crate) fn by_reason(&self) -> Vec<(&'static str, bool)> {
        let holds = |reason| self.0.iter().any(|hold| hold.reason == reason);
        let all = Reason::ALL.into_iter();
        all.map(|reason| (reason.as_str(), holds(reason))).collect()
    }

    /// The end of one depends on samples or objects.
    pub(crate) fn wait_for_more_than_time(&self) -> bool {
        let mut reasons = self.0.iter().map(|hold| hold.reason);
        reasons.any(|reason| reason != Reason::WindowIncomplete)
    }

    /// The first hold that forbids this.
    pub(crate) fn forbids(&self, what: Forbids) -> Option<&Hold> {
        self.0.iter().find(|hold| what <= hold.reason.forbids())
    }

    /// The first hold that forbids a drain of this pod.
    pub(crate) fn protects(&self, member: &Member<'_>) -> Option<&Hold> {
        self.0.iter().find(|hold| !hold.reason.spares(member))
    }
}
