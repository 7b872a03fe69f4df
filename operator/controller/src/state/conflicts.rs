//! Foreign objects with the names of children. They are not changed, and queried again until they
//! are gone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wsc_core::observed::{ChildConflict, ChildKey};

use crate::identity::PodName;

/// A child is restored within 10 s of its name being free.
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    children: BTreeMap<ChildKey, (bool, Instant)>,
    /// A server pod's name is taken: its serial is skipped, so this is only reported.
    pods: BTreeMap<PodName, (bool, Instant)>,
}

impl Conflicts {
    pub(crate) fn child(&mut self, key: ChildKey, terminating: bool, now: Instant) {
        self.children.insert(key, (terminating, now + LOOK_EVERY));
    }

    pub(crate) fn pod(&mut self, name: PodName, terminating: bool, now: Instant) {
        self.pods.insert(name, (terminating, now + LOOK_EVERY));
    }

    /// The name is free, or the object is owned.
    pub(crate) fn clear(&mut self, key: &ChildKey) {
        self.children.remove(key);
    }

    /// Forgets names that are no longer those of children.
    pub(crate) fn retain(&mut self, is_child: impl Fn(&ChildKey) -> bool) {
        self.children.retain(|key, _| is_child(key));
    }

    /// Foreign objects to query again now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<ChildKey> {
        self.pods.retain(|_, (_, until)| *until > now);
        let due = self.children.iter().filter(|(_, (_, look_at))| *look_at <= now);
        due.map(|(key, _)| key.clone()).collect()
    }

    pub(crate) fn list(&self) -> Vec<ChildConflict> {
        let children = self.children.iter().map(|(key, (terminating, _))| ChildConflict {
            kind: format!("{:?}", key.kind),
            name: key.name.clone(),
            terminating: *terminating,
        });
        let pods = self.pods.iter().map(|(name, (terminating, _))| ChildConflict {
            kind: "Pod".to_owned(),
            name: name.to_string(),
            terminating: *terminating,
        });
        children.chain(pods).collect()
    }
}

#[cfg(test)]
mod tests {
    use wsc_core::observed::ChildKind;

    use super::*;

    fn pod_name(name: &str) -> PodName {
        let meta = kube::api::ObjectMeta {
            name: Some(name.to_owned()),
            ..kube::api::ObjectMeta::default()
        };
        PodName::of(&meta).unwrap()
    }

    #[test]
    fn foreign_object_is_a_conflict_until_gone() {
        let start = Instant::now();
        let key = ChildKey {
            kind: ChildKind::Service,
            name: "chat".to_owned(),
        };
        let mut conflicts = Conflicts::default();
        conflicts.child(key.clone(), true, start);
        conflicts.pod(pod_name("chat-3"), false, start);
        assert_eq!(conflicts.list().len(), 2);
        assert!(conflicts.due(start).is_empty());
        let later = start + LOOK_EVERY;
        assert_eq!(conflicts.due(later), std::slice::from_ref(&key));
        assert_eq!(conflicts.list().len(), 1, "the pod's serial was skipped");
        assert_eq!(conflicts.list()[0].kind, "Service");
        conflicts.clear(&key);
        assert!(conflicts.list().is_empty());
    }

    #[test]
    fn conflict_ends_with_an_unwanted_child() {
        let start = Instant::now();
        let key = |name: &str| ChildKey {
            kind: ChildKind::Deployment,
            name: name.to_owned(),
        };
        let mut conflicts = Conflicts::default();
        for name in ["chat-redis", "chat-proxy"] {
            conflicts.child(key(name), false, start);
        }
        conflicts.pod(pod_name("chat-3"), false, start);
        conflicts.retain(|child| child.name == "chat-proxy");
        let left = conflicts.list();
        let names: Vec<_> = left.iter().map(|conflict| conflict.name.as_str()).collect();
        assert_eq!(names, ["chat-proxy", "chat-3"]);
    }
}
