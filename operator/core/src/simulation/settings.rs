//! Time, sizes and the resource of the simulation, and the faults in force.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use wsc_api::v1alpha1::{OnDeadline, ScalingMode};

use crate::testing;
use crate::validate::ValidCluster;

/// Connections that a pod takes.
pub(super) const CAPACITY: i64 = 20;
/// The target of 75 %.
pub(super) const TARGET: i64 = 15;
pub(super) const MOVES_PER_SECOND: f64 = 1.0;
pub(super) const MOST_DRAINS: usize = 2;

pub(super) fn at(clock: i64) -> Timestamp {
    testing::start() + SignedDuration::from_secs(clock)
}

/// What the resource says.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) mode: ScalingMode,
    pub(super) on_deadline: OnDeadline,
    pub(super) replicas: i32,
    pub(super) max_replicas: i32,
    pub(super) template: u8,
}

impl Spec {
    pub(super) fn cluster(&self, generation: i64) -> ValidCluster {
        let yaml = format!(
            "
replicas: {}
scaling:
  mode: {:?}
  minReplicas: 2
  maxReplicas: {}
  behavior: {{scaleDown: {{stabilizationWindowSeconds: 30}}}}
server: {{maxConnections: {CAPACITY}, env: [{{name: TEMPLATE, value: '{}'}}]}}
drain: {{naturalSeconds: 20, deadlineSeconds: 120, onDeadline: {:?}}}
disruption: {{movesPerMinute: 60, maxMovesPerSecond: 3, maxConcurrentDrains: {MOST_DRAINS}}}
",
            self.replicas, self.mode, self.max_replicas, self.template, self.on_deadline
        );
        let mut cluster = testing::cluster(&yaml);
        cluster.generation = generation;
        cluster
    }
}

/// What goes wrong now.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) until: i64,
    pub(super) writes_lost_percent: usize,
    pub(super) calls_lost_percent: usize,
    pub(super) samples_lost_percent: usize,
    pub(super) watch_stalled_since: Option<i64>,
    pub(super) redis_down_until: i64,
    pub(super) starts_fail: bool,
}
