//! What the operator remembers of one cluster while it runs. Nothing of it is needed after a
//! restart.

mod conflicts;

use std::collections::BTreeSet;
use std::sync::Arc;

use wsc_api::v1alpha1::WebSocketCluster;
use wsc_core::memory::Memory;
use wsc_core::serials::Serials;

use crate::identity::Uid;
use conflicts::Conflicts;

#[derive(Default)]
pub(crate) struct State {
    /// The resource that this is about: one that is made again under the same name is another.
    pub(crate) uid: Option<Uid>,
    pub(crate) memory: Memory,
    /// Uids of pods with a write that the memory takes for done, and that has not ended yet.
    unconfirmed: BTreeSet<String>,
    pub(crate) serials: Serials,
    pub(crate) conflicts: Conflicts,
    /// The resource as our own last write left it: the watch may be behind.
    pub(crate) latest: Option<Arc<WebSocketCluster>>,
    /// The last problem of the resource itself, logged once.
    pub(crate) problem: Option<String>,
}

impl State {
    /// Forgets everything if the resource is another one than before.
    pub(crate) fn about(&mut self, uid: Uid) {
        if self.uid.as_ref() != Some(&uid) {
            *self = Self {
                uid: Some(uid),
                ..Self::default()
            };
        }
    }

    /// A plan is about to be applied, with writes on the pods with these uids.
    pub(crate) fn begin(&mut self, memory: Memory, writes: impl Iterator<Item = String>) {
        self.memory = memory;
        self.unconfirmed = writes.collect();
    }

    /// A write on a pod has ended.
    pub(crate) fn written(&mut self, uid: &str, succeeded: bool) {
        self.unconfirmed.remove(uid);
        if !succeeded {
            self.memory.write_failed(uid);
        }
    }

    /// The reconcile was given up: writes that did not end are planned again, everything else is
    /// remembered.
    pub(crate) fn give_up(&mut self) {
        for uid in std::mem::take(&mut self.unconfirmed) {
            self.memory.write_failed(&uid);
        }
    }

    /// The newer one of what the watch shows and what our last write left.
    pub(crate) fn newest(&mut self, seen: WebSocketCluster) -> Arc<WebSocketCluster> {
        let newer = self
            .latest
            .take()
            .filter(|latest| latest.metadata.uid == seen.metadata.uid && version(latest) > version(&seen));
        self.latest.clone_from(&newer);
        newer.unwrap_or_else(|| Arc::new(seen))
    }
}

/// Resource versions of one kind are comparable as numbers, as documented since Kubernetes 1.35.
fn version(resource: &WebSocketCluster) -> u128 {
    let version = resource.metadata.resource_version.as_deref();
    version.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::resource;

    fn uid(text: &str) -> Uid {
        Uid::of(&at("1", text).metadata).unwrap()
    }

    fn at(version: &str, uid: &str) -> WebSocketCluster {
        let mut resource = resource("chat");
        resource.metadata.uid = Some(uid.to_owned());
        resource.metadata.resource_version = Some(version.to_owned());
        resource
    }

    #[test]
    fn own_write_counts_until_watch_catches_up() {
        let mut state = State {
            latest: Some(Arc::new(at("100", "u"))),
            ..State::default()
        };
        let newest = |state: &mut State, seen| state.newest(seen).metadata.resource_version.clone().unwrap();
        assert_eq!(
            newest(&mut state, at("99", "u")),
            "100",
            "compared as numbers, not as text"
        );
        assert_eq!(newest(&mut state, at("101", "u")), "101");
        assert!(state.latest.is_none());
    }

    #[test]
    fn recreated_resource_starts_afresh() {
        let mut state = State::default();
        state.about(uid("a"));
        state.latest = Some(Arc::new(at("100", "a")));
        assert_eq!(
            state.newest(at("7", "b")).metadata.resource_version.as_deref(),
            Some("7")
        );
        state.problem = Some("unreadable".to_owned());
        state.about(uid("b"));
        assert!(state.problem.is_none() && state.uid == Some(uid("b")));
    }
}
