//! Closes connections with a request to reconnect, one at a time: as `/shed` requests, and all of
//! them on SIGTERM.
//!
//! The oldest connection is closed first: that needs no state, and chance spreads it over the
//! rooms.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use wsc_contract::close::{Cause, Reason};

use super::admission::Admission;
use super::clients::Clients;
use super::shed::{Due, Notice, ShedRequest, Shedding};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::outbox::CloseRequest;

/// For the close handshake of the last client; then the process ends anyway.
const LAST_CLOSE: Duration = Duration::from_secs(3);
/// How much of a delay is made up at once: as much as timers are late. After a longer one the
/// missed closes are spread over the time that is left.
const CATCH_UP: Duration = Duration::from_millis(50);
/// Interval at which a draining server closes connections that were in their handshake before.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The open connections of a process, and how they are closed.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) clients: Arc<Clients>,
    /// Notified when an open connection has ended.
    pub(crate) departed: Notify,
    closed: AtomicU64,
    shedding: Mutex<Shedding>,
    /// Notified when the shedding may have work.
    shed_wake: Notify,
    duration: Duration,
    metrics: Arc<Metrics>,
}

impl Drain {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            clients: Arc::default(),
            departed: Notify::new(),
            closed: AtomicU64::new(0),
            shedding: Mutex::new(Shedding::new(
                config.max_sheds_per_second,
                Notice {
                    close_code: config.close_code,
                    jitter: config.close_jitter,
                },
            )),
            shed_wake: Notify::new(),
            duration: config.drain,
            metrics,
        }
    }

    /// Connections closed since the start.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// An open connection has ended and released what it held.
    pub(crate) fn connection_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        self.departed.notify_one();
    }

    pub(crate) fn shedding(&self) -> MutexGuard<'_, Shedding> {
        self.shedding.lock()
    }

    /// `PUT /shed` of the operator.
    pub(crate) fn request_shed(&self, request: ShedRequest) {
        tracing::info!(
            total = request.total,
            per_second = request.per_second,
            via = request.via,
            "shed requested"
        );
        self.shedding().request(request);
        self.wake_shedding();
    }

    /// There may be a connection to shed.
    pub(crate) fn wake_shedding(&self) {
        self.shed_wake.notify_one();
    }

    /// Closes connections as `/shed` requests, at its rate. SIGTERM takes over from it.
    pub(crate) async fn shed(&self, admission: &Admission) -> Infallible {
        let epoch = Instant::now();
        loop {
            let due = if admission.is_terminating() {
                Due::Nothing
            } else {
                self.shedding().due()
            };
            match due {
                Due::Close(at) if at <= epoch.elapsed() => {
                    if !self.shed_one(epoch) {
                        // No client is left; the next connection or request wakes this task.
                        self.shed_wake.notified().await;
                    }
                }
                // A new request may change what is due.
                Due::Close(at) => {
                    let _ = timeout(at.saturating_sub(epoch.elapsed()), self.shed_wake.notified()).await;
                }
                Due::Nothing => self.shed_wake.notified().await,
            }
        }
    }

    /// False if no client is left. Under the lock of the state, so that no connection is shed after
    /// the response to a cancel.
    fn shed_one(&self, epoch: Instant) -> bool {
        let mut shedding = self.shedding();
        let now = epoch.elapsed();
        if !matches!(shedding.due(), Due::Close(at) if at <= now) {
            return true;
        }
        let closed = self.close_oldest(Cause::Shed, shedding.notice(), shedding.via());
        if closed {
            shedding.record(now);
            self.metrics.shed.inc();
        }
        closed
    }

    /// Refuses new handshakes, closes all connections evenly over the drain time, and waits until
    /// they have ended.
    pub(crate) async fn terminate(&self, admission: &Admission) {
        admission.terminate();
        let connections = || admission.capacity.taken();
        let start = Instant::now();
        let (deadline, mut next) = (start + self.duration, start);
        tracing::info!(
            connections = connections(),
            drain_seconds = self.duration.as_secs(),
            "drain started"
        );
        while connections() > 0 && Instant::now() < deadline + LAST_CLOSE {
            let notice = self.shedding().notice();
            if !self.close_oldest(Cause::Drain, notice, None) {
                let _ = timeout_at(Instant::now() + LOOK_AGAIN, self.departed.notified()).await;
                continue;
            }
            self.metrics.drained.inc();
            let left = u32::try_from(self.clients.open()).unwrap_or(u32::MAX);
            if left > 0 {
                next = next_turn(next, Instant::now(), deadline, left);
                // Until then, or until no connection is left.
                while connections() > 0 && timeout_at(next, self.departed.notified()).await.is_ok() {}
            }
        }
        tracing::info!(
            remaining = connections(),
            duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            "drain finished"
        );
    }

    /// False if no client is left.
    fn close_oldest(&self, cause: Cause, notice: Notice, via: Option<&str>) -> bool {
        while let Some(outbox) = self.clients.take_oldest(via) {
            let jitter_ms = u64::try_from(notice.jitter.as_millis()).unwrap_or(u64::MAX);
            let retry_milliseconds = rand::random_range(0..=jitter_ms);
            if outbox.ask_close(CloseRequest::Reconnect {
                code: notice.close_code,
                reason: Reason {
                    cause,
                    retry_milliseconds,
                },
            }) {
                return true;
            }
        }
        false
    }
}

/// When the next of the clients that are left is closed: spread over the rest of the time, so that
/// the last one is closed before it ends.
fn next_turn(last: Instant, now: Instant, deadline: Instant, left: u32) -> Instant {
    let from = now
        .checked_sub(CATCH_UP)
        .map_or(last, |earliest| earliest.max(last));
    from + deadline.saturating_duration_since(from) / (left + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRAIN: Duration = Duration::from_secs(30);
    const CLIENTS: u32 = 9_000;

    /// Closes in each second of the drain, when each turn comes late by these times, over and over,
    /// and the process is stopped once.
    fn seconds(late: &[Duration], still_at: Duration, still: Duration) -> Vec<u32> {
        let start = Instant::now();
        let (deadline, mut next, mut now) = (start + DRAIN, start, start);
        let mut seconds = vec![0; 32];
        let mut late = late.iter().cycle();
        let mut stood = false;
        for left in (0..CLIENTS).rev() {
            let second = usize::try_from((now - start).as_secs()).unwrap();
            seconds[second.min(31)] += 1;
            next = next_turn(next, now, deadline, left);
            now = now.max(next + *late.next().unwrap());
            if !stood && now - start >= still_at {
                stood = true;
                now += still;
            }
        }
        seconds
    }

    proptest! {
        #[test]
        fn drain_is_even_over_its_seconds(
            late_ms in prop::collection::vec(0_u64..10, 1..50),
            still_at_ms in 0_u64..15_000,
            still_ms in 0_u64..2_000,
        ) {
            let late: Vec<_> = late_ms.into_iter().map(Duration::from_millis).collect();
            let seconds = seconds(&late, Duration::from_millis(still_at_ms), Duration::from_millis(still_ms));
            let most = CLIENTS / 30 * 6 / 5;
            prop_assert!(seconds.iter().all(|closes| *closes <= most), "{seconds:?}");
            prop_assert_eq!(seconds[31], 0, "within the time");
        }
    }
}
