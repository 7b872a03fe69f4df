//! Changes of limits, image, Redis, resources and mode, each in a pool of its own, side by side.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;
use wsc_testing::client::EndKind;
use wsc_testing::cluster::{Images, eventually};

use super::used::{STEADY, Used, is_settled};
use crate::environment::{PATIENCE, TestEnv, with_env};
use crate::redis::own_redis;

/// Several passes of the operator.
const STEADILY: Duration = Duration::from_secs(20);
/// A pod that waits for a node for two minutes makes an old one drain first, where that helps.
const LONGER_THAN_A_WAIT: Duration = Duration::from_secs(140);

const SMALL: &str = "
scaling: {minReplicas: 2, maxReplicas: 5, buffer: 0}
server: {maxConnections: 100}
proxy: {replicas: 1}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_limits_and_images_refuse_no_client() -> Result<()> {
    with_env("edits", async |env| {
        tokio::try_join!(limits(env), images(env), mode(env))?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_redis_and_resources_refuse_no_client() -> Result<()> {
    with_env("cures", async |env| {
        tokio::try_join!(redis(env), resources(env))?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fewer_replicas_refuse_no_client() -> Result<()> {
    with_env("fewer", fewer).await
}

/// `maxConnections` up and down.
async fn limits(env: &TestEnv) -> Result<()> {
    let mut pool = Used::start(env, "limits", SMALL).await?;
    pool.replace_all(r#"{"server":{"maxConnections":200}}"#).await?;
    pool.replace_all(r#"{"server":{"maxConnections":100}}"#).await?;
    pool.end().await?.broadcast(0).await
}

/// Another image, one that is not there before all pods have it, and back: the pods of the first
/// one stay or are replaced by such.
async fn images(env: &TestEnv) -> Result<()> {
    let image = |name: &str| format!(r#"{{"server":{{"image":"{name}"}}}}"#);
    let again = Images::read()?.server_again;
    let mut pool = Used::start(env, "image", SMALL).await?;
    pool.patch(&image(&again)).await?;
    pool.until("clients are being moved", |wsc| {
        let drains = wsc.status.iter().flat_map(|status| &status.drains);
        drains.map(|drain| drain.moved).sum::<i64>() > 0
    })
    .await?;
    pool.patch(&image(&format!("{again}-missing"))).await?;
    sleep(STEADILY).await;
    pool.patch(r#"{"server":{"image":null}}"#).await?;
    pool.until("all pods have the first image", is_settled).await?;
    let moved = pool.clients.recorder().record().moves().len();
    ensure!(moved < STEADY, "{moved} clients were asked to reconnect");
    pool.clients.reconnect().await?;
    pool.end().await?.broadcast(0).await
}

/// Another owner of the number of pods, and back.
async fn mode(env: &TestEnv) -> Result<()> {
    let pool = Used::start(env, "mode", SMALL).await?;
    let pods = pool.pods().await?;
    pool.patch(r#"{"replicas":3,"scaling":{"mode":"Replicas"}}"#)
        .await?;
    pool.until("three pods", |wsc| {
        is_settled(wsc) && wsc.status.as_ref().is_some_and(|status| status.replicas == 3)
    })
    .await?;
    pool.patch(r#"{"replicas":null,"scaling":{"mode":"Connections"}}"#)
        .await?;
    sleep(STEADILY).await;
    pool.end_unmoved(&pods).await
}

/// Another owner of the number of pods sets fewer: one drains, and the others stay.
async fn fewer(env: &TestEnv) -> Result<()> {
    let mut pool = Used::start(env, "fewer", &SMALL.replace("minReplicas: 2", "minReplicas: 3")).await?;
    let before = pool.pods().await?;
    ensure!(before.len() == 3, "{:?}", before.keys());
    pool.patch(r#"{"replicas":2,"scaling":{"mode":"Replicas","minReplicas":1}}"#)
        .await?;
    pool.until("two pods", |wsc| {
        is_settled(wsc) && wsc.status.as_ref().is_some_and(|status| status.replicas == 2)
    })
    .await?;
    eventually(PATIENCE, "fewer: two of the three pods are left", || async {
        let now = pool.pods().await?;
        let are_old = now.keys().all(|name| before.contains_key(name));
        Ok((now.len() == 2 && are_old).then_some(()))
    })
    .await?;
    let moved = pool.clients.recorder().record().moves().len();
    let asked = pool.clients.ended(EndKind::Asked);
    ensure!(
        (1..STEADY / 2).contains(&moved) && asked == moved,
        "{moved} of {STEADY} clients were asked to reconnect, {asked} ended by that: one pod of three drained"
    );
    pool.clients.reconnect().await?;
    pool.end().await?.broadcast(0).await
}

/// Redis dies, and the URL of another one moves all clients to pods that have it.
async fn redis(env: &TestEnv) -> Result<()> {
    let image = Images::read()?.redis;
    for name in ["dead", "live"] {
        env.apply_text(&own_redis(name, &image)).await?;
        let deployment = format!("deployment/{name}");
        env.kubectl(&["rollout", "status", &deployment, "--timeout=150s"])
            .await?;
    }
    let spec = format!("{SMALL}redis: {{external: {{urlSecretRef: {{name: dead, key: url}}}}}}\n");
    let mut pool = Used::start(env, "broker", &spec).await?;
    pool.clients.broadcast(0).await?;
    env.kubectl(&["scale", "deployment/dead", "--replicas=0"]).await?;
    pool.until("the servers have no Redis", |wsc| {
        let conditions = wsc.status.iter().flat_map(|status| &status.conditions);
        conditions
            .into_iter()
            .any(|condition| condition.type_ == "RedisReachable" && condition.status == "False")
    })
    .await?;
    pool.replace_all(r#"{"redis":{"external":{"urlSecretRef":{"name":"live"}}}}"#)
        .await?;
    pool.end().await?.broadcast(0).await
}

/// Resources that no node has, and back.
async fn resources(env: &TestEnv) -> Result<()> {
    let pool = Used::start(env, "resources", SMALL).await?;
    let pods = pool.pods().await?;
    pool.patch(r#"{"server":{"resources":{"requests":{"cpu":"1000"}}}}"#)
        .await?;
    pool.until("a pod waits for a node", |wsc| {
        wsc.status
            .as_ref()
            .is_some_and(|status| status.starting_replicas > 0)
    })
    .await?;
    sleep(LONGER_THAN_A_WAIT).await;
    pool.patch(r#"{"server":{"resources":{"requests":{"cpu":"10m"}}}}"#)
        .await?;
    pool.until("the waiting pod is gone", is_settled).await?;
    pool.end_unmoved(&pods).await
}
