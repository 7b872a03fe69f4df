//! Serials make the names of server pods, and are never used again: not by a twin, not by a later
//! pod.
//!
//! A reserved serial counts as a starting pod until its pod is seen or the API server answers that
//! there is none. So neither a late watch nor a second operator makes twins.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use wsc_contract::names;

use crate::observed::Observed;

/// A created pod shows in the watch within milliseconds; when it does not, the API server is
/// queried this often.
const QUERY_EVERY: SignedDuration = SignedDuration::from_secs(5);
/// At most this many serials below the next one are queried: another process reserved at most as
/// many at once as the largest pool has pods, and the creates that it had under way are anywhere
/// among them.
const QUERIED: i64 = 2_000;

/// Reserved serials of one cluster whose pods are not seen yet.
#[derive(Clone, Debug, Default)]
pub struct Serials {
    /// The first unreserved serial at the last look; none before the first.
    next: Option<i64>,
    /// When each was last queried, or reserved; never for those of an earlier process.
    pending: BTreeMap<i64, Option<Timestamp>>,
}

impl Serials {
    /// Takes in which pods exist, and returns the next serial. The first call after a start adds
    /// what an earlier process may have left, later ones add what another operator has reserved
    /// since.
    pub fn observe(&mut self, status_next: i64, seen: &BTreeSet<i64>, now: Timestamp) -> i64 {
        let next_serial = status_next
            .min(names::LAST_SERIAL)
            .max(seen.last().map_or(0, |serial| serial + 1));
        let lowest = (next_serial - QUERIED).max(0);
        let (first, queried_at) = match self.next {
            None => (lowest, None),
            Some(next) => (next.max(lowest), Some(now)),
        };
        for serial in first..next_serial {
            self.pending.entry(serial).or_insert(queried_at);
        }
        self.next = self.next.max(Some(next_serial));
        self.pending.retain(|serial, _| !seen.contains(serial));
        next_serial
    }

    /// About to reserve these.
    pub fn reserve(&mut self, serials: Range<i64>, now: Timestamp) {
        self.pending.extend(serials.map(|serial| (serial, Some(now))));
    }

    /// The reservation up to here is written.
    pub fn confirm(&mut self, end: i64) {
        self.next = self.next.max(Some(end));
    }

    /// There is no such pod, and no create of it is in flight.
    pub fn release(&mut self, serial: i64) {
        self.pending.remove(&serial);
    }

    /// Serials to query the API server for now. Until it has answered they stay due: nothing is
    /// decided by pods that may not exist.
    pub fn due(&self, now: Timestamp) -> Vec<i64> {
        let waits = |at: Timestamp| now.duration_since(at) < QUERY_EVERY;
        let pending = self.pending.iter();
        pending
            .filter(|(_, queried_at)| !queried_at.is_some_and(waits))
            .map(|(serial, _)| *serial)
            .collect()
    }

    /// The API server answered that the pod exists; the watch does not show it yet.
    pub fn exists(&mut self, serial: i64, now: Timestamp) {
        if let Some(queried_at) = self.pending.get_mut(&serial) {
            *queried_at = Some(now);
        }
    }

    /// What counts as starting.
    pub fn pending(&self) -> Vec<i64> {
        self.pending.keys().copied().collect()
    }
}

/// The next unused serial.
pub(crate) fn next(observed: &Observed) -> i64 {
    let seen = observed.pods.values().map(|pod| pod.serial);
    let reserved = observed.reserved_serials.iter().copied();
    let highest = seen.chain(reserved).max().map_or(0, |serial| serial + 1);
    observed.status.next_serial.max(highest)
}

