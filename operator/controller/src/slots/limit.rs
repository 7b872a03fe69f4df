//! The number of reconciles at once: additive increase, multiplicative decrease, as in TCP's
//! congestion control (RFC 5681, section 3.1) and in `AIMDLimit` of
//! <https://github.com/Netflix/concurrency-limits>. Pure: time comes from the caller.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::identity::Namespace;

/// The start is two halvings from the least, and some 2,000 fast calls from the most: 10 s at the
/// rate that `api/limit.rs` admits. Measured with the creation of 1,000 clusters: 64 reconciles
/// overload an API server that has half of its CPU.
pub(super) const RECONCILES: Bounds = Bounds {
    least: 4,
    start: 16,
    most: 64,
};
/// A namespace counts as slow, or as active, for this time after such a call: a call with its
/// deadline, and its retries, end within.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Of the limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) least: usize,
    pub(super) start: usize,
    pub(super) most: usize,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    Fast,
    /// It came near its deadline, or exceeded it.
    Slow,
    /// The API server rejected it for too many requests.
    Throttled,
}

/// A write that ended.
#[derive(Clone, Debug)]
pub(crate) struct WriteCall {
    pub(crate) namespace: Namespace,
    pub(crate) began: Instant,
    pub(crate) speed: Speed,
}

#[derive(Debug)]
pub(super) struct Limit {
    bounds: Bounds,
    value: usize,
    /// Calls that began earlier were made under a higher limit; `None` until no more slots than the
    /// limit are in use.
    since: Option<Instant>,
    /// Fast calls of the present window.
    fast: usize,
    /// Namespaces with recent calls.
    namespaces: HashMap<Namespace, LastCalls>,
}

#[derive(Clone, Copy, Debug)]
struct LastCalls {
    call: Instant,
    slow: Option<Instant>,
}

impl Limit {
    pub(super) fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            bounds,
            value: bounds.start,
            since: Some(now),
            fast: 0,
            namespaces: HashMap::new(),
        }
    }

    pub(super) fn value(&self) -> usize {
        self.value
    }

    /// The namespace had a slow call lately.
    pub(super) fn is_slow(&self, namespace: &Namespace, now: Instant) -> bool {
        let recent = self.namespaces.get(namespace);
        recent.is_some_and(|recent| recent.is_slow(now))
    }

    /// A call ended; `is_waiting`: a higher limit would be used.
    pub(super) fn called(&mut self, call: &WriteCall, is_waiting: bool, now: Instant) {
        let recent = self
            .namespaces
            .entry(call.namespace.clone())
            .or_insert(LastCalls {
                call: now,
                slow: None,
            });
        recent.call = now;
        if call.speed == Speed::Slow {
            recent.slow = Some(now);
        }
        if self.since.is_none_or(|since| call.began < since) {
            return;
        }
        match call.speed {
            Speed::Throttled => self.decrease(),
            Speed::Slow if self.is_overloaded(now) => self.decrease(),
            Speed::Slow => {}
            Speed::Fast => self.fast_call(is_waiting, now),
        }
    }

    /// This number of slots is in use.
    pub(super) fn settle(&mut self, in_use: usize, now: Instant) {
        if self.since.is_none() && in_use <= self.value {
            self.since = Some(now);
        }
    }

    /// A webhook makes the calls of its namespaces slow, and an overload those of all.
    fn is_overloaded(&mut self, now: Instant) -> bool {
        self.forget(now);
        let slow = self.namespaces.values().filter(|recent| recent.is_slow(now));
        slow.count() * 2 > self.namespaces.len()
    }

    /// Halves the limit. The next halving waits for calls that were made under this one.
    fn decrease(&mut self) {
        self.value = (self.value / 2).max(self.bounds.least);
        self.since = None;
        self.fast = 0;
    }

    /// A window has as many calls as there are slots.
    fn fast_call(&mut self, is_waiting: bool, now: Instant) {
        self.fast += 1;
        if self.fast < self.value {
            return;
        }
        self.fast = 0;
        self.forget(now);
        if is_waiting {
            self.value = (self.value + 1).min(self.bounds.most);
        }
    }

    fn forget(&mut self, now: Instant) {
        self.namespaces
            .retain(|_, recent| now.saturating_duration_since(recent.call) < REMEMBERED);
    }
}

impl LastCalls {
    fn is_slow(self, now: Instant) -> bool {
        let slow = self.slow;
        slow.is_some_and(|slow| now.saturating_duration_since(slow) < REMEMBERED)
    }
}
