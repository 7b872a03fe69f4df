//! What a day cost.

use std::collections::VecDeque;

use crate::numbers::{count, real, whole};
use crate::rules::Pods;
use crate::world::World;

/// Seconds between two points of the picture.
pub(crate) const POINT_SECONDS: i64 = 120;
/// The peak is measured over one second, and over this number of seconds: a tick of the operator.
const TICK_SECONDS: i64 = 5;

/// The numbers of one day under one of the rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Score {
    /// Connections that ended though neither the client nor its session ended.
    pub(crate) moves: i64,
    /// Of these, the ones whose pod was deleted under them.
    pub(crate) cut: i64,
    /// In one second.
    pub(crate) peak: i64,
    /// In a second, on average over a tick.
    pub(crate) peak_of_tick: f64,
    pub(crate) pod_seconds: i64,
    /// Longest time that one client found no room.
    pub(crate) longest_wait: i64,
    pub(crate) points: Vec<Point>,
    pub(crate) last_seconds: VecDeque<i64>,
}

/// One interval of the day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// Its first second.
    pub(crate) at: i64,
    pub(crate) connected: i64,
    pub(crate) pods: Pods,
    /// The most moves of a second in it.
    pub(crate) peak: i64,
}

impl Score {
    pub(crate) fn second(&mut self, world: &World, pods: Pods) {
        self.moves += world.moved;
        self.cut += world.cut;
        self.peak = self.peak.max(world.moved);
        self.last_seconds.push_back(world.moved);
        if count(self.last_seconds.len()) > TICK_SECONDS {
            self.last_seconds.pop_front();
        }
        let tick: i64 = self.last_seconds.iter().sum();
        self.peak_of_tick = self.peak_of_tick.max(real(tick) / real(TICK_SECONDS));
        self.pod_seconds += pods.existing;
        self.longest_wait = self.longest_wait.max(world.longest_wait());
        self.point(world, pods);
    }

    fn point(&mut self, world: &World, pods: Pods) {
        match self.points.last_mut() {
            Some(point) if world.clock - point.at < POINT_SECONDS => {
                point.peak = point.peak.max(world.moved);
            }
            _ => self.points.push(Point {
                at: world.clock,
                connected: world.connected(),
                pods,
                peak: world.moved,
            }),
        }
    }

    pub(crate) fn pod_hours(&self) -> f64 {
        real(self.pod_seconds) / 3_600.0
    }

    /// Rounded up, so that a bound is not met by rounding.
    pub(crate) fn peak_of_tick(&self) -> i64 {
        whole(self.peak_of_tick.ceil())
    }
}
