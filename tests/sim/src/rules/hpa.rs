//! The rules of the HPA (`autoscaling/v2`) for the average number of connections of a pod, with the
//! defaults of Kubernetes, and a Deployment that deletes pods with their clients. From
//! `pkg/controller/podautoscaler` of Kubernetes: `calcPlainMetricReplicas`, the stabilization of
//! recommendations, and the default policies.

use std::cmp::Ordering;

use anyhow::Result;
use rand::RngExt;

use super::{Pods, Rules};
use crate::numbers::{count, real, whole};
use crate::rules::operator::{MAX_REPLICAS, MIN_REPLICAS, TARGET};
use crate::world::World;

const SYNC_SECONDS: i64 = 15;
const TOLERANCE: f64 = 0.1;
/// `behavior.scaleDown.stabilizationWindowSeconds`.
const WINDOW_SECONDS: i64 = 300;
/// Default policies of a scale-up: this number of pods, or as many as there are, in one sync
/// period.
const MOST_NEW_PODS: i64 = 4;

/// Which Ready pod a scale-down deletes. Pods that are not Ready go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Random,
    /// With the fewest connections, as `pod-deletion-cost` could say.
    Emptiest,
}

#[derive(Debug)]
pub(crate) struct Hpa {
    victim: Victim,
    /// `spec.replicas` of the Deployment.
    replicas: i64,
    /// Recommendations of the window, with their seconds.
    recommended: Vec<(i64, i64)>,
    next_sync: Option<i64>,
    next_serial: i64,
}

impl Hpa {
    pub(crate) fn new(victim: Victim) -> Self {
        Self {
            victim,
            replicas: MIN_REPLICAS,
            recommended: Vec::new(),
            next_sync: None,
            next_serial: 0,
        }
    }

    fn sync(&mut self, world: &World) {
        let ready: Vec<i64> = world
            .servers
            .iter()
            .filter(|(serial, _)| world.is_ready(**serial))
            .map(|(_, server)| server.connections)
            .collect();
        let starting = world.servers.len() - ready.len();
        let wanted = replicas(&ready, count(starting), self.replicas);
        let wanted = wanted.clamp(MIN_REPLICAS, MAX_REPLICAS);
        self.recommended
            .retain(|(at, _)| world.clock - at < WINDOW_SECONDS);
        self.recommended.push((world.clock, wanted));
        let most = self.recommended.iter().map(|(_, wanted)| *wanted).max();
        self.replicas = match wanted.cmp(&self.replicas) {
            Ordering::Greater => wanted.min((2 * self.replicas).max(self.replicas + MOST_NEW_PODS)),
            _ => most.unwrap_or(wanted).min(self.replicas),
        };
    }

    /// The Deployment's ReplicaSet.
    fn reconcile(&mut self, world: &mut World) {
        while count(world.servers.len()) < self.replicas {
            world.create(self.next_serial);
            self.next_serial += 1;
        }
        while count(world.servers.len()) > self.replicas {
            let Some(victim) = self.pick(world) else {
                return;
            };
            world.remove(victim);
        }
    }

    fn pick(&self, world: &mut World) -> Option<i64> {
        let starting = world
            .servers
            .keys()
            .rev()
            .find(|serial| !world.is_ready(**serial));
        if let Some(starting) = starting {
            return Some(*starting);
        }
        match self.victim {
            Victim::Random => {
                let index = world.random.random_range(0..world.servers.len());
                world.servers.keys().nth(index).copied()
            }
            Victim::Emptiest => {
                let servers = world.servers.iter();
                let emptiest = servers.min_by_key(|(serial, server)| (server.connections, -**serial));
                emptiest.map(|(serial, _)| *serial)
            }
        }
    }
}

impl Rules for Hpa {
    fn step(&mut self, world: &mut World) -> Result<()> {
        if self.next_sync.is_none_or(|at| at <= world.clock) {
            self.next_sync = Some(world.clock + SYNC_SECONDS);
            self.sync(world);
        }
        self.reconcile(world);
        let serials: Vec<i64> = world.servers.keys().copied().collect();
        for serial in serials {
            let ready = world.is_ready(serial);
            world.set_rotation(serial, ready);
        }
        Ok(())
    }

    fn pods(&self, world: &World) -> Pods {
        let ready = world.servers.keys().filter(|serial| world.is_ready(**serial));
        Pods {
            desired: self.replicas,
            active: count(ready.count()),
            draining: 0,
            existing: count(world.servers.len()),
        }
    }
}

/// Recommended replicas for the connections of the Ready pods. Pods that start count as empty when
/// the pool grows, and not at all when it shrinks.
fn replicas(ready: &[i64], starting: i64, current: i64) -> i64 {
    let pods = count(ready.len());
    if pods == 0 {
        return current;
    }
    let connections = ready.iter().sum::<i64>();
    let ratio = |pods: i64| real(connections) / real(pods * TARGET);
    let is_within = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE;
    let scale = |pods: i64| whole((ratio(pods) * real(pods)).ceil());
    if starting == 0 || ratio(pods) <= 1.0 {
        return if is_within(ratio(pods)) {
            current
        } else {
            scale(pods)
        };
    }
    let all = pods + starting;
    if is_within(ratio(all)) || ratio(all) < 1.0 {
        current
    } else {
        scale(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommendation_follows_the_average_outside_the_tolerance() {
        assert_eq!(replicas(&[8_200, 8_200], 0, 2), 2, "9 % above the target");
        assert_eq!(replicas(&[8_300, 8_300], 0, 2), 3);
        assert_eq!(replicas(&[6_800; 4], 0, 4), 4, "9 % below the target");
        assert_eq!(replicas(&[5_000; 4], 0, 4), 3);
        assert_eq!(replicas(&[], 2, 2), 2, "no metric");
    }

    #[test]
    fn growth_counts_starting_pods_as_empty() {
        assert_eq!(replicas(&[10_000; 4], 1, 5), 5, "within the tolerance with it");
        assert_eq!(replicas(&[10_000; 6], 1, 7), 8);
        assert_eq!(replicas(&[10_000; 4], 4, 8), 8, "never smaller");
        assert_eq!(replicas(&[5_000; 4], 2, 6), 3, "ignored when it shrinks");
    }
}
