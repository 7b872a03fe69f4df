//! Nodes of two zones that send heartbeats, until a zone is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use http::Method;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};

use crate::api::send;

/// Nodes of a zone.
pub(crate) const PER_ZONE: usize = 20;
const ZONES: usize = 2;
/// As often as a kubelet renews its lease. It sends its status every 5 minutes; here every
/// heartbeat has one.
const HEARTBEAT: Duration = Duration::from_secs(10);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// Zone 0 has failed.
    lost: AtomicBool,
    turn: AtomicUsize,
}

impl Nodes {
    /// Creates the nodes, and sends their heartbeats from now on.
    pub(crate) async fn start(client: &Client) -> Result<Arc<Self>> {
        for zone in 0..ZONES {
            for index in 0..PER_ZONE {
                let name = name(zone, index);
                let labels = json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{zone}")});
                let node = json!({"metadata": {"name": name, "labels": labels}, "status": status()});
                let spec =
                    json!({"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": renewal()});
                let lease = json!({"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec});
                send(client, Method::POST, "/api/v1/nodes", &node).await?;
                send(client, Method::POST, LEASES, &lease).await?;
            }
        }
        let nodes = Arc::new(Self::default());
        tokio::spawn(heartbeats(nodes.clone(), client.clone()));
        Ok(nodes)
    }

    /// The zone that the scheduler prefers for the pods of this cluster.
    pub(crate) fn zone_of(cluster: usize) -> usize {
        cluster % ZONES
    }

    /// The node of a new pod: never one that is lost.
    pub(crate) fn schedule(&self, zone: usize) -> String {
        let zone = if self.is_lost(zone) { 1 } else { zone };
        name(zone, self.turn.fetch_add(1, Ordering::Relaxed) % PER_ZONE)
    }

    /// Zone 0 fails: no heartbeat and no kubelet any more.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_lost(&self, zone: usize) -> bool {
        zone == 0 && self.lost.load(Ordering::Relaxed)
    }

    /// Whether the node's kubelet works.
    pub(crate) fn works(&self, node: &str) -> bool {
        !self.is_lost(usize::from(!node.starts_with("node-0-")))
    }
}

fn name(zone: usize, index: usize) -> String {
    format!("node-{zone}-{index}")
}

async fn heartbeats(nodes: Arc<Nodes>, client: Client) {
    let mut beat = tokio::time::interval(HEARTBEAT);
    loop {
        beat.tick().await;
        for zone in (0..ZONES).filter(|zone| !nodes.is_lost(*zone)) {
            for index in 0..PER_ZONE {
                let name = name(zone, index);
                let lease = json!({"spec": {"renewTime": renewal()}});
                // The next heartbeat replaces one that failed.
                let _ = send(&client, Method::PATCH, &format!("{LEASES}/{name}"), &lease).await;
                let path = format!("/api/v1/nodes/{name}/status");
                let _ = send(&client, Method::PATCH, &path, &json!({"status": status()})).await;
            }
        }
    }
}

fn status() -> Value {
    let now = Timestamp::now().to_string();
    json!({
        "allocatable": {"cpu": "1000", "memory": "1000Gi", "pods": "10000"},
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "StandIn", "message": "a stand-in",
            "lastHeartbeatTime": now, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    })
}

/// With the six digits that the field requires.
fn renewal() -> String {
    format!("{:.6}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_zone_gets_no_pods() {
        let nodes = Nodes::default();
        assert!(nodes.schedule(0).starts_with("node-0-") && nodes.works("node-0-3"));
        nodes.lose();
        assert!(nodes.schedule(0).starts_with("node-1-"));
        assert!(!nodes.works("node-0-3") && nodes.works("node-1-3"));
        assert_ne!(nodes.schedule(1), nodes.schedule(1));
    }
}
