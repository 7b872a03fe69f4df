//! What earlier versions left behind, met by this version.

mod identity;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::agent::AgentStatus;
use wsc_contract::control::{ErrorBody, Stats};
use wsc_haproxy::Published;

use super::clusters;
use crate::flags::{self, Flag};
use crate::metrics::{self, Metric};

/// An old and a new name.
type Rename = (&'static str, &'static str);

/// One release, and the names that have changed since.
struct Release {
    version: &'static str,
    /// `command --flag`.
    flags: &'static [Rename],
    variables: &'static [Rename],
    metrics: &'static [Rename],
    /// Keys of `/stats` and `/status`.
    keys: &'static [Rename],
    /// Keys of the proxy's `ConfigMap` that were added since; agents of the release ignore them.
    added_data: &'static [&'static str],
    /// Keys of `/stats` and `/status` that were added since; operators of the release ignore them.
    added_keys: &'static [&'static str],
}

/// Renamed since 0.1.0, each to the term of the field.
const RELEASES: [Release; 1] = [Release {
    version: "0.1.0",
    flags: &[
        ("wsc-server --bus", "wsc-server --broker"),
        ("wsc-server --outbox-bytes", "wsc-server --outbound-queue-bytes"),
        ("wsc-server --outboxes-bytes", "wsc-server --outbound-total-bytes"),
    ],
    variables: &[
        ("WSC_BUS", "WSC_BROKER"),
        ("WSC_OUTBOX_BYTES", "WSC_OUTBOUND_QUEUE_BYTES"),
        ("WSC_OUTBOXES_BYTES", "WSC_OUTBOUND_TOTAL_BYTES"),
    ],
    metrics: &[
        (
            "wsc_server_bus_attempts_total",
            "wsc_server_broker_connect_attempts_total",
        ),
        (
            "wsc_server_bus_losses_total",
            "wsc_server_broker_disconnects_total",
        ),
        ("wsc_server_bus_probe_seconds", "wsc_server_broker_probe_seconds"),
        ("wsc_server_bus_up", "wsc_server_broker_up"),
        ("wsc_server_outbox_bytes", "wsc_server_outbound_queue_bytes"),
        ("wsc_server_walk_members", "wsc_server_fanout_members"),
    ],
    keys: &[("bus", "broker"), ("leaving", "terminating")],
    added_data: &["settings.json"],
    added_keys: &["observed_ms_ago", "rejects", "worker"],
}];

impl Release {
    fn path(&self, name: &str) -> PathBuf {
        releases().join(self.version).join(name)
    }

    /// The only document of a YAML file.
    fn read<T: DeserializeOwned>(&self, name: &str) -> T {
        let path = self.path(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn documents(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        let documents = serde_yaml::Deserializer::from_str(&text);
        documents
            .map(|document| Value::deserialize(document).unwrap())
            .collect()
    }

    fn clusters(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("clusters")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<String> = names.collect();
        assert!(names.len() > 5, "{names:?}");
        names
    }

    fn assert_same(&self, old: &Value, now: &Value, cluster: &str) {
        let (kind, name) = (&old["kind"], &old["metadata"]["name"]);
        for ((what, old), (_, mut now)) in identity::of(old).into_iter().zip(identity::of(now)) {
            if let ("data", Some(keys)) = (what, now.as_array_mut()) {
                let before = keys.len();
                keys.retain(|key| !self.added_data.iter().any(|added| key == added));
                let expected = if before == 0 { 0 } else { self.added_data.len() };
                assert_eq!(
                    before - keys.len(),
                    expected,
                    "{cluster}: an added key is not there"
                );
            }
            assert_eq!(old, now, "{cluster}: {what} of {kind} {name}");
        }
    }
}

fn releases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/releases")
}

/// The name of today; a rename that is listed and did not happen fails the comparison.
fn renamed<'a>(renames: &[Rename], name: &'a str) -> &'a str {
    let found = renames.iter().find(|(old, _)| *old == name);
    found.map_or(name, |(_, new)| new)
}

#[test]
fn every_snapshot_is_listed() {
    let listed = |name: &str| RELEASES.iter().any(|release| release.version == name);
    for entry in fs::read_dir(releases()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_release = entry.path().join("crd.yaml").exists();
        assert_eq!(is_release, listed(&name), "{name}");
    }
}

/// A Deployment's selector cannot change, and a child under another name is an orphan.
#[test]
fn children_keep_their_identity() {
    for release in &RELEASES {
        for cluster in release.clusters() {
            let resource: WebSocketCluster = release.read(&format!("clusters/{cluster}/resource.yaml"));
            let today = clusters::render(&resource, release.version).unwrap();
            let children = release.documents(&format!("clusters/{cluster}/children.yaml"));
            assert_eq!(children.len(), today.children.len(), "{cluster}");
            for (old, now) in children.iter().zip(&today.children) {
                release.assert_same(old, now, &cluster);
            }
            for (name, now) in [("pod", &today.pod), ("draining", &today.draining)] {
                let old: Value = release.read(&format!("clusters/{cluster}/{name}.yaml"));
                release.assert_same(&old, now, &cluster);
            }
        }
    }
}

