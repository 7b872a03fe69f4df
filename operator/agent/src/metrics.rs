//! The metrics of the agent.

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use wsc_contract::agent::{AgentStatus, ServerState, WorkerCounters};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// Every metric of the agent.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) reloads: Counter,
    pub(crate) worker_changes: Counter,
    pub(crate) refusals: Counter,
    pub(crate) command_failures: Counter,
    pub(crate) max_connections: Gauge,
    synced: Gauge,
    connections: Gauge,
    old_workers: Gauge,
    servers: Family<StateLabels, Gauge>,
    refused_handshakes: Counter,
    retries: Counter,
    redispatches: Counter,
    queued: Gauge,
    /// What is in the counters already.
    counted: Mutex<WorkerCounters>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("wsc_proxy"),
            reloads: Counter::default(),
            worker_changes: Counter::default(),
            refusals: Counter::default(),
            command_failures: Counter::default(),
            max_connections: Gauge::default(),
            synced: Gauge::default(),
            connections: Gauge::default(),
            old_workers: Gauge::default(),
            servers: Family::default(),
            refused_handshakes: Counter::default(),
            retries: Counter::default(),
            redispatches: Counter::default(),
            queued: Gauge::default(),
            counted: Mutex::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Adds what the worker has counted since the last call.
    pub(crate) fn count(&self, counters: &WorkerCounters) {
        let mut counted = self.counted.lock();
        let new = counters.since(&counted);
        self.refused_handshakes.inc_by(new.refused);
        self.retries.inc_by(new.retries);
        self.redispatches.inc_by(new.redispatches);
        self.queued.set(gauge(new.queued));
        counted.clone_from(counters);
    }

    /// Copies the status into the gauges, for a scrape.
    pub(crate) fn update(&self, status: &AgentStatus) {
        self.synced.set(i64::from(status.synced));
        self.connections.set(gauge(status.connections));
        self.old_workers.set(gauge(status.old_workers));
        for state in ServerState::ALL {
            let servers = status.servers.iter().filter(|server| server.state == state);
            let labels = StateLabels {
                state: state.as_str(),
            };
            self.servers
                .get_or_create(&labels)
                .set(gauge(servers.count() as u64));
        }
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "reloads",
            "Reloads of HAProxy by this agent",
            self.reloads.clone(),
        );
        registry.register(
            "worker_changes",
            "Changes of the HAProxy worker process, after a reload or a crash",
            self.worker_changes.clone(),
        );
        registry.register(
            "refusals",
            "Configurations that HAProxy rejected, counted per attempt",
            self.refusals.clone(),
        );
        registry.register(
            "command_failures",
            "Failed commands of the HAProxy runtime socket",
            self.command_failures.clone(),
        );
        registry.register(
            "synced",
            "1 while HAProxy runs the published configuration and servers",
            self.synced.clone(),
        );
        registry.register(
            "connections",
            "Client connections over all workers",
            self.connections.clone(),
        );
        registry.register(
            "max_connections",
            "Client connections that the current worker accepts at most, derived from its open-file limit",
            self.max_connections.clone(),
        );
        registry.register(
            "old_workers",
            "Workers from before a reload that still have clients",
            self.old_workers.clone(),
        );
        registry.register("servers", "Servers by state", self.servers.clone());
        self.register_handshakes();
    }

    fn register_handshakes(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "refused_handshakes",
            "Handshakes that HAProxy answered with 503 itself: no server in rotation, or none reached after all retries",
            self.refused_handshakes.clone(),
        );
        registry.register(
            "retries",
            "Failed attempts that HAProxy repeated with the same server",
            self.retries.clone(),
        );
        registry.register(
            "redispatches",
            "Failed attempts that HAProxy repeated with another server",
            self.redispatches.clone(),
        );
        registry.register(
            "queued_handshakes",
            "Handshakes that wait for a server",
            self.queued.clone(),
        );
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use wsc_runtime::admin::metrics_text;

    use super::*;

    fn scrape() -> String {
        let metrics = Metrics::default();
        metrics.update(&AgentStatus::example());
        metrics_text(metrics.registry())
    }

    #[test]
    fn counters_rise_over_reloads() {
        let metrics = Metrics::default();
        for (id, refused) in [("7-1", 5), ("7-1", 5), ("7-1", 8), ("9-4", 2), ("9-4", 3)] {
            metrics.count(&WorkerCounters {
                id: id.to_owned(),
                refused,
                ..WorkerCounters::default()
            });
        }
        let text = metrics_text(metrics.registry());
        assert!(text.contains("wsc_proxy_refused_handshakes_total 11\n"), "{text}");
    }

    #[test]
    fn status_is_copied_into_gauges() {
        let text = scrape();
        for line in [
            "wsc_proxy_synced 1",
            "wsc_proxy_connections 512",
            "wsc_proxy_servers{state=\"Ready\"} 1",
            "wsc_proxy_servers{state=\"Maint\"} 0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} in {text}");
        }
    }
}
