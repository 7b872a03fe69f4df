//! Failed writes: kept until they succeed, with the time of the next attempt.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Pause after the first failure; doubled by each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// A quota that was raised, or a webhook that was repaired, is noticed within this time.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// A write that fails this often in a row needs manual action, whatever prevents it: the attempts
/// take half a minute.
const LASTING_AFTER: u32 = 6;

/// Why a write did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Message of the API server, if it responded.
    pub message: String,
    pub cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A quota of the namespace is used up: another object of its kind has to go first.
    Quota,
    /// The API server rejected the object itself: a policy, an invalid field.
    Object,
    /// Everything else: no response in time, an overload, a webhook that fails.
    Call,
}

impl Problem {
    /// The API server rejected the write; the same one is rejected again.
    pub(crate) fn is_rejection(&self) -> bool {
        self.cause != Cause::Call
    }
}

/// A write on one object that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) problem: Problem,
    /// In a row.
    count: u32,
    last_at: Timestamp,
    /// Hash of what was to be applied: another object is tried at once.
    hash: Option<String>,
}

/// Kind and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectName {
    pub(crate) kind: String,
    pub(crate) name: String,
}

/// The failures of one cluster, by object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    objects: BTreeMap<ObjectName, Failure>,
    /// Of the last create of server pods. Each attempt has another name.
    create: Option<(ObjectName, Failure)>,
}

impl ObjectName {
    pub(crate) fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
        }
    }
}

impl Failure {
    fn after(before: Option<&Self>, problem: Problem, hash: Option<String>, now: Timestamp) -> Self {
        let before = before.filter(|before| before.hash == hash);
        Self {
            problem,
            count: before.map_or(1, |before| before.count.saturating_add(1)),
            last_at: now,
            hash,
        }
    }

    fn next_try(&self) -> Timestamp {
        let factor = 1_i32 << (self.count - 1).min(6);
        self.last_at + (FIRST_PAUSE * factor).min(LONGEST_PAUSE)
    }

    /// Manual action is required.
    pub(crate) fn is_lasting(&self) -> bool {
        self.problem.is_rejection() || self.count >= LASTING_AFTER
    }
}

impl Failures {
    pub(crate) fn failed(
        &mut self,
        object: ObjectName,
        hash: Option<String>,
        problem: Problem,
        now: Timestamp,
    ) {
        let failure = Failure::after(self.objects.get(&object), problem, hash, now);
        self.objects.insert(object, failure);
    }

    pub(crate) fn succeeded(&mut self, object: &ObjectName) {
        self.objects.remove(object);
    }

    pub(crate) fn create_failed(&mut self, object: ObjectName, problem: Problem, now: Timestamp) {
        let before = self.create.as_ref().map(|(_, failure)| failure);
        self.create = Some((object, Failure::after(before, problem, None, now)));
    }

    pub(crate) fn create_succeeded(&mut self) {
        self.create = None;
    }

    /// The write of this object, with this hash, is to be tried now.
    pub(crate) fn is_due(&self, object: &ObjectName, hash: Option<&String>, now: Timestamp) -> bool {
        let failure = self.objects.get(object);
        failure.is_none_or(|failure| failure.hash.as_ref() != hash || failure.next_try() <= now)
    }

    /// Keeps the failures of wanted writes only.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(&ObjectName) -> bool) {
        self.objects.retain(|object, _| is_wanted(object));
    }

    /// All of them, lasting ones first.
    pub(crate) fn all(&self) -> Vec<(&ObjectName, &Failure)> {
        let create = self.create.iter().map(|(object, failure)| (object, failure));
        let mut all: Vec<_> = self.objects.iter().chain(create).collect();
        all.sort_by_key(|(object, failure)| (!failure.is_lasting(), *object));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::after;

    fn problem(cause: Cause) -> Problem {
        Problem {
            message: "because".to_owned(),
            cause,
        }
    }

    #[test]
    fn attempts_pause_longer_for_the_same_object() {
        let service = ObjectName::new("Service", "chat");
        let (one, two) = (Some("1".to_owned()), Some("2".to_owned()));
        let mut failures = Failures::default();
        let mut at = 0;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            failures.failed(service.clone(), one.clone(), problem(Cause::Call), after(at));
            assert!(
                !failures.is_due(&service, one.as_ref(), after(at + pause - 1)),
                "{pause}"
            );
            assert!(failures.is_due(&service, two.as_ref(), after(at)));
            at += pause;
            assert!(failures.is_due(&service, one.as_ref(), after(at)), "{pause}");
        }
        failures.failed(service.clone(), two.clone(), problem(Cause::Call), after(at));
        assert!(
            failures.is_due(&service, two.as_ref(), after(at + 1)),
            "a first failure again"
        );
        failures.succeeded(&service);
        assert!(failures.is_due(&service, two.as_ref(), after(at)));
    }

    #[test]
    fn rejections_last_and_outages_after_some_attempts() {
        let service = ObjectName::new("Service", "chat");
        let mut failures = Failures::default();
        let mut is_lasting = |cause| {
            failures.failed(service.clone(), None, problem(cause), after(0));
            failures.all()[0].1.is_lasting()
        };
        let outage: Vec<bool> = (0..6).map(|_| is_lasting(Cause::Call)).collect();
        assert_eq!(outage, [false, false, false, false, false, true]);
        assert!(is_lasting(Cause::Object));
        assert!(is_lasting(Cause::Quota));
    }

    #[test]
    fn creates_of_pods_are_one_series() {
        let mut failures = Failures::default();
        for serial in 0..3 {
            let pod = ObjectName::new("Pod", format!("chat-{serial}"));
            failures.create_failed(pod, problem(Cause::Object), after(serial));
        }
        let names: Vec<_> = failures
            .all()
            .iter()
            .map(|(object, _)| object.name.clone())
            .collect();
        assert_eq!(names, ["chat-2"]);
        failures.create_succeeded();
        assert!(failures.all().is_empty());
    }
}
