//! Strangers that have the names of our children. They are left alone, and looked at again until they are gone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wsc_core::observed::{ChildConflict, ChildKey};

/// A child is restored within 10 s of its name being free.
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    children: BTreeMap<ChildKey, (bool, Instant)>,
    /// A server pod's name is taken: its serial is skipped, so this is only worth a mention.
    pods: BTreeMap<String, (bool, Instant)>,
}

impl Conflicts {
    pub(crate) fn child(&mut self, key: ChildKey, terminating: bool, now: Instant) {
        self.children.insert(key, (terminating, now + LOOK_EVERY));
    }

    pub(crate) fn pod(&mut self, name: String, terminating: bool, now: Instant) {
        self.pods.insert(name, (terminating, now + LOOK_EVERY));
    }

    /// The name is free, or the object is ours after all.
    pub(crate) fn clear(&mut self, key: &ChildKey) {
        self.children.remove(key);
    }

    /// Which strangers to look at again now.
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
            name: name.clone(),
            terminating: *terminating,
        });
        children.chain(pods).collect()
    }
}

#[cfg(test)]
mod tests {
    use wsc_core::observed::ChildKind;

    use super::*;

    #[test]
    fn a_stranger_is_remembered_until_a_look_finds_its_name_free() {
        let start = Instant::now();
        let key = ChildKey {
            kind: ChildKind::Service,
            name: "chat".to_owned(),
        };
        let mut conflicts = Conflicts::default();
        conflicts.child(key.clone(), true, start);
        conflicts.pod("chat-3".to_owned(), false, start);
        assert_eq!(conflicts.list().len(), 2);
        assert!(conflicts.due(start).is_empty());
        let later = start + LOOK_EVERY;
        assert_eq!(conflicts.due(later), std::slice::from_ref(&key));
        assert_eq!(conflicts.list().len(), 1, "the pod's serial was skipped");
        assert_eq!(conflicts.list()[0].kind, "Service");
        conflicts.clear(&key);
        assert!(conflicts.list().is_empty());
    }
}
