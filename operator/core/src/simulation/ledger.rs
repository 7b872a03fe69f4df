//! What is counted over a whole run.

use super::settings::MOVES_PER_SECOND;
use crate::numbers::float;

/// Moves that servers have accepted, with their times; those of deadlines are not the budget's.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    grants: Vec<(i64, i64)>,
    /// Clients whose pod went away under them.
    pub(super) cut: usize,
    /// Attempts of clients that met no server before one had ever accepted any.
    pub(super) unserved_at_first: usize,
    /// How often `Ready` turned from true.
    pub(super) ready_lost: usize,
}

impl Ledger {
    pub(super) fn granted(&mut self, clock: i64, moves: i64, by_deadline: bool) {
        if moves > 0 && !by_deadline {
            self.grants.push((clock, moves));
        }
    }

    /// I2: in every window at most what the rate is worth, and one burst of five seconds.
    pub(super) fn check(&self) {
        let burst = MOVES_PER_SECOND * 5.0;
        let (mut level, mut last) = (burst, 0);
        for (clock, moves) in &self.grants {
            let worth = float(clock - last) * MOVES_PER_SECOND;
            level = burst.min(level + worth) - float(*moves);
            last = *clock;
            assert!(
                level > -0.001,
                "I2: {moves} moves at {clock} were beyond the budget"
            );
        }
    }
}
