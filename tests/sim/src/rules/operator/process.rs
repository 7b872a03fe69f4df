//! The control contract of a server process.

use crate::numbers::{real, whole};

/// Thirds of a connection add up to a whole one in spite of the rounding of floating-point numbers.
const ROUNDING: f64 = 1e-6;

#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) cordoned: bool,
    /// `shed_target` and `shed_total` of `/stats`.
    pub(crate) target: i64,
    pub(crate) done: i64,
    per_second: f64,
}

impl Process {
    /// `PUT /shed`.
    pub(crate) fn shed(&mut self, total: i64, per_second: f64) {
        (self.target, self.per_second) = (total, per_second);
    }

    /// Connections to close in this second. `carry`: the fraction of a connection that all
    /// processes together owe, so that whole connections do not add up to a faster rate.
    pub(crate) fn due(&self, carry: &mut f64) -> i64 {
        let left = self.target - self.done;
        if left <= 0 {
            return 0;
        }
        let due = self.per_second.min(real(left)) + *carry;
        let connections = whole(due + ROUNDING).min(left);
        *carry = (due - real(connections)).max(0.0);
        connections
    }

    pub(crate) fn moved(&mut self, connections: i64) {
        self.done += connections;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granted_moves_are_spread_by_the_rate() {
        let mut process = Process::default();
        let mut carry = 0.0;
        process.shed(5, 1.5);
        let moved: Vec<i64> = (0..5)
            .map(|_| {
                let due = process.due(&mut carry);
                process.moved(due);
                due
            })
            .collect();
        assert_eq!(moved, [1, 2, 1, 1, 0]);
        assert_eq!(process.done, process.target);
    }
}
