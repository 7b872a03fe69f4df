//! What is known about how live children compare to what was applied, so that each version is compared once.

use std::collections::BTreeMap;

use wsc_core::observed::ChildKey;

/// The comparison of one version of a live child with one wanted version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub resource_version: String,
    pub wanted_hash: String,
    pub intact: bool,
}

#[derive(Debug, Default)]
pub struct IntactCache {
    checked: BTreeMap<ChildKey, Checked>,
    /// What a live child looked like right after it was applied, if it did not hold all that was applied: somebody with more say
    /// (an admission webhook, another field manager) adds to it, and applying it again would change nothing.
    settled: BTreeMap<ChildKey, u64>,
}

impl IntactCache {
    pub fn get(&self, key: &ChildKey, resource_version: &str, wanted_hash: &str) -> Option<bool> {
        let checked = self.checked.get(key)?;
        let same = checked.resource_version == resource_version && checked.wanted_hash == wanted_hash;
        same.then_some(checked.intact)
    }

    pub fn put(&mut self, key: ChildKey, checked: Checked) {
        self.checked.insert(key, checked);
    }

    pub fn settle(&mut self, key: ChildKey, fingerprint: u64) {
        self.settled.insert(key, fingerprint);
    }

    pub fn is_settled(&self, key: &ChildKey, fingerprint: u64) -> bool {
        self.settled.get(key) == Some(&fingerprint)
    }

    pub fn forget(&mut self, key: &ChildKey) {
        self.settled.remove(key);
        self.checked.remove(key);
    }
}
