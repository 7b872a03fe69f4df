//! The move budget: a token bucket whose rate follows the number of connections and how well the
//! cluster is.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::numbers::{float, since, whole};
use crate::observed::DrainReason;
use crate::validate::{Amount, Disruption};

/// Tokens pile up for one tick at most: a pool that was quiet for an hour still moves its clients
/// evenly.
const BURST_SECONDS: f64 = 5.0;
/// What a deadline took beyond the budget is paid back from this much of later budget at most.
const DEBT_SECONDS: f64 = 60.0;
const LEAST_HEALTH: f64 = 0.05;
/// Health is looked at this often.
const HEALTH_EVERY: SignedDuration = SignedDuration::from_secs(10);
const HEALTH_BACK: f64 = 0.1;

/// The token bucket of moves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Budget {
    /// Moves that may be granted now; below zero after a deadline took more than there were.
    pub(crate) tokens: f64,
    pub(crate) filled_at: Option<Timestamp>,
    /// 0.05 to 1: the share of the configured rate that is in use.
    pub(crate) health: f64,
    pub(crate) health_at: Option<Timestamp>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            tokens: 0.0,
            filled_at: None,
            health: 1.0,
            health_at: None,
        }
    }
}

/// One draining pod that could use moves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Need {
    /// Its place in the pool.
    pub(crate) index: usize,
    pub(crate) pod: String,
    pub(crate) reason: DrainReason,
    pub(crate) deadline: Timestamp,
    /// Connections that were not granted yet.
    pub(crate) moves: i64,
}

/// Moves per second: what the resource allows for this number of connections and this health.
pub(crate) fn rate(disruption: &Disruption, connections: i64, health: f64) -> f64 {
    let per_minute = match disruption.moves_per_minute {
        Amount::Count(moves) => moves,
        // A percentage of a handful of connections would be none at all.
        Amount::Percent(percent) => (connections.saturating_mul(percent) / 100).max(1),
    };
    let most = f64::from(disruption.max_moves_per_second);
    (float(per_minute) / 60.0).min(most) * health
}

/// The most that can be in the bucket.
pub(crate) fn burst(rate: f64) -> f64 {
    (rate * BURST_SECONDS).max(1.0)
}

/// Rollouts before scale-down, then the nearest deadline, then the pod with the fewest moves left.
pub(crate) fn in_order(mut needs: Vec<Need>) -> Vec<Need> {
    needs.sort_by(|a, b| {
        let key = |need: &Need| (need.reason, need.deadline, need.moves, need.pod.clone());
        key(a).cmp(&key(b))
    });
    needs
}

impl Budget {
    /// The whole rate is in use.
    pub(crate) fn is_well(&self) -> bool {
        self.health >= 1.0
    }

    /// Halves the rate while Redis is down, and restores it step by step.
    pub(crate) fn update_health(&mut self, redis_healthy: bool, now: Timestamp) {
        let due = self.health_at.is_none_or(|at| since(at, now) >= HEALTH_EVERY);
        if !due {
            return;
        }
        self.health_at = Some(now);
        self.health = if redis_healthy {
            (self.health + HEALTH_BACK).min(1.0)
        } else {
            (self.health / 2.0).max(LEAST_HEALTH)
        };
    }

    /// Adds what the time since the last call is worth.
    pub(crate) fn fill(&mut self, rate: f64, now: Timestamp) {
        let elapsed = self.filled_at.map_or(0.0, |at| since(at, now).as_secs_f64());
        self.filled_at = Some(now);
        self.tokens = (self.tokens + rate * elapsed).min(burst(rate));
    }

    /// Spends whole moves, as many of these as there are; returns their number.
    pub(crate) fn take(&mut self, moves: i64) -> i64 {
        let taken = whole(self.tokens).clamp(0, moves.max(0));
        self.tokens -= float(taken);
        taken
    }

    /// A deadline takes what it needs, and later grants pay for it.
    pub(crate) fn take_beyond(&mut self, moves: i64, rate: f64) {
        self.tokens = (self.tokens - float(moves)).max(-rate * DEBT_SECONDS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(index: usize, reason: DrainReason, deadline: i64, moves: i64) -> Need {
        Need {
            index,
            pod: format!("chat-{index}"),
            reason,
            deadline: Timestamp::from_second(deadline).unwrap(),
            moves,
        }
    }

    fn disruption(moves_per_minute: Amount) -> Disruption {
        Disruption {
            moves_per_minute,
            max_moves_per_second: 10,
            max_concurrent_drains: Amount::Count(1),
        }
    }

    #[test]
    fn rate_is_the_smaller_limit_above_zero() {
        let same = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        same(rate(&disruption(Amount::Percent(20)), 300, 1.0), 1.0);
        same(rate(&disruption(Amount::Percent(20)), 300, 0.5), 0.5);
        same(rate(&disruption(Amount::Percent(100)), 60_000, 1.0), 10.0);
        same(rate(&disruption(Amount::Percent(1)), 3, 1.0), 1.0 / 60.0);
        same(rate(&disruption(Amount::Count(120)), 3, 1.0), 2.0);
    }

    #[test]
    fn rollouts_then_deadlines_then_the_emptiest() {
        let mut budget = Budget {
            tokens: 12.9,
            ..Budget::default()
        };
        let needs = in_order(vec![
            need(3, DrainReason::ScaleDown, 5, 3),
            need(2, DrainReason::ScaleDown, 5, 2),
            need(1, DrainReason::ScaleDown, 1, 4),
            need(0, DrainReason::Rollout, 9, 5),
        ]);
        let grants: Vec<_> = needs
            .iter()
            .map(|need| (need.index, budget.take(need.moves)))
            .collect();
        assert_eq!(grants, [(0, 5), (1, 4), (2, 2), (3, 1)]);
        assert!((budget.tokens - 0.9).abs() < 1e-9);
    }

    #[test]
    fn budget_starts_empty_and_holds_one_tick() {
        let start = Timestamp::UNIX_EPOCH;
        let mut budget = Budget::default();
        budget.fill(2.0, start);
        assert!(budget.tokens.abs() < 1e-9);
        budget.fill(2.0, start + SignedDuration::from_secs(3));
        assert!((budget.tokens - 6.0).abs() < 1e-9);
        budget.fill(2.0, start + SignedDuration::from_secs(3600));
        assert!((budget.tokens - 10.0).abs() < 1e-9);
        budget.fill(2.0, start);
        assert!(
            (budget.tokens - 10.0).abs() < 1e-9,
            "a clock that is set back gives nothing"
        );
    }

    #[test]
    fn health_halves_at_once_and_recovers_slowly() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut budget = Budget::default();
        let mut step = |budget: &mut Budget, well| {
            now += HEALTH_EVERY;
            budget.update_health(well, now);
            budget.update_health(well, now);
            budget.health
        };
        assert!((step(&mut budget, false) - 0.5).abs() < 1e-9);
        for _ in 0..10 {
            step(&mut budget, false);
        }
        assert!((budget.health - LEAST_HEALTH).abs() < 1e-9);
        assert!((step(&mut budget, true) - 0.15).abs() < 1e-9);
        for _ in 0..20 {
            step(&mut budget, true);
        }
        assert!((budget.health - 1.0).abs() < 1e-9);
    }
}
