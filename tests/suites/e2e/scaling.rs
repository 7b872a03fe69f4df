//! The pool follows its connections, and nobody is dropped for it.

use anyhow::{Context, Result, ensure};
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::labels::Component;
use wsc_testing::client::EndKind;
use wsc_testing::cluster::eventually;

use crate::crowd::Crowd;
use crate::stage::{PATIENCE, Stage, play};

const SMALL: &str = "
scaling: {minReplicas: 2, maxReplicas: 5, buffer: 0, behavior: {scaleDown: {stabilizationWindowSeconds: 5}}}
server: {maxConnections: 20}
drain: {naturalSeconds: 600, deadlineSeconds: 1200, notice: {jitterSeconds: 1}}
disruption: {movesPerMinute: 60, maxConcurrentDrains: 1}
";

fn status(resource: &WebSocketCluster) -> wsc_api::v1alpha1::WebSocketClusterStatus {
    resource.status.clone().unwrap_or_default()
}

/// 50 clients need four pods at 15 a pod; nearly all of them leave, and the drain that begins is cancelled when they come back; then
/// they leave for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_grows_and_shrinks_and_a_drain_is_cancelled_by_demand() -> Result<()> {
    play("scaling", async |stage| {
        stage.apply("chat", SMALL).await?;
        let endpoint = stage.ready("chat").await?;
        let before = stage.agents("chat").await?;

        let mut crowd = Crowd::new(&endpoint, "lobby");
        crowd.join(50).await?;
        stage
            .until("chat", "four active pods", |wsc| status(wsc).replicas == 4)
            .await?;
        crowd.hear(0, "all fifty").await?;

        crowd.leave(40).await?;
        let draining = stage
            .until("chat", "a drain", |wsc| !status(wsc).drains.is_empty())
            .await?;
        let leaving = status(&draining).drains[0].pod.clone();
        ensure!(
            status(&draining).drains[0].state == "Cordoned",
            "a drain begins with the cordon: {:?}",
            status(&draining).drains
        );
        let serial = status(&draining).next_serial;
        crowd.join(40).await?;
        let cancelled = stage
            .until("chat", "the cancelled drain", |wsc| {
                status(wsc).drains.is_empty() && status(wsc).replicas == 4
            })
            .await?;
        ensure!(
            status(&cancelled).next_serial == serial,
            "a pod was created although {leaving} could stay"
        );
        crowd.hear(1, "back again").await?;
        crowd.nobody_left()?;

        crowd.leave(42).await?;
        stage
            .patch_spec("chat", r#"{"drain":{"naturalSeconds":0}}"#)
            .await?;
        let small = stage
            .until("chat", "two pods", |wsc| {
                status(wsc).replicas == 2 && status(wsc).draining_replicas == 0
            })
            .await?;
        crowd.nobody_dropped()?;
        let asked = i64::try_from(crowd.ended(EndKind::Asked))?;
        ensure!(
            status(&small).connections.moved_total == asked,
            "{asked} clients were asked to move, the status says {}",
            status(&small).connections.moved_total
        );
        ensure!(
            stage.moves_granted("chat").await? == asked,
            "granted is what was moved"
        );
        crowd.come_back().await?;
        crowd.hear(0, "eight are left").await?;
        for (before, after) in before.iter().zip(stage.agents("chat").await?) {
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
async fn kubectl_scale_decides_in_mode_replicas_within_the_limits() -> Result<()> {
    play("replicas", async |stage| {
        let spec = "scaling: {mode: Replicas, minReplicas: 1, maxReplicas: 4}\nproxy: {replicas: 1}";
        stage.apply("chat", spec).await?;
        stage.ready("chat").await?;
        stage
            .until("chat", "one pod", |wsc| status(wsc).replicas == 1)
            .await?;
        stage.kubectl(&["scale", "wsc/chat", "--replicas=3"]).await?;
        stage
            .until("chat", "three pods", |wsc| status(wsc).replicas == 3)
            .await?;
        stage.kubectl(&["scale", "wsc/chat", "--replicas=9"]).await?;
        let clamped = stage
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

/// A cookie of one proxy is good at the other, and leads to its own pod every time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stickiness_brings_every_client_back_to_its_pod() -> Result<()> {
    play("sticky", async |stage| {
        stage
            .apply(
                "chat",
                "scaling: {minReplicas: 3, maxReplicas: 3}\nproxy: {replicas: 2}",
            )
            .await?;
        let endpoint = stage.ready("chat").await?;
        // Ready needs one proxy; a client may come through either of them.
        eventually(PATIENCE, "both proxies find all three pods up", || async {
            let agents = stage.agents("chat").await?;
            let knows_all = |agent: &serde_json::Value| {
                let servers = agent["servers"].as_array();
                servers.is_some_and(|servers| {
                    servers.len() == 3 && servers.iter().all(|server| server["up"] == true)
                })
            };
            Ok((agents.len() == 2 && agents.iter().all(knows_all)).then_some(()))
        })
        .await?;
        let mut crowd = Crowd::new(&endpoint, "lobby");
        crowd.join(12).await?;
        let pods = stage.pods_of_cookies("chat").await?;
        let used = crowd.by_cookie();
        ensure!(used.len() == 3, "leastconn fills all three pods: {used:?}");
        ensure!(
            used.keys().all(|cookie| pods.contains_key(cookie)),
            "every cookie is a pod's: {used:?} of {pods:?}"
        );
        for cookie in used.keys() {
            for _ in 0..7 {
                let options = wsc_testing::client::Options::new(format!("{endpoint}/lobby"))
                    .cookie(&format!("wsc={cookie}"));
                let before = accepted(stage, &pods[cookie]).await?;
                let client = wsc_testing::client::Client::connect(&options).await?;
                // The server counts a client after its response to the handshake.
                let what = format!("{} has accepted the client with its cookie", pods[cookie]);
                eventually(PATIENCE, &what, || async {
                    let after = accepted(stage, &pods[cookie]).await?;
                    Ok((after == before + 1).then_some(()))
                })
                .await?;
                client.close(1000, "").await?;
            }
        }
        crowd.nobody_left()
    })
    .await
}

async fn accepted(stage: &Stage, pod: &str) -> Result<i64> {
    let pods = stage.pods("chat", Component::Server).await?;
    let stats = stage.stats(pods.get(pod).context("the pod is gone")?).await?;
    stats["accepted_total"].as_i64().context("no accepted_total")
}
