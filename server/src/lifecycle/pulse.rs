//! Whether the shards make progress.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// More than the allocator has ready among small blocks.
const NUDGE_BYTES: usize = 1 << 20;
/// How often a shard reports progress, and after how long without a report it counts as stalled.
const BEAT: Duration = Duration::from_secs(1);
const STILL: Duration = Duration::from_secs(5);

/// When each shard last made progress.
#[derive(Debug)]
pub(crate) struct Pulse {
    started: Instant,
    beats: Vec<AtomicU64>,
}

impl Pulse {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            started: Instant::now(),
            beats: (0..shards).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether every shard makes progress.
    pub(crate) fn goes_on(&self) -> bool {
        let now = self.millis();
        let still = u64::try_from(STILL.as_millis()).unwrap_or(u64::MAX);
        let mut beats = self.beats.iter();
        beats.all(|beat| now.saturating_sub(beat.load(Ordering::Relaxed)) <= still)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Beats for a shard, forever.
    pub(super) async fn beat(&self, shard: usize) -> Infallible {
        loop {
            self.beats[shard % self.beats.len()].store(self.millis(), Ordering::Relaxed);
            nudge_allocator();
            sleep(BEAT).await;
        }
    }
}

/// The allocator returns memory some time after it is free, and only during an allocation: after a
/// mass disconnect there is none.
fn nudge_allocator() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(NUDGE_BYTES)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_stands_still_is_noticed() {
        let pulse = Pulse::new(2);
        tokio::time::advance(STILL).await;
        assert!(pulse.goes_on());
        let _ = tokio::time::timeout(Duration::from_mins(1), pulse.beat(0)).await;
        assert!(!pulse.goes_on(), "the second one never said anything");
        let both = async { tokio::join!(pulse.beat(0), pulse.beat(1)) };
        let _ = tokio::time::timeout(Duration::from_mins(1), both).await;
        assert!(pulse.goes_on());
    }
}
