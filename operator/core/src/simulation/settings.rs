//! Time, sizes and the resource of the simulation, and the faults in force.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use wsc_api::v1alpha1::{OnDeadline, ScalingMode};

use crate::observed::PodView;
use crate::testing;
use crate::validate::{Images, ValidCluster};

pub(super) const TARGET_PERCENT: i64 = 75;
pub(super) const MOVES_PER_SECOND: f64 = 1.0;
pub(super) const MOST_DRAINS: usize = 2;

pub(super) fn at(clock: i64) -> Timestamp {
    testing::start() + SignedDuration::from_secs(clock)
}

/// The template whose pods are sick.
pub(super) const SICK: u8 = 3;
/// The Redis that is never there.
pub(super) const DEAD_REDIS: u8 = 2;

/// What this release of the operator is installed with.
pub(super) fn images(release: u8) -> Images {
    let of_release = |image: String| format!("{image}.{release}");
    let images = testing::images();
    Images {
        server: of_release(images.server),
        proxy: of_release(images.proxy),
        redis: of_release(images.redis),
        ..images
    }
}

/// What the resource says.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) mode: ScalingMode,
    pub(super) on_deadline: OnDeadline,
    /// `maxMovesPerSecond`.
    pub(super) moves_per_second: i64,
    pub(super) replicas: i32,
    pub(super) max_replicas: i32,
    pub(super) max_connections: i64,
    pub(super) port: u16,
    pub(super) path: &'static str,
    pub(super) origin: &'static str,
    pub(super) redis: u8,
    pub(super) template: u8,
}

impl Spec {
    pub(super) fn new(mode: ScalingMode, on_deadline: OnDeadline, replicas: i32, max_replicas: i32) -> Self {
        Self {
            mode,
            on_deadline,
            moves_per_second: 3,
            replicas,
            max_replicas,
            max_connections: 20,
            port: 8080,
            path: "/ws",
            origin: "*",
            redis: 0,
            template: 0,
        }
    }

    /// Connections that a pod should have.
    pub(super) fn target(&self) -> i64 {
        self.max_connections * TARGET_PERCENT / 100
    }

    /// The most pods that may exist and not drain.
    pub(super) fn most_pods(&self) -> i64 {
        let most = i64::from(self.max_replicas);
        most + crate::numbers::div_ceil(most, 10)
    }

    /// Its pods can become ready, and serve for long.
    pub(super) fn is_healthy(&self) -> bool {
        self.template != SICK && self.redis != DEAD_REDIS
    }

    /// The pod has the labels of the spec, and no earlier ones.
    pub(super) fn has_labels(&self, pod: &PodView) -> bool {
        let cluster = self.cluster(0);
        pod.common == cluster.common
    }

    pub(super) fn cluster(&self, generation: i64) -> ValidCluster {
        // In place, while everything else happens.
        let origin = self.origin.len();
        let yaml = format!(
            "
replicas: {}
labels: {{origin: '{origin}', 'origin-{origin}': ''}}
scaling:
  mode: {:?}
  minReplicas: 2
  maxReplicas: {}
  targetUtilizationPercent: {TARGET_PERCENT}
  behavior: {{scaleDown: {{stabilizationWindowSeconds: 30}}}}
server:
  maxConnections: {}
  port: {}
  path: {}
  startDeadlineSeconds: 180
  env: [{{name: TEMPLATE, value: '{}'}}]
proxy: {{origins: ['{}']}}
redis: {{external: {{url: 'redis://redis-{}:6379'}}}}
drain: {{naturalSeconds: 20, deadlineSeconds: 120, onDeadline: {:?}}}
disruption: {{movesPerMinute: 60, maxMovesPerSecond: {}, maxConcurrentDrains: {MOST_DRAINS}}}
",
            self.replicas,
            self.mode,
            self.max_replicas,
            self.max_connections,
            self.port,
            self.path,
            self.template,
            self.origin,
            self.redis,
            self.on_deadline,
            self.moves_per_second
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
