//! A node that does nothing but live.

use std::time::Duration;

use anyhow::{Result, anyhow};
use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use wsc_testing::cluster::Cluster;

use super::super::send;

/// A kubelet does it as often.
const BEAT: Duration = Duration::from_secs(10);

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// A node that is ready.
pub(super) async fn create(cluster: &Cluster, name: &str) -> Result<()> {
    let now = Timestamp::now().to_string();
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "StandIn", "message": "a stand-in", "lastHeartbeatTime": now, "lastTransitionTime": now,
    });
    let node = json!({"metadata": {"name": name}, "status": {"conditions": [ready]}});
    let lease = json!({
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": renewal()},
    });
    for (path, object) in [("/api/v1/nodes", node), (LEASES, lease)] {
        send(cluster, Method::POST, path, Some(&object))
            .await?
            .map_err(|refusal| anyhow!(refusal.message))?;
    }
    Ok(())
}

/// Keeps it alive.
pub(super) async fn beat(cluster: Cluster, name: String) {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        beat.tick().await;
        let lease = json!({"spec": {"renewTime": renewal()}});
        // The next beat makes up for one that was lost.
        let _ = send(&cluster, Method::PATCH, &format!("{LEASES}/{name}"), Some(&lease)).await;
    }
}

/// Now, with the six digits that this field wants.
fn renewal() -> String {
    format!("{:.6}", Timestamp::now())
}
