//! The numbers of `GET /metrics`; docs/proxy.md lists them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::status::Status;

/// Labels of the number of servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct State {
    state: &'static str,
}

/// Every metric of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Reloads by this agent.
    pub reloads: Counter,
    /// Times that HAProxy was found with another worker.
    pub worker_changes: Counter,
    /// Tries of a configuration that HAProxy refused.
    pub refusals: Counter,
    /// Commands of the runtime socket that HAProxy refused.
    pub command_failures: Counter,
    /// Clients that the current worker takes at most.
    pub max_connections: Gauge,
    synced: Gauge,
    connections: Gauge,
    old_workers: Gauge,
    servers: Family<State, Gauge>,
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
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    /// The text of a scrape.
    pub fn text(&self, status: &Status) -> Result<String, std::fmt::Error> {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.synced.set(i64::from(status.synced));
        self.connections.set(whole(status.connections));
        self.old_workers
            .set(i64::try_from(status.old_workers).unwrap_or(i64::MAX));
        for state in ["Ready", "Maint"] {
            let servers = status.servers.iter().filter(|server| server.state == state);
            let count = i64::try_from(servers.count()).unwrap_or(i64::MAX);
            self.servers.get_or_create(&State { state }).set(count);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
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
            "Times that another HAProxy worker was found, after a reload or a crash",
            self.worker_changes.clone(),
        );
        registry.register(
            "refusals",
            "Tries of a configuration that HAProxy refused",
            self.refusals.clone(),
        );
        registry.register(
            "command_failures",
            "Commands of the runtime socket that HAProxy refused",
            self.command_failures.clone(),
        );
        registry.register(
            "synced",
            "1 while HAProxy runs what is wanted",
            self.synced.clone(),
        );
        registry.register(
            "connections",
            "Connections of clients, over all workers",
            self.connections.clone(),
        );
        registry.register(
            "max_connections",
            "Connections that the current worker takes at most, from its limit of open files",
            self.max_connections.clone(),
        );
        registry.register(
            "old_workers",
            "Workers of before a reload that still have clients",
            self.old_workers.clone(),
        );
        registry.register("servers", "Servers by state", self.servers.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_documented() {
        let text = Metrics::default().text(&Status::default()).unwrap();
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let document = include_str!("../../../docs/proxy.md");
        let mut count = 0;
        for (name, kind) in names {
            let suffix = if kind == "counter" { "_total" } else { "" };
            assert!(
                document.contains(&format!("`{name}{suffix}")),
                "{name} is not in docs/proxy.md"
            );
            count += 1;
        }
        assert_eq!(count, 9);
    }
}
