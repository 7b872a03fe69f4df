//! What a demo leaves behind: a report for programs, and the same for people.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::checker::Verdict;
use super::record::Record;

/// What no checker judges.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Version of the running Kubernetes.
    pub(crate) kubernetes: String,
    /// Version of the running HAProxy.
    pub(crate) haproxy: String,
    /// Version of the running Redis.
    pub(crate) redis: String,
    /// From the apply to the condition Ready.
    pub(crate) apply_to_ready: Duration,
    /// The longest time between a new pod's condition Ready and the first connection that a proxy
    /// brought to it.
    pub(crate) first_connection: Duration,
}

/// The report; its fields are a promise to whoever reads the file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    kubernetes: String,
    haproxy: String,
    redis: String,
    pods_min: usize,
    pods_peak: usize,
    pods_end: usize,
    clients_peak: usize,
    clients_moved: u64,
    messages_sent: u64,
    deliveries_expected: u64,
    deliveries_received: u64,
    deliveries_doubled: u64,
    pairs_excluded: u64,
    closes_asked: u64,
    closes_unasked: u64,
    cookie_tries: u64,
    cookie_returns: u64,
    haproxy_reloads: u64,
    haproxy_pid_changes: u64,
    apply_to_ready_seconds: f64,
    pod_ready_to_first_connection_ms: u64,
}

impl Report {
    /// Puts everything together.
    pub(crate) fn new(facts: &Facts, record: &Record, verdict: &Verdict) -> Self {
        let numbers = verdict.clients;
        Self {
            kubernetes: facts.kubernetes.clone(),
            haproxy: facts.haproxy.clone(),
            redis: facts.redis.clone(),
            pods_min: record.pods.at_first,
            pods_peak: record.pods.peak,
            pods_end: record.pods.at_last,
            clients_peak: numbers.clients_peak,
            clients_moved: numbers.clients_moved,
            messages_sent: numbers.messages_sent,
            deliveries_expected: numbers.deliveries_expected,
            deliveries_received: numbers.deliveries_received,
            deliveries_doubled: numbers.deliveries_doubled,
            pairs_excluded: numbers.pairs_excluded,
            closes_asked: numbers.closes_asked,
            closes_unasked: numbers.closes_unasked,
            cookie_tries: verdict.cookie_tries,
            cookie_returns: verdict.cookie_returns,
            haproxy_reloads: record.counted.reloads,
            haproxy_pid_changes: record.counted.pid_changes,
            // Tenths are what a wait that looks ten times a second can tell.
            apply_to_ready_seconds: (facts.apply_to_ready.as_secs_f64() * 10.0).round() / 10.0,
            pod_ready_to_first_connection_ms: u64::try_from(facts.first_connection.as_millis())
                .unwrap_or(u64::MAX),
        }
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// The same for a person.
    pub(crate) fn lines(&self) -> Vec<String> {
        let pairs = (self.deliveries_expected + self.pairs_excluded).max(1);
        let tenths = self.pairs_excluded * 1000 / pairs;
        vec![
            format!(
                "versions    Kubernetes {}, HAProxy {}, Redis {}",
                self.kubernetes, self.haproxy, self.redis
            ),
            format!(
                "pods        {} at first, {} at the peak, {} in the end; Ready {} s after the apply, first client at most {} ms after a new pod was Ready",
                self.pods_min,
                self.pods_peak,
                self.pods_end,
                self.apply_to_ready_seconds,
                self.pod_ready_to_first_connection_ms
            ),
            format!(
                "clients     {} at the peak; {} received a request to reconnect, in {} closes with 1012; {} unexpected closes",
                self.clients_peak, self.clients_moved, self.closes_asked, self.closes_unasked
            ),
            format!(
                "messages    {} sent; {} of {} deliveries received, {} of them twice; {}.{} % of all pairs are around a connect or close and not counted",
                self.messages_sent,
                self.deliveries_received,
                self.deliveries_expected,
                self.deliveries_doubled,
                tenths / 10,
                tenths % 10
            ),
            format!(
                "cookies     {} of {} clients reconnected to their own pod",
                self.cookie_returns, self.cookie_tries
            ),
            format!(
                "HAProxy     {} reloads, {} changes of its process",
                self.haproxy_reloads, self.haproxy_pid_changes
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use wsc_testing::clients::checker::Numbers;

    use super::*;

    #[test]
    fn the_report_has_exactly_the_promised_fields() {
        let facts = Facts {
            kubernetes: "v1.37.2".to_owned(),
            apply_to_ready: Duration::from_millis(7340),
            first_connection: Duration::from_micros(81_900),
            ..Facts::default()
        };
        let verdict = Verdict {
            clients: Numbers {
                deliveries_expected: 990,
                pairs_excluded: 10,
                ..Numbers::default()
            },
            ..Verdict::default()
        };
        let report = Report::new(&facts, &Record::default(), &verdict);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        report.write(&path).unwrap();
        let written: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let fields: Vec<&String> = written.as_object().unwrap().keys().collect();
        let mut promised = [
            "kubernetes",
            "haproxy",
            "redis",
            "pods_min",
            "pods_peak",
            "pods_end",
            "clients_peak",
            "clients_moved",
            "messages_sent",
            "deliveries_expected",
            "deliveries_received",
            "deliveries_doubled",
            "pairs_excluded",
            "closes_asked",
            "closes_unasked",
            "cookie_tries",
            "cookie_returns",
            "haproxy_reloads",
            "haproxy_pid_changes",
            "apply_to_ready_seconds",
            "pod_ready_to_first_connection_ms",
        ];
        promised.sort_unstable();
        let mut fields: Vec<_> = fields.into_iter().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, promised);
        assert_eq!(written["apply_to_ready_seconds"], 7.3);
        assert_eq!(written["pod_ready_to_first_connection_ms"], 81);
        assert!(
            report.lines()[3].contains("1.0 % of all pairs"),
            "{:?}",
            report.lines()
        );
    }
}