/// During an upgrade and a rollback an agent of this version reads what an operator of an earlier
/// one publishes.
#[test]
fn published_configurations_of_old_operators_are_valid() {
    for release in &RELEASES {
        for cluster in release.clusters() {
            let children = release.documents(&format!("clusters/{cluster}/children.yaml"));
            let is_map = |child: &&Value| child["kind"] == "ConfigMap";
            let data = &children.iter().find(is_map).unwrap()["data"];
            let [text, json] = ["haproxy.cfg", "backends.json"].map(|key| data[key].as_str().unwrap());
            let settings = data["settings.json"].as_str();
            let published = Published::parse(text, json, settings);
            assert!(published.is_ok(), "{cluster}: {published:?}");
        }
    }
}

/// `server.image` may name a server of an earlier version.
#[test]
fn server_pods_keep_their_variables() {
    for release in &RELEASES {
        for cluster in release.clusters() {
            let resource: WebSocketCluster = release.read(&format!("clusters/{cluster}/resource.yaml"));
            let today = clusters::render(&resource, release.version).unwrap();
            let pod: Value = release.read(&format!("clusters/{cluster}/pod.yaml"));
            let now = identity::variables(&today.pod);
            for name in identity::variables(&pod) {
                let name = renamed(release.variables, &name).to_owned();
                assert!(
                    now.contains(&name),
                    "{cluster}: {name} is not in {now:?}; a rename that is meant belongs in RELEASES"
                );
            }
        }
    }
}

#[test]
fn flags_keep_their_names() {
    let today = flags::all();
    for release in &RELEASES {
        for old in release.read::<Vec<Flag>>("flags.yaml") {
            let before = format!("{} {}", old.command, old.name);
            let now = renamed(release.flags, &before);
            let found = today
                .iter()
                .find(|flag| format!("{} {}", flag.command, flag.name) == now);
            let found =
                found.unwrap_or_else(|| panic!("{now} is gone; a rename that is meant belongs in RELEASES"));
            let variable = old
                .variable
                .as_deref()
                .map(|name| renamed(release.variables, name));
            assert_eq!(found.variable.as_deref(), variable, "{now}");
            assert_eq!(found.default, old.default, "{now}");
            for word in old.words {
                assert!(found.words.contains(&word), "{now} does not accept {word}");
            }
        }
    }
}

#[test]
fn metrics_keep_names_types_and_labels() {
    for release in &RELEASES {
        for (program, today) in metrics::all() {
            for old in release.read::<Vec<Metric>>(&format!("metrics/{program}.yaml")) {
                let name = renamed(release.metrics, &old.name);
                let found = today.iter().find(|metric| metric.name == name);
                let found = found
                    .unwrap_or_else(|| panic!("{name} is gone; a rename that is meant belongs in RELEASES"));
                assert_eq!((&found.kind, &found.labels), (&old.kind, &old.labels), "{name}");
            }
        }
    }
}

/// During an upgrade the new operator samples servers and agents of the old version.
#[test]
fn documents_of_old_programs_are_understood() {
    for release in &RELEASES {
        let read = |name: &str| release.read::<Stats>(&format!("documents/{name}.json"));
        let stats = read("stats");
        assert_eq!((stats.connections, stats.capacity), (8, 10_000));
        assert_eq!(
            (stats.pod.as_deref(), stats.via["chat-proxy-0"]),
            (Some("chat-0"), 4)
        );
        assert!(stats.broker.up);
        assert_keys(release, "stats", &stats);
        let shed = read("stats-shed");
        assert_eq!((shed.shed_total, shed.shed_target, shed.closed_total), (1, 1, 1));
        assert!(read("stats-cordoned").cordoned && read("stats-leaving").terminating);
        assert_eq!(read("stats-memory").pod, None);
        let conflict: ErrorBody = release.read("documents/shed-conflict.json");
        assert_eq!(conflict.error, "boot_id");

        let read = |name: &str| release.read::<AgentStatus>(&format!("documents/{name}.json"));
        let serving = read("status");
        assert_eq!((serving.connections, serving.servers.len()), (1, 2));
        assert!(serving.synced && serving.applied_hash == serving.wanted_hash);
        assert_keys(release, "status", &serving);
        let refused = read("status-refused");
        let refusal = refused.refusal.unwrap();
        assert!(refusal.structure == refused.wanted_structure && refusal.message.contains("balance"));
        assert!(!read("status-without-haproxy").synced);
    }
}

/// A key that is not read would fall back to its default in silence.
fn assert_keys(release: &Release, name: &str, parsed: &impl Serialize) {
    let old: Value = release.read(&format!("documents/{name}.json"));
    let today = serde_json::to_value(parsed).unwrap();
    let keys = |document: &Value| -> BTreeSet<String> {
        let fields = document.as_object().unwrap();
        fields
            .keys()
            .map(|key| renamed(release.keys, key).to_owned())
            .collect()
    };
    let added = |key: &String| !release.added_keys.contains(&key.as_str());
    let kept: BTreeSet<_> = keys(&today).into_iter().filter(added).collect();
    assert_eq!(keys(&old), kept, "{name}");
}
