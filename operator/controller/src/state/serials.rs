//! Serials that were reserved and whose pods are not seen yet: each counts as a pod that starts, until the API server itself says
//! that there is none. So neither a watch that lags nor a second operator makes twins.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

/// A pod that was created shows in the watch within milliseconds; when it does not, the API server is asked this often.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// After a start so many serials below the next one are looked up: the most that a process before this one can have had under way
/// when it ended is far less.
const LOOKED_UP_AFTER_START: i64 = 16;

#[derive(Debug, Default)]
pub struct Serials {
    /// The first serial that nobody had reserved when we last looked; none before the first look.
    next: Option<i64>,
    /// When to ask for each next.
    pending: BTreeMap<i64, Instant>,
}

impl Serials {
    /// Called with each look at the cluster. The first one after a start takes up what an earlier process may have left, later ones
    /// what another operator has reserved since.
    pub fn look(&mut self, next_serial: i64, seen: impl Fn(i64) -> bool, now: Instant) {
        let (first, ask_at) = match self.next {
            None => ((next_serial - LOOKED_UP_AFTER_START).max(0), now),
            Some(next) => (next, now + ASK_EVERY),
        };
        for serial in first..next_serial {
            self.pending.entry(serial).or_insert(ask_at);
        }
        self.next = self.next.max(Some(next_serial));
        self.pending.retain(|serial, _| !seen(*serial));
    }

    /// About to reserve these.
    pub fn reserve(&mut self, serials: Range<i64>, now: Instant) {
        self.pending
            .extend(serials.map(|serial| (serial, now + ASK_EVERY)));
    }

    /// The reservation up to here is written, and ours.
    pub fn hold(&mut self, end: i64) {
        self.next = self.next.max(Some(end));
    }

    /// There is no such pod, and no create of it is under way.
    pub fn release(&mut self, serial: i64) {
        self.pending.remove(&serial);
    }

    /// Which serials to ask the API server for now.
    pub fn due(&mut self, now: Instant) -> Vec<i64> {
        let mut due = Vec::new();
        for (serial, ask_at) in &mut self.pending {
            if *ask_at <= now {
                *ask_at = now + ASK_EVERY;
                due.push(*serial);
            }
        }
        due
    }

    /// What counts as starting.
    pub fn pending(&self) -> Vec<i64> {
        self.pending.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_serial_counts_until_it_is_seen_or_denied() {
        let start = Instant::now();
        let mut serials = Serials::default();
        serials.look(0, |_| false, start);
        serials.reserve(0..3, start);
        assert_eq!(serials.pending(), [0, 1, 2]);
        assert!(serials.due(start).is_empty(), "its create is under way");
        serials.look(3, |serial| serial == 1, start);
        assert_eq!(serials.pending(), [0, 2]);
        let later = start + ASK_EVERY;
        assert_eq!(serials.due(later), [0, 2]);
        assert!(serials.due(later).is_empty(), "asked once per interval");
        serials.release(0);
        assert_eq!(serials.pending(), [2]);
    }

    #[test]
    fn after_a_start_the_last_serials_are_asked_for_at_once() {
        let now = Instant::now();
        let mut serials = Serials::default();
        serials.look(100, |serial| serial == 99, now);
        assert_eq!(serials.due(now), (84..99).collect::<Vec<_>>());
        for serial in 84..99 {
            serials.release(serial);
        }
        serials.look(100, |_| false, now);
        assert!(serials.pending().is_empty(), "only once");
    }

    #[test]
    fn what_another_operator_reserves_counts_as_well() {
        let now = Instant::now();
        let mut serials = Serials::default();
        serials.look(0, |_| false, now);
        serials.reserve(0..2, now);
        serials.hold(2);
        // The create of one was refused.
        serials.release(1);
        serials.look(2, |_| false, now);
        assert_eq!(serials.pending(), [0], "a refused create is not waited for");
        serials.look(4, |serial| serial == 3, now);
        assert_eq!(
            serials.pending(),
            [0, 2],
            "2 is about to be created by somebody else"
        );
        assert!(serials.due(now).is_empty());
        assert_eq!(serials.due(now + ASK_EVERY), [0, 2]);
    }

    #[test]
    fn a_reservation_that_another_operator_wrote_first_counts_as_theirs() {
        let now = Instant::now();
        let mut serials = Serials::default();
        serials.look(5, |_| true, now);
        serials.reserve(5..6, now);
        serials.release(5);
        serials.look(6, |_| false, now);
        assert_eq!(serials.pending(), [5]);
    }
}
