//! The rates of the pods that move clients at the same time: together at most `maxMovesPerSecond`
//! moves in each second.
//!
//! A pod at 1.2 moves a second makes two of them in some second: it takes its rate rounded up. A
//! rate is not lowered while moves are due, because a call may not arrive: the next pod waits until
//! they are made.

use std::collections::BTreeMap;

use crate::draft::Draft;
use crate::numbers::{float, since, whole};
use crate::observed::{PodState, Sample};
use crate::pace::{Pace, STUCK};
use crate::pool::{Member, Pool};

/// Granted moves are spread over a bit less than a tick, so that the next sample finds them done.
const PACE_SECONDS: f64 = 4.0;
/// A grant is worth one tick at most.
const TICK_SECONDS: i64 = 5;

/// The rates of all pods in one pass, by their place in the pool.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Whole moves a second that no pod takes; below zero after the limit was lowered.
    free: i64,
    moving: BTreeMap<usize, Rate>,
    /// A pod past its deadline waits: pods before theirs get no more moves.
    is_short: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    per_second: f64,
    due: i64,
}

impl Rates {
    pub(crate) fn new(draft: &mut Draft<'_>, pool: &Pool<'_>) -> Self {
        let (now, most) = (
            draft.now,
            i64::from(draft.cluster.disruption.max_moves_per_second),
        );
        let mut rates = Self {
            free: most,
            moving: BTreeMap::new(),
            is_short: false,
        };
        let is_start = draft.memory.started_at.is_none_or(|at| since(at, now) <= STUCK);
        for member in &pool.members {
            let memory = draft.memory.pod(&member.view.uid);
            if let Some(sample) = member.sample {
                memory.pace = Pace::of(memory.pace.take(), sample, most, now);
            } else if memory.pace.is_none() && is_start && member.view.state == PodState::Shedding {
                // An earlier operator granted its moves, and it may still make them.
                rates.free -= most;
            }
            if let Some(pace) = memory.pace.as_ref().filter(|pace| pace.is_moving(now)) {
                let (per_second, due) = (pace.per_second, pace.due);
                rates.free -= rounded_up(per_second);
                rates.moving.insert(member.index, Rate { per_second, due });
            }
        }
        rates
    }

    /// How many of these moves the pod can be granted now.
    pub(crate) fn most(&self, index: usize, moves: i64) -> i64 {
        if self.is_short {
            return 0;
        }
        let rate = self.rate(index);
        let most = self.room(rate).saturating_mul(TICK_SECONDS) - rate.due;
        most.clamp(0, moves.max(0))
    }

    /// The rate of a pod that has this number of moves to make; `None` while others take the whole
    /// limit.
    pub(crate) fn take(&mut self, index: usize, due: i64) -> Option<f64> {
        let rate = self.rate(index);
        let (room, due) = (self.room(rate), rate.due.max(due));
        if due == 0 {
            return Some(1.0);
        }
        if room < 1 {
            self.is_short = true;
            return None;
        }
        let per_second = (float(due) / PACE_SECONDS).max(rate.per_second).min(float(room));
        self.free = room - rounded_up(per_second);
        self.moving.insert(index, Rate { per_second, due });
        Some(per_second)
    }

    fn rate(&self, index: usize) -> Rate {
        self.moving.get(&index).copied().unwrap_or_default()
    }

    fn room(&self, rate: Rate) -> i64 {
        self.free + rounded_up(rate.per_second)
    }

    /// Remembers the rate with the grant of the pod, which may be the same one again.
    pub(crate) fn remember(&self, draft: &mut Draft<'_>, member: &Member<'_>, sample: &Sample) {
        let (now, Rate { per_second, due }) = (draft.now, self.rate(member.index));
        let total = draft.moves(sample).total(sample);
        let pace = &mut draft.memory.pod(&member.view.uid).pace;
        let has_begun = |pace: &&Pace| {
            pace.boot_id == sample.boot_id && pace.total == total && sample.shed_target >= total
        };
        let progress_at = pace
            .as_ref()
            .filter(has_begun)
            .map_or(now, |pace| pace.progress_at);
        *pace = (due > 0).then(|| Pace {
            boot_id: sample.boot_id.clone(),
            per_second,
            due,
            total,
            granted_at: now,
            shed_total: sample.shed_total,
            progress_at,
        });
    }
}

fn rounded_up(per_second: f64) -> i64 {
    whole(per_second.ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit of which one pod takes ten moves a second, with 20 moves to make.
    fn rates(limit: i64) -> Rates {
        let rate = Rate {
            per_second: 9.5,
            due: 20,
        };
        Rates {
            free: limit - 10,
            moving: [(0, rate)].into(),
            is_short: false,
        }
    }

    #[test]
    fn rates_rounded_up_stay_within_the_limit() {
        let mut rates = rates(14);
        assert_eq!(rates.most(1, 100), 20, "four a second for five seconds");
        assert_eq!(rates.take(1, 5), Some(1.25), "over four seconds");
        assert_eq!(rates.take(2, 100), Some(2.0), "what is left");
        assert_eq!(rates.most(3, 1), 0);
        assert_eq!(rates.take(0, 100), Some(10.0), "its own share, and no more");
    }

    #[test]
    fn waiting_pod_past_deadline_stops_others() {
        let mut rates = rates(10);
        assert_eq!(rates.most(0, 100), 30);
        assert_eq!(rates.take(1, 5), None, "the limit is taken");
        assert_eq!(rates.most(0, 100), 0, "they make their moves, and get no more");
    }
}
