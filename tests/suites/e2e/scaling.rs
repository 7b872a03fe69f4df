//! The pool follows its connections, and drops none of them.

use anyhow::{Context, Result, ensure};
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::labels::Component;
use wsc_testing::cluster::eventually;

use crate::environment::{PATIENCE, TestEnv, with_env};

const SMALL: &str = "
scaling: {minReplicas: 2, maxReplicas: 5, buffer: 0, behavior: {scaleDown: {stabilizationWindowSeconds: 5}}}
server: {maxConnections: 20}
drain: {naturalSeconds: 600, deadlineSeconds: 1200, notice: {jitterSeconds: 1}}
disruption: {movesPerMinute: 60, maxConcurrentDrains: 1}
";

fn status(resource: &WebSocketCluster) -> wsc_api::v1alpha1::WebSocketClusterStatus {
    resource.status.clone().unwrap_or_default()
}

/// 58 clients need four pods at 15 a pod; nearly all of them close, and the drain that begins is
/// cancelled when they reconnect; then they close for the last time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demand_cancels_a_drain() -> Result<()> {
    with_env("scaling", async |env| {
        env.apply("chat", SMALL).await?;
        let endpoint = env.ready("chat").await?;
        let before = env.agents("chat").await?;

        let mut clients = env.clients("chat", &endpoint);
        clients.connect(50).await?;
        env.until("chat", "four active pods", |wsc| status(wsc).replicas == 4)
            .await?;
        clients.broadcast(0).await?;
        // On the new pods: an empty pod would be gone before the demand returns.
        let mut on_new = env.clients("chat", &endpoint);
        on_new.connect(8).await?;

        clients.disconnect(48).await?;
        let draining = env
            .until("chat", "a drain", |wsc| !status(wsc).drains.is_empty())
            .await?;
        let leaving = status(&draining).drains[0].pod.clone();
        ensure!(
            status(&draining).drains[0].state == "Cordoned",
            "a drain begins with the cordon: {:?}",
            status(&draining).drains
        );
        let serial = status(&draining).next_serial;
        clients.connect(48).await?;
        let cancelled = env
            .until("chat", "the cancelled drain", |wsc| {
                status(wsc).drains.is_empty() && status(wsc).replicas == 4
            })
            .await?;
        ensure!(
            status(&cancelled).next_serial == serial,
            "a pod was created although {leaving} could stay"
        );
        clients.broadcast(1).await?;
        clients.verify_unmoved(0)?;
        on_new.disconnect(8).await?;

        clients.disconnect(42).await?;
        env.patch_spec("chat", r#"{"drain":{"naturalSeconds":0}}"#)
            .await?;
        let small = env
            .until("chat", "two pods", |wsc| {
                status(wsc).replicas == 2 && status(wsc).draining_replicas == 0
            })
            .await?;
        let asked = i64::try_from(clients.verify(0)?.closes_asked)?;
        ensure!(
            status(&small).connections.moved_total == asked,
            "{asked} clients were asked to move, the status says {}",
            status(&small).connections.moved_total
        );
        ensure!(
            env.moves_granted("chat").await? == asked,
            "granted is what was moved"
        );
        clients.reconnect().await?;
        clients.broadcast(0).await?;
        clients.verify(0)?;
        for (before, after) in before.iter().zip(env.agents("chat").await?) {
            ensure!(
                before["pid"] == after["pid"] && after["reloads"] == 0,
                "HAProxy was reloaded: {before} {after}"
            );
        }
        Ok(())
    })
    .await
}

/// `kubectl scale` decides in mode Replicas; minimum and maximum still clamp.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_scale_is_clamped_in_mode_replicas() -> Result<()> {
    with_env("replicas", async |env| {
        let spec =
            "replicas: 1\nscaling: {mode: Replicas, minReplicas: 1, maxReplicas: 4}\nproxy: {replicas: 1}";
        env.apply("chat", spec).await?;
        env.ready("chat").await?;
        env.until("chat", "one pod", |wsc| status(wsc).replicas == 1)
            .await?;
        env.kubectl(&["scale", "wsc/chat", "--replicas=3"]).await?;
        env.until("chat", "three pods", |wsc| status(wsc).replicas == 3)
            .await?;
        env.kubectl(&["scale", "wsc/chat", "--replicas=9"]).await?;
        let clamped = env
            .until("chat", "four pods", |wsc| status(wsc).replicas == 4)
            .await?;
        let limited = status(&clamped)
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == "ScalingLimited")
            .context("no condition ScalingLimited")?;
        ensure!(
            limited.status == "True" && limited.message.contains("maxReplicas"),
            "{limited:?}"
        );
        Ok(())
    })
    .await
}

/// A cookie of one proxy is valid at the other, and leads to its own pod every time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookie_returns_clients_to_their_pod() -> Result<()> {
    with_env("sticky", async |env| {
        env.apply(
            "chat",
            "scaling: {minReplicas: 3, maxReplicas: 3}\nproxy: {replicas: 2}",
        )
        .await?;
        let endpoint = env.ready("chat").await?;
        // Ready needs one proxy; a client may come through either of them.
        eventually(PATIENCE, "both proxies find all three pods up", || async {
            let agents = env.agents("chat").await?;
            let knows_all = |agent: &serde_json::Value| {
                let servers = agent["servers"].as_array();
                servers.is_some_and(|servers| {
                    servers.len() == 3 && servers.iter().all(|server| server["up"] == true)
                })
            };
            Ok((agents.len() == 2 && agents.iter().all(knows_all)).then_some(()))
        })
        .await?;
        let mut clients = env.clients("chat", &endpoint);
        clients.connect(12).await?;
        let pods = env.pods_of_cookies("chat").await?;
        let used = clients.by_cookie();
        ensure!(used.len() == 3, "leastconn fills all three pods: {used:?}");
        ensure!(
            used.keys().all(|cookie| pods.contains_key(cookie)),
            "every cookie is a pod's: {used:?} of {pods:?}"
        );
        for cookie in used.keys() {
            for _ in 0..7 {
                let options = wsc_testing::client::Options::new(format!("{endpoint}/lobby"))
                    .cookie(&format!("wsc={cookie}"));
                let before = accepted(env, &pods[cookie]).await?;
                let client = wsc_testing::client::Client::connect(&options).await?;
                // The server counts a client after its response to the handshake.
                let what = format!("{} has accepted the client with its cookie", pods[cookie]);
                eventually(PATIENCE, &what, || async {
                    let after = accepted(env, &pods[cookie]).await?;
                    Ok((after == before + 1).then_some(()))
                })
                .await?;
                client.close(1000, "").await?;
            }
        }
        clients.verify_unmoved(0)
    })
    .await
}

async fn accepted(env: &TestEnv, pod: &str) -> Result<i64> {
    let pods = env.pods("chat", Component::Server).await?;
    let stats = env.stats(pods.get(pod).context("the pod is gone")?).await?;
    stats["accepted_total"].as_i64().context("no accepted_total")
}
