//! When a worker reconciles: at events and samples, at the time that the last reconcile named, and
//! after failures. Reconciles of one cluster keep a distance, so that a series of events costs one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use wsc_core::SAMPLE_FRESH;

/// From the start of a reconcile to the start of the next one.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);
/// A sample becomes stale after this time without an event, so it is checked as often.
const LONGEST_LOOK: Duration = Duration::from_secs(SAMPLE_FRESH.as_secs().unsigned_abs());
/// First and longest pause after failed reconciles; jitter adds up to as much again. One step may
/// fail for hours, and the pool is reconciled all the same.
const FIRST_PAUSE: Duration = Duration::from_millis(150);
const LONGEST_PAUSE: Duration = Duration::from_millis(2_500);

/// How a worker is woken.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    notify: Notify,
    /// There is an event since the last reconcile began.
    pending: AtomicBool,
}

/// The start of the next reconcile.
#[derive(Debug)]
pub(crate) struct Pacer {
    began: Instant,
    pauses: ExponentialBackoff,
}

impl Wake {
    /// An object changed.
    pub(crate) fn event(&self) {
        self.pending.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// Pods were sampled.
    pub(crate) fn sampled(&self) {
        self.notify.notify_one();
    }

    /// There is an event that no reconcile has seen.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            pauses: pauses(),
        }
    }
}

impl Pacer {
    /// A reconcile begins: it sees every event until now.
    pub(crate) fn begin(&mut self, wake: &Wake) {
        self.began = Instant::now();
        wake.pending.store(false, Ordering::Relaxed);
    }

    /// The reconcile succeeded: waits for a reason for another one. `is_due` decides whether new
    /// samples are one; it is called at least every [`LONGEST_LOOK`], also when no sample arrives.
    pub(crate) async fn succeeded(
        &mut self,
        wake: &Wake,
        recheck: Duration,
        mut is_due: impl FnMut() -> bool,
    ) {
        self.pauses = pauses();
        let recheck = Instant::now() + recheck;
        sleep_until(self.began + SHORTEST_INTERVAL).await;
        while Instant::now() < recheck {
            let look = recheck.min(Instant::now() + LONGEST_LOOK);
            tokio::select! {
                () = wake.notify.notified() => {}
                () = sleep_until(look) => {}
            }
            if wake.is_pending() || is_due() {
                return;
            }
        }
    }

    /// The reconcile failed: waits longer each time.
    pub(crate) async fn failed(&mut self) {
        sleep(self.pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        sleep_until(self.began + SHORTEST_INTERVAL).await;
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::time::advance;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// Reconciles that take no time, with the time of each.
    async fn reconcile(wake: Arc<Wake>, began: Arc<Mutex<Vec<Duration>>>) {
        let start = Instant::now();
        let mut pacer = Pacer::default();
        loop {
            pacer.begin(&wake);
            began.lock().push(start.elapsed());
            pacer.succeeded(&wake, HOUR, || false).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_in_a_row_share_reconciles() {
        let wake: Arc<Wake> = Arc::default();
        let began: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let worker = tokio::spawn(reconcile(wake.clone(), began.clone()));
        sleep(HOUR / 2).await;
        assert_eq!(began.lock().len(), 1);
        for _ in 0..1_000 {
            wake.event();
            advance(Duration::from_millis(1)).await;
        }
        sleep(SHORTEST_INTERVAL * 2).await;
        worker.abort();
        let began = began.lock();
        assert!(began.len() <= 7, "1 s of events makes reconciles at {began:?}");
        assert!(
            began[1] < HOUR / 2 + Duration::from_millis(5),
            "the first event waits: {began:?}"
        );
        let last = *began.last().unwrap();
        assert!(
            last >= HOUR / 2 + Duration::from_millis(999),
            "the last event is lost: {began:?}"
        );
        let close = began
            .windows(2)
            .find(|pair| pair[1].saturating_sub(pair[0]) < SHORTEST_INTERVAL);
        assert_eq!(close, None);
    }

    #[tokio::test(start_paused = true)]
    async fn samples_alone_start_no_reconcile() {
        let wake: Arc<Wake> = Arc::default();
        let looks = Mutex::new(0);
        let mut pacer = Pacer::default();
        pacer.begin(&wake);
        let sampler = tokio::spawn({
            let wake = wake.clone();
            async move {
                loop {
                    sleep(Duration::from_secs(5)).await;
                    wake.sampled();
                }
            }
        });
        let began = Instant::now();
        pacer
            .succeeded(&wake, HOUR, || {
                *looks.lock() += 1;
                *looks.lock() == 100
            })
            .await;
        assert_eq!(
            began.elapsed(),
            Duration::from_secs(500),
            "one look per round of samples"
        );
        sampler.abort();
        pacer.begin(&wake);
        let began = Instant::now();
        pacer
            .succeeded(&wake, HOUR, || began.elapsed() > Duration::from_secs(20))
            .await;
        assert!(
            began.elapsed() <= LONGEST_LOOK * 2 + SHORTEST_INTERVAL,
            "it looks without samples, too"
        );
        pacer.begin(&wake);
        wake.event();
        let began = Instant::now();
        pacer.succeeded(&wake, HOUR, || false).await;
        assert!(
            began.elapsed() <= SHORTEST_INTERVAL,
            "an event starts a reconcile"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn failures_pause_longer_until_a_success() {
        let wake = Wake::default();
        let mut pacer = Pacer::default();
        let mut total = Duration::ZERO;
        for _ in 0..10 {
            pacer.begin(&wake);
            let began = Instant::now();
            pacer.failed().await;
            assert!(began.elapsed() >= SHORTEST_INTERVAL);
            total += began.elapsed();
        }
        assert!(total >= LONGEST_PAUSE * 5, "{total:?}");
        pacer.begin(&wake);
        wake.event();
        pacer.succeeded(&wake, HOUR, || false).await;
        let began = Instant::now();
        pacer.begin(&wake);
        pacer.failed().await;
        assert!(began.elapsed() <= FIRST_PAUSE * 2, "{:?}", began.elapsed());
    }
}
