//! Starts of pods that failed: after a few in a row the pool backs off until the template changes or one succeeds.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// This number of failed starts in a row is no accident.
const STALLED_AFTER: u32 = 3;
/// Pause before the next try of a stalled pool; doubled by each further failure.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(300);

/// Failed starts of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Starts {
    pub(crate) revision: String,
    /// In a row: a pod that becomes ready ends it.
    pub(crate) failed: u32,
    pub(crate) last_failed_at: Option<Timestamp>,
    /// Why the last one failed, for messages.
    pub(crate) reason: String,
}

impl Starts {
    /// Too many starts failed in a row.
    pub(crate) fn stalled(&self) -> bool {
        self.failed >= STALLED_AFTER
    }

    /// When the next pod may be created.
    pub(crate) fn next_try(&self) -> Option<Timestamp> {
        let more = self.failed.checked_sub(STALLED_AFTER)?;
        let factor = 1_i32 << more.min(5);
        let pause = (FIRST_PAUSE * factor).min(LONGEST_PAUSE);
        self.last_failed_at.map(|at| at + pause)
    }

    pub(crate) fn failed(&mut self, reason: String, now: Timestamp) {
        self.failed = self.failed.saturating_add(1);
        self.last_failed_at = Some(now);
        self.reason = reason;
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