/// Serials for this many pods: those whose names no foreign pod has.
pub(crate) fn take(observed: &Observed, cluster: &str, first: i64, pods: usize) -> Vec<i64> {
    let taken = |serial: &i64| {
        let name = names::server_pod(cluster, *serial);
        observed
            .conflicts
            .iter()
            .any(|conflict| conflict.kind == "Pod" && conflict.name == name)
    };
    (first..).filter(|serial| !taken(serial)).take(pods).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::ChildConflict;
    use crate::testing::start;

    fn seen(serials: impl IntoIterator<Item = i64>) -> BTreeSet<i64> {
        serials.into_iter().collect()
    }

    #[test]
    fn next_serial_is_above_everything_ever_seen() {
        let mut observed = Observed::default();
        assert_eq!(next(&observed), 0);
        observed.status.next_serial = 4;
        assert_eq!(next(&observed), 4);
        observed.reserved_serials = vec![7];
        assert_eq!(next(&observed), 8);
        assert_eq!(Serials::default().observe(4, &seen([6]), start()), 7);
    }

    #[test]
    fn names_of_foreign_pods_are_skipped() {
        let mut observed = Observed::default();
        for (kind, name) in [("Pod", "chat-5"), ("Service", "chat-4")] {
            observed.conflicts.push(ChildConflict {
                kind: kind.to_owned(),
                name: name.to_owned(),
                terminating: false,
            });
        }
        assert_eq!(take(&observed, "chat", 4, 3), [4, 6, 7]);
    }

    #[test]
    fn reserved_serial_counts_until_seen_or_denied() {
        let mut serials = Serials::default();
        serials.observe(0, &seen([]), start());
        serials.reserve(0..3, start());
        assert_eq!(serials.pending(), [0, 1, 2]);
        assert!(serials.due(start()).is_empty(), "its create is in flight");
        serials.observe(3, &seen([1]), start());
        assert_eq!(serials.pending(), [0, 2]);
        let later = start() + QUERY_EVERY;
        assert_eq!(serials.due(later), [0, 2]);
        assert_eq!(serials.due(later), [0, 2], "the query failed");
        serials.release(0);
        serials.exists(2, later);
        assert!(serials.due(later).is_empty(), "one query per interval");
        assert_eq!(serials.pending(), [2]);
    }

    #[test]
    fn serials_are_queried_at_once_after_start() {
        let mut serials = Serials::default();
        serials.observe(9_000, &seen([8_999]), start());
        assert_eq!(serials.due(start()), (7_000..8_999).collect::<Vec<_>>());
        for serial in 7_000..8_999 {
            serials.release(serial);
        }
        serials.observe(9_000, &seen([]), start());
        assert!(serials.pending().is_empty(), "only once");
    }

    #[test]
    fn reservations_of_another_operator_count() {
        let mut serials = Serials::default();
        serials.observe(0, &seen([]), start());
        serials.reserve(0..2, start());
        serials.confirm(2);
        // The create of one was rejected.
        serials.release(1);
        serials.observe(2, &seen([]), start());
        assert_eq!(serials.pending(), [0], "a rejected create is not waited for");
        serials.observe(4, &seen([3]), start());
        assert_eq!(
            serials.pending(),
            [0, 2],
            "2 is about to be created by the other operator"
        );
        assert!(serials.due(start()).is_empty());
        assert_eq!(serials.due(start() + QUERY_EVERY), [0, 2]);
    }

    /// `status.nextSerial` that was edited, or a pod with a high serial.
    #[test]
    fn jump_reserves_at_most_the_largest_pool() {
        let mut serials = Serials::default();
        serials.observe(4, &seen([]), start());
        serials.release(0);
        assert_eq!(serials.observe(4, &seen([1_000_000_000]), start()), 1_000_000_001);
        assert!(serials.pending().len() <= 2_003, "{}", serials.pending().len());
        assert!(serials.observe(i64::MAX, &seen([]), start()) <= names::LAST_SERIAL);
    }

    #[test]
    fn lost_reservation_counts_as_the_other_operators() {
        let mut serials = Serials::default();
        serials.observe(5, &seen(0..5), start());
        serials.reserve(5..6, start());
        serials.release(5);
        serials.observe(6, &seen([]), start());
        assert_eq!(serials.pending(), [5]);
    }
}
