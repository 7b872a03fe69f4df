//! The time of decisions: it follows the wall clock, and never jumps. A wall clock that is
//! corrected would make every sample stale and every deadline due, or none.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// A difference to the wall clock is made up for by this share of the time that passes.
const SLEW: u32 = 10;
/// A larger difference between two clocks is logged: timestamps of other programs are off by as
/// much.
pub(crate) const NOTABLE: Duration = Duration::from_secs(5);

static CLOCK: Mutex<Option<Clock>> = Mutex::new(None);

/// The time now, for the whole process.
pub(crate) fn now() -> Timestamp {
    let (elapsed, wall) = (Instant::now(), Timestamp::now());
    let mut clock = CLOCK.lock();
    let clock = clock.get_or_insert_with(|| Clock::new(elapsed, wall));
    clock.advance(elapsed, wall)
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    at: Instant,
    time: Timestamp,
    /// The difference was logged.
    is_off: bool,
}

impl Clock {
    fn new(at: Instant, wall: Timestamp) -> Self {
        Self {
            at,
            time: wall,
            is_off: false,
        }
    }

    fn advance(&mut self, at: Instant, wall: Timestamp) -> Timestamp {
        let elapsed = at.saturating_duration_since(self.at);
        let most = SignedDuration::try_from(elapsed / SLEW).unwrap_or_default();
        let elapsed = SignedDuration::try_from(elapsed).unwrap_or_default();
        let expected = self.time.saturating_add(elapsed).unwrap_or(wall);
        let difference = wall.duration_since(expected);
        let step = difference.max(-most).min(most);
        self.time = expected.saturating_add(step).unwrap_or(wall);
        self.at = self.at.max(at);
        let is_off = difference.unsigned_abs() > NOTABLE;
        if is_off && !self.is_off {
            let seconds = difference.as_secs();
            tracing::warn!(seconds, "the wall clock has jumped; following it slowly");
        }
        self.is_off = is_off;
        self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn jump_is_followed_slowly_and_never_backwards() {
        for jump in [3_600, -3_600] {
            let start = Instant::now();
            let mut clock = Clock::new(start, wall(0));
            let mut last = wall(0);
            for second in 1..=40_000_u32 {
                let seen = wall(i64::from(second) + jump);
                let time = clock.advance(start + Duration::from_secs(second.into()), seen);
                let passed = time.duration_since(last);
                assert!(
                    passed >= SignedDuration::from_millis(900)
                        && passed <= SignedDuration::from_millis(1_100),
                    "{passed:?} in a second"
                );
                last = time;
            }
            assert_eq!(last, wall(40_000 + jump), "it has caught up");
        }
    }

    #[test]
    fn without_jumps_it_is_the_wall_clock() {
        let start = Instant::now();
        let mut clock = Clock::new(start, wall(0));
        for second in [1, 2, 300] {
            let time = clock.advance(
                start + Duration::from_secs(second),
                wall(i64::try_from(second).unwrap()),
            );
            assert_eq!(time, wall(i64::try_from(second).unwrap()));
        }
    }
}
