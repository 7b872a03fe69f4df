//! One timing wheel per shard wakes all its sessions: a timer per connection would be as large as
//! the rest of it.
//!
//! A hashed wheel after Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987), with
//! one level: a later time than it has slots is an early wake-up, after which the session asks
//! again. No entry is ever removed: a session that is woken too early checks the clock.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::outbox::Outbox;

/// How late a wake-up may be.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Ahead of now: enough for the default heartbeat in one go.
const SLOTS: u32 = 512;

/// The wake-ups of one shard's sessions.
#[derive(Debug)]
pub(crate) struct Wheel {
    started: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The last tick that is through.
    tick: u32,
    slots: Vec<Vec<Weak<Outbox>>>,
}

impl Default for Wheel {
    /// It turns once [`Wheel::turn`] runs.
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self {
            started: Instant::now(),
            inner: Mutex::new(Inner { tick: 0, slots }),
        }
    }
}

impl Wheel {
    /// Wakes the session once, at this time or one tick later; earlier if that is far away. The
    /// answer is when.
    pub(crate) fn wake_at(&self, time: Instant, outbox: &Arc<Outbox>) -> Instant {
        let mut inner = self.inner.lock();
        let wanted = time.saturating_duration_since(self.started);
        let wanted = wanted.as_millis().div_ceil(TICK.as_millis());
        let (first, last) = (inner.tick + 1, inner.tick + SLOTS - 1);
        let tick = u32::try_from(wanted).unwrap_or(u32::MAX).clamp(first, last);
        inner.slots[slot(tick)].push(Arc::downgrade(outbox));
        self.started + TICK * tick
    }

    /// Runs the wheel; `late` receives the delay of each tick.
    pub(crate) async fn turn(&self, mut late: impl FnMut(Duration)) -> Infallible {
        loop {
            let next = self.inner.lock().tick + 1;
            let time = self.started + TICK * next;
            sleep_until(time).await;
            late(time.elapsed());
            let due = {
                let mut inner = self.inner.lock();
                inner.tick = next;
                std::mem::take(&mut inner.slots[slot(next)])
            };
            for outbox in due {
                if let Some(outbox) = outbox.upgrade() {
                    outbox.wake();
                }
            }
        }
    }
}

fn slot(tick: u32) -> usize {
    (tick % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;
    use crate::outbox::Budget;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn session(count: &Arc<Count>) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::new(1, Arc::new(Budget::new(1))));
        outbox.register(&Waker::from(Arc::clone(count)));
        outbox
    }

    #[tokio::test(start_paused = true)]
    async fn wakeups_are_single_and_within_a_tick() {
        let wheel = Arc::new(Wheel::default());
        let turning = Arc::clone(&wheel);
        tokio::spawn(async move { turning.turn(|_| ()).await });
        for millis in [0, 1, 99, 100, 101, 25_000, 51_000] {
            let count = Arc::<Count>::default();
            let outbox = session(&count);
            let time = Instant::now() + Duration::from_millis(millis);
            let promised = wheel.wake_at(time, &outbox);
            assert!((time..=time + TICK).contains(&promised), "{millis} ms");
            tokio::time::sleep_until(promised - Duration::from_millis(1)).await;
            assert_eq!(count.0.load(Ordering::SeqCst), 0, "{millis} ms: too early");
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!(count.0.load(Ordering::SeqCst), 1, "{millis} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn far_deadline_wakes_early_and_holds_nothing() {
        let wheel = Wheel::default();
        let outbox = session(&Arc::default());
        let hour = Duration::from_hours(1);
        let promised = wheel.wake_at(Instant::now() + hour, &outbox);
        assert_eq!(promised, wheel.started + TICK * (SLOTS - 1));
        assert_eq!(Arc::strong_count(&outbox), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_stood_still_catches_up() {
        let wheel = Wheel::default();
        let count = Arc::<Count>::default();
        let outbox = session(&count);
        wheel.wake_at(Instant::now() + TICK * 3, &outbox);
        tokio::time::advance(TICK * 100).await;
        let mut most = Duration::ZERO;
        let _ =
            tokio::time::timeout(Duration::from_millis(1), wheel.turn(|late| most = most.max(late))).await;
        assert!(most >= TICK * 99, "{most:?}");
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
