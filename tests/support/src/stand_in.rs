//! What stand-in pods report: to the API server like their kubelet, to the operator like the agent
//! of a proxy.

use std::net::IpAddr;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use wsc_contract::agent::{AgentStatus, ServerStatus};
use wsc_contract::files::{BACKENDS, SETTINGS};
use wsc_haproxy::{BackendSet, Settings};

/// What the operator publishes for the proxies of a cluster.
#[derive(Clone, Debug)]
pub struct Published {
    set: BackendSet,
    settings: String,
}

impl Published {
    /// Reads it from the `ConfigMap` of the proxies.
    ///
    /// # Errors
    /// If a file is not in it, or not valid.
    pub fn read(map: &ConfigMap) -> Result<Self> {
        let data = map.data.as_ref().context("no data")?;
        let file = |name: &str| data.get(name).with_context(|| format!("no {name}"));
        Ok(Self {
            set: BackendSet::from_json(file(BACKENDS)?)?,
            settings: Settings::from_json(file(SETTINGS)?)?.hash().to_owned(),
        })
    }

    /// The status of an agent whose HAProxy runs it, with the connections of each server pod by
    /// name.
    pub fn status(self, connections: impl Fn(&str) -> u64) -> AgentStatus {
        let Self { set, settings } = self;
        let servers = set.servers.into_iter().map(|server| ServerStatus {
            sessions: connections(&server.name),
            name: server.name,
            state: server.state,
            up: true,
            rejects: false,
        });
        AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            haproxy_version: "3.0.11".to_owned(),
            pid: 1,
            wanted_hash: set.hash.clone(),
            applied_hash: set.hash,
            wanted_structure: set.structure.clone(),
            applied_structure: set.structure,
            wanted_settings: settings.clone(),
            applied_settings: settings,
            synced: true,
            observed_ms_ago: Some(0),
            servers: servers.collect(),
            ..AgentStatus::default()
        }
    }
}

/// The process of a pod's containers.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// How often it was started again.
    pub restarts: u32,
    /// It runs, or waits after a crash.
    pub runs: bool,
    /// Its readiness probe succeeds.
    pub ready: bool,
}

impl Process {
    /// One that runs and is ready.
    pub const fn first() -> Self {
        Self {
            restarts: 0,
            runs: true,
            ready: true,
        }
    }
}

/// The status of a pod that was started now.
pub fn pod_status(pod: &Pod, address: IpAddr, process: Process) -> Value {
    let now = Timestamp::now().to_string();
    let ready = if process.ready { "True" } else { "False" };
    let types = [
        ("PodReadyToStartContainers", "True"),
        ("Initialized", "True"),
        ("PodScheduled", "True"),
        ("ContainersReady", ready),
        ("Ready", ready),
    ];
    let conditions =
        types.map(|(type_, status)| json!({"type": type_, "status": status, "lastTransitionTime": now}));
    let state = if process.runs {
        json!({"running": {"startedAt": now}})
    } else {
        json!({"waiting": {"reason": "CrashLoopBackOff"}})
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let containers = containers.map(|container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "stand-in", "ready": process.ready, "started": process.runs,
            "restartCount": process.restarts, "state": state,
        })
    });
    json!({
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": containers.collect::<Vec<_>>(),
    })
}
