//! What the demo shows while it runs: written by the observer and the scenario, read by the screen.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use wsc_api::v1alpha1::{Decision, WebSocketClusterStatus};

use super::pool::Pool;
use super::record::PodCounts;
use wsc_testing::clients::{Recorder, Totals};
use wsc_testing::output::say;

/// Notes that are kept for the screen.
const NOTES: usize = 50;

/// Shared by everything in the demo.
#[derive(Debug)]
pub(crate) struct Dashboard {
    began: Instant,
    plain: bool,
    pool: Mutex<Pool>,
    timeline: Mutex<Vec<PodCounts>>,
    story: Mutex<Story>,
    clients: OnceLock<Arc<Recorder>>,
}

#[derive(Debug, Default)]
struct Story {
    phase: String,
    notes: VecDeque<String>,
}

/// Everything on the dashboard at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Since the demo began.
    pub(crate) elapsed: Duration,
    /// The phase of the scenario.
    pub(crate) phase: String,
    /// What happened, the oldest first.
    pub(crate) notes: Vec<String>,
    /// The pool.
    pub(crate) pool: Pool,
    /// The clients.
    pub(crate) clients: Totals,
}

impl Dashboard {
    /// An empty one. With `plain` each note is also a line of output.
    pub(crate) fn new(began: Instant, plain: bool) -> Self {
        Self {
            began,
            plain,
            pool: Mutex::default(),
            timeline: Mutex::default(),
            story: Mutex::default(),
            clients: OnceLock::new(),
        }
    }

    /// When the demo began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Is there no live screen?
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Looks at the pool, or changes it. (No guard leaves this function: one that lives a little
    /// too long would block the next look.)
    pub(crate) fn pool<R>(&self, look: impl FnOnce(&mut Pool) -> R) -> R {
        look(&mut self.pool.lock())
    }

    /// From now on the clients' numbers are these.
    pub(crate) fn show(&self, clients: &Arc<Recorder>) {
        // Only the first one counts; there is only one.
        let _ = self.clients.set(Arc::clone(clients));
    }

    /// The clients, if there are any yet.
    pub(crate) fn clients(&self) -> Option<&Recorder> {
        self.clients.get().map(Arc::as_ref)
    }

    /// Something happened.
    pub(crate) fn note(&self, text: impl Into<String>) {
        let text = format!("[{:6.1} s] {}", self.began.elapsed().as_secs_f64(), text.into());
        if self.plain {
            say(&text);
        }
        let mut story = self.story();
        story.notes.push_back(text);
        if story.notes.len() > NOTES {
            story.notes.pop_front();
        }
    }

    /// The next phase begins.
    pub(crate) fn phase(&self, text: impl Into<String>) {
        let text = text.into();
        self.story().phase.clone_from(&text);
        self.note(text);
    }

    /// The resource's status changed.
    pub(crate) fn status(&self, status: WebSocketClusterStatus) {
        let decision = status.last_decision.clone();
        let before = self
            .pool(|pool| std::mem::replace(&mut pool.status, status))
            .last_decision;
        if let Some(decision) = decision.filter(|decision| before.as_ref() != Some(decision)) {
            self.note(format!("operator: {}", in_words(&decision)));
        }
    }

    /// Notes the numbers of pods when they changed.
    pub(crate) fn count_pods(&self) {
        let count = |number: i32| usize::try_from(number).unwrap_or(0);
        let now = self.pool(|pool| PodCounts {
            at: self.began.elapsed(),
            desired: count(pool.status.desired_replicas),
            active: pool.active(),
            draining: count(pool.status.draining_replicas),
        });
        let mut timeline = self.timeline.lock();
        let last = timeline.last().copied().unwrap_or_default();
        let changed = PodCounts { at: now.at, ..last } != now;
        if timeline.is_empty() || changed {
            timeline.push(now);
        }
    }

    /// The numbers of pods at each change.
    pub(crate) fn timeline(&self) -> Vec<PodCounts> {
        self.timeline.lock().clone()
    }

    /// Everything, now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let (phase, notes) = {
            let story = self.story();
            (story.phase.clone(), story.notes.iter().cloned().collect())
        };
        Snapshot {
            elapsed: self.began.elapsed(),
            phase,
            notes,
            pool: self.pool(|pool| pool.clone()),
            clients: self.clients().map(Recorder::totals).unwrap_or_default(),
        }
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock()
    }
}

/// A decision as a sentence.
pub(crate) fn in_words(decision: &Decision) -> String {
    format!("{} ({}): {}", decision.action, decision.reason, decision.message)
}

impl Snapshot {
    /// All numbers in one line.
    pub(crate) fn line(&self) -> String {
        let (status, clients) = (&self.pool.status, &self.clients);
        format!(
            "{} active, {} desired, {} starting, {} draining; {} clients; {} sent, {} received; {} closes requested, {} unexpected",
            self.pool.active(),
            status.desired_replicas,
            status.starting_replicas,
            status.draining_replicas,
            clients.open,
            clients.sent,
            clients.received,
            clients.asked,
            clients.unasked
        )
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn decision(action: &str) -> Decision {
        Decision {
            time: Time(Timestamp::UNIX_EPOCH),
            action: action.to_owned(),
            reason: "InsufficientReplicas".to_owned(),
            message: "create 1 of 1 missing pods".to_owned(),
            desired_replicas: 3,
            connections: 70,
            target_per_pod: 60,
        }
    }

    #[test]
    fn a_decision_is_noted_once() {
        let dashboard = Dashboard::new(Instant::now(), false);
        let status = |action| WebSocketClusterStatus {
            last_decision: Some(decision(action)),
            ..WebSocketClusterStatus::default()
        };
        for action in ["ScaleUp", "ScaleUp", "ScaleDown"] {
            dashboard.status(status(action));
        }
        let notes = dashboard.snapshot().notes;
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(
            notes[0].ends_with("operator: ScaleUp (InsufficientReplicas): create 1 of 1 missing pods"),
            "{notes:?}"
        );
    }

    #[test]
    fn pods_are_counted_once_for_each_change() {
        let dashboard = Dashboard::new(Instant::now(), false);
        for desired in [2, 2, 3] {
            dashboard.pool(|pool| pool.status.desired_replicas = desired);
            dashboard.count_pods();
        }
        let desired: Vec<usize> = dashboard.timeline().iter().map(|counts| counts.desired).collect();
        assert_eq!(desired, [2, 3]);
    }

    #[test]
    fn old_notes_make_room() {
        let dashboard = Dashboard::new(Instant::now(), false);
        (0..=NOTES).for_each(|number| dashboard.note(number.to_string()));
        let notes = dashboard.snapshot().notes;
        assert_eq!(notes.len(), NOTES);
        assert!(notes[0].ends_with(" 1"), "{notes:?}");
    }
}
