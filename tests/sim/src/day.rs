//! The demand of a day: how many clients want a connection at each second.

use std::f64::consts::TAU;

use crate::numbers::{real, whole};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// The pool starts empty and is filled before the first second that counts.
pub(crate) const WARM_UP: i64 = HOUR;
/// Length of the flash crowd and of the dip, both ramps included.
const EVENT: i64 = 15 * 60;
/// The clients of a flash crowd arrive, and leave, within this time.
const RAMP: i64 = 60;
const FLASH_CROWD: f64 = 0.35;
const DIP: f64 = -0.30;

/// A cosine between two numbers of clients, with the least at midnight, a flash crowd and a dip.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Day {
    pub(crate) least: i64,
    pub(crate) most: i64,
    /// Second of the day.
    pub(crate) begins: i64,
    pub(crate) ends: i64,
    flash_crowd: i64,
    dip: i64,
}

impl Day {
    /// 24 hours with this number of clients at noon and a fifth of it at midnight.
    pub(crate) fn whole(most: i64) -> Self {
        Self {
            least: most / 5,
            most,
            begins: 0,
            ends: DAY,
            flash_crowd: 9 * HOUR,
            dip: 15 * HOUR,
        }
    }

    /// Three hours of the evening, with the flash crowd in them.
    #[cfg(test)]
    pub(crate) fn evening(most: i64) -> Self {
        Self {
            begins: 17 * HOUR,
            ends: 20 * HOUR,
            flash_crowd: 17 * HOUR + HOUR / 2,
            ..Self::whole(most)
        }
    }

    /// Clients that want a connection at this second of the day.
    pub(crate) fn wanted(&self, second: i64) -> i64 {
        if second < self.begins {
            let since = second - (self.begins - WARM_UP);
            let share = (real(since) / real(WARM_UP / 2)).clamp(0.0, 1.0);
            return whole(real(self.at(self.begins)) * share);
        }
        self.at(second)
    }

    fn at(&self, second: i64) -> i64 {
        let height = (1.0 - (TAU * real(second) / real(DAY)).cos()) / 2.0;
        let base = real(self.least) + real(self.most - self.least) * height;
        let factor = 1.0 + FLASH_CROWD * pulse(second - self.flash_crowd) + DIP * pulse(second - self.dip);
        whole((base * factor).round())
    }
}

/// 1 during an event, 0 outside, with a ramp on both sides.
fn pulse(since: i64) -> f64 {
    let edge = since.min(EVENT - since);
    (real(edge) / real(RAMP)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_is_a_cosine_with_two_events() {
        let day = Day::whole(100_000);
        assert_eq!((day.wanted(0), day.wanted(DAY / 2)), (20_000, 100_000));
        assert_eq!(day.wanted(6 * HOUR), 60_000);
        let base = 20_000.0 + 80_000.0 * (1.0 + 0.5_f64.sqrt()) / 2.0;
        let near = |second: i64, factor: f64| {
            let wanted = real(day.wanted(second));
            assert!(
                (wanted / (base * factor) - 1.0).abs() < 0.03,
                "{wanted} at {second}"
            );
        };
        near(9 * HOUR, 1.0);
        near(9 * HOUR + RAMP, 1.35);
        near(9 * HOUR + EVENT - RAMP, 1.35);
        near(9 * HOUR + EVENT, 1.0);
        near(15 * HOUR + EVENT / 2, 0.7);
    }

    #[test]
    fn warm_up_fills_the_pool_first() {
        let day = Day::whole(100_000);
        assert_eq!(day.wanted(-WARM_UP), 0);
        assert_eq!(day.wanted(-WARM_UP / 2), 20_000);
        assert_eq!(day.wanted(-1), 20_000);
    }
}
