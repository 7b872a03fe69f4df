//! The waits between attempts to reach Redis.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
/// Delivery must be back two seconds after Redis is, so the longest wait is one.
const LONGEST: Duration = Duration::from_secs(1);

/// Doubles from 50 ms to 1 s; each wait is that times a random half to whole, so that pods do not knock in step.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.attempts.min(10)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_over() {
        let mut backoff = Backoff::default();
        for whole in [50, 100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next_wait();
            let whole = Duration::from_millis(whole);
            assert!((whole / 2..=whole).contains(&wait), "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST);
    }
}
