//! The metrics of `GET /metrics`.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use wsc_core::plan::Plan;
use wsc_runtime::admin::metrics_text;

use super::outcome::Outcome;
use crate::error::{CATEGORIES, UNREADABLE};
use crate::identity::ClusterKey;

/// Which resource a number is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCluster {
    namespace: String,
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWrite {
    verb: &'static str,
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfError {
    category: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWatch {
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHold {
    namespace: String,
    cluster: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfScope {
    namespace: String,
}

type PerCluster = Family<OfCluster, Gauge>;

/// Every metric of the operator. Labels are words of the program and names of resources, never text
/// of a user.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Family<OfOutcome, Counter>,
    reconcile_duration: Histogram,
    api_writes: Family<OfWrite, Counter>,
    errors: Family<OfError, Counter>,
    samples: Family<OfOutcome, Counter>,
    watch_age: Family<OfWatch, Gauge>,
    synced: Family<OfScope, Gauge>,
    clock_skew: Gauge,
    reconcile_slots: Gauge,
    reconcile_slots_used: Gauge,
    reconciles_waiting: Gauge,
    moves_granted: Family<OfCluster, Counter>,
    desired_pods: PerCluster,
    active_pods: PerCluster,
    starting_pods: PerCluster,
    draining_pods: PerCluster,
    connections: PerCluster,
    capacity: PerCluster,
    hold: Family<OfHold, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("wsc_operator"),
            reconciles: Family::default(),
            // 1 ms to 16 s.
            reconcile_duration: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            api_writes: Family::default(),
            errors: Family::default(),
            samples: Family::default(),
            watch_age: Family::default(),
            synced: Family::default(),
            clock_skew: Gauge::default(),
            reconcile_slots: Gauge::default(),
            reconcile_slots_used: Gauge::default(),
            reconciles_waiting: Gauge::default(),
            moves_granted: Family::default(),
            desired_pods: Family::default(),
            active_pods: Family::default(),
            starting_pods: Family::default(),
            draining_pods: Family::default(),
            connections: Family::default(),
            capacity: Family::default(),
            hold: Family::default(),
        };
        metrics.register_process();
        metrics.register_clusters();
        metrics
    }
}

impl Metrics {
    /// A reconcile ended.
    pub(crate) fn reconciled(&self, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&OfOutcome { outcome }).inc();
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    /// A write to the API server ended.
    pub(crate) fn api_write(&self, verb: &'static str, kind: &str, outcome: &'static str) {
        let labels = OfWrite {
            verb,
            kind: kind.to_owned(),
            outcome,
        };
        self.api_writes.get_or_create(&labels).inc();
    }

    /// Something failed.
    pub(crate) fn error(&self, category: &'static str) {
        self.errors.get_or_create(&OfError { category }).inc();
    }

    /// A pod was sampled.
    pub(crate) fn sample(&self, answered: bool) {
        let outcome = if answered { "answered" } else { "failed" };
        self.samples.get_or_create(&OfOutcome { outcome }).inc();
    }

    /// Time since the last progress of a watch.
    pub(crate) fn watch_age(&self, path: String, age: Duration) {
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        self.watch_age.get_or_create(&OfWatch { path }).set(seconds);
    }

    /// Whether every kind was listed in a namespace.
    pub(crate) fn synced(&self, namespace: &str, is_synced: bool) {
        let labels = OfScope {
            namespace: namespace.to_owned(),
        };
        self.synced.get_or_create(&labels).set(i64::from(is_synced));
    }

    /// Seconds that the clock of the API server is ahead.
    pub(crate) fn clock_skew(&self, seconds: i64) {
        self.clock_skew.set(seconds);
    }

    /// Limit of reconciles at once, those under way, and those that wait.
    pub(crate) fn reconcile_slots(&self, limit: usize, in_use: usize, waiting: usize) {
        for (gauge, number) in [
            (&self.reconcile_slots, limit),
            (&self.reconcile_slots_used, in_use),
            (&self.reconciles_waiting, waiting),
        ] {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// A plan was applied, and pods newly accepted to move `granted` connections.
    pub(crate) fn cluster(&self, key: &ClusterKey, plan: &Plan, granted: i64) {
        let labels = of(key);
        let status = &plan.status;
        for (family, value) in [
            (&self.desired_pods, i64::from(status.desired_replicas)),
            (&self.active_pods, i64::from(status.replicas)),
            (&self.starting_pods, i64::from(status.starting_replicas)),
            (&self.draining_pods, i64::from(status.draining_replicas)),
            (&self.connections, status.connections.current),
            (&self.capacity, status.connections.capacity),
        ] {
            family.get_or_create(&labels).set(value);
        }
        for (reason, is_in_force) in &plan.holds {
            let labels = of_hold(key, reason);
            self.hold.get_or_create(&labels).set(i64::from(*is_in_force));
        }
        let granted = u64::try_from(granted).unwrap_or(0);
        self.moves_granted.get_or_create(&labels).inc_by(granted);
    }

    /// Connections of a cluster that was sampled and needs no reconcile.
    pub(crate) fn connections(&self, key: &ClusterKey, connections: i64) {
        self.connections.get_or_create(&of(key)).set(connections);
    }

    /// The resource was deleted.
    pub(crate) fn forget(&self, key: &ClusterKey) {
        let labels = of(key);
        for family in [
            &self.desired_pods,
            &self.active_pods,
            &self.starting_pods,
            &self.draining_pods,
            &self.connections,
            &self.capacity,
        ] {
            family.remove(&labels);
        }
        self.moves_granted.remove(&labels);
        for reason in wsc_core::plan::holds() {
            self.hold.remove(&of_hold(key, reason));
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    fn register_process(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "reconciles",
            "Reconciles of clusters, by outcome",
            self.reconciles.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of a reconcile",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        registry.register(
            "api_writes",
            "Writes to the API server, by verb, kind and result",
            self.api_writes.clone(),
        );
        registry.register(
            "errors",
            "Failed steps of reconciles and watches, by category",
            self.errors.clone(),
        );
        registry.register(
            "samples",
            "Requests for the statistics of server and HAProxy pods, by outcome",
            self.samples.clone(),
        );
        registry.register_with_unit(
            "watch_age",
            "Time since the last progress of a watch",
            Unit::Seconds,
            self.watch_age.clone(),
        );
        registry.register(
            "namespace_synced",
            "1 once all kinds were listed in the namespace, so that its clusters are reconciled; 0 where a permission is missing",
            self.synced.clone(),
        );
        registry.register_with_unit(
            "clock_skew",
            "Time that the clock of the API server is ahead of the operator's at least, negative if it is behind",
            Unit::Seconds,
            self.clock_skew.clone(),
        );
        self.register_slots();
    }

    fn register_slots(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "reconcile_slots",
            "Limit of reconciles at the same time; it is halved while calls to the API server are slow",
            self.reconcile_slots.clone(),
        );
        registry.register(
            "reconcile_slots_used",
            "Reconciles under way",
            self.reconcile_slots_used.clone(),
        );
        registry.register(
            "reconciles_waiting",
            "Reconciles that wait for a slot",
            self.reconciles_waiting.clone(),
        );
    }

    fn register_clusters(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "moves_granted",
            "Connections that server pods were granted to move",
            self.moves_granted.clone(),
        );
        registry.register(
            "desired_pods",
            "Desired number of server pods",
            self.desired_pods.clone(),
        );
        registry.register("active_pods", "Server pods in rotation", self.active_pods.clone());
        registry.register(
            "starting_pods",
            "Server pods that are not in rotation yet",
            self.starting_pods.clone(),
        );
        registry.register(
            "draining_pods",
            "Server pods that drain",
            self.draining_pods.clone(),
        );
        registry.register(
            "connections",
            "Open connections of all server pods",
            self.connections.clone(),
        );
        registry.register(
            "capacity",
            "Connections that the server pods in rotation accept",
            self.capacity.clone(),
        );
        registry.register(
            "hold",
            "1 while a hold is in force, by reason: it forbids scale-down, or every drain",
            self.hold.clone(),
        );
    }
}

fn of_hold(key: &ClusterKey, reason: &'static str) -> OfHold {
    OfHold {
        namespace: key.namespace.to_string(),
        cluster: key.name.clone(),
        reason,
    }
}

fn of(key: &ClusterKey) -> OfCluster {
    OfCluster {
        namespace: key.namespace.to_string(),
        cluster: key.name.clone(),
    }
}

/// A scrape with a child in each family and every value of the closed labels, for the generated
/// reference.
pub fn example() -> String {
    let metrics = Metrics::default();
    for outcome in Outcome::ALL {
        metrics.reconciled(outcome.as_str(), Duration::ZERO);
    }
    for verb in ["create", "apply", "patch", "prune", "delete", "publish"] {
        metrics.api_write(verb, "Pod", "ok");
    }
    // A write neither samples a pod nor reads a resource.
    for category in CATEGORIES
        .iter()
        .filter(|word| !["pod", UNREADABLE].contains(word))
    {
        metrics.api_write("create", "Pod", category);
    }
    for category in CATEGORIES {
        metrics.error(category);
    }
    for answered in [true, false] {
        metrics.sample(answered);
    }
    metrics.watch_age(String::new(), Duration::ZERO);
    metrics.synced("", true);
    let key = ClusterKey::new("ns".to_owned().into(), "chat");
    let plan = Plan {
        holds: wsc_core::plan::holds().map(|reason| (reason, false)).collect(),
        ..Plan::default()
    };
    metrics.cluster(&key, &plan, 0);
    metrics_text(metrics.registry())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrape_names_a_cluster_until_its_deletion() {
        let metrics = Metrics::default();
        let key = ClusterKey::new("ns".to_owned().into(), "chat");
        let held = Plan {
            holds: wsc_core::plan::holds()
                .map(|reason| (reason, reason == "Panic"))
                .collect(),
            ..Plan::default()
        };
        metrics.cluster(&key, &held, 3);
        metrics.cluster(&key, &Plan::default(), 2);
        metrics.api_write("create", "Pod", "ok");
        let text = metrics_text(metrics.registry());
        for line in [
            "wsc_operator_moves_granted_total{namespace=\"ns\",cluster=\"chat\"} 5",
            "wsc_operator_hold{namespace=\"ns\",cluster=\"chat\",reason=\"Panic\"} 1",
            "wsc_operator_hold{namespace=\"ns\",cluster=\"chat\",reason=\"StaleWatch\"} 0",
            "wsc_operator_desired_pods{namespace=\"ns\",cluster=\"chat\"} 0",
            "wsc_operator_api_writes_total{verb=\"create\",kind=\"Pod\",outcome=\"ok\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        metrics.forget(&key);
        assert!(!metrics_text(metrics.registry()).contains("chat"));
    }
}
