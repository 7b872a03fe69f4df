//! A process or pod dies: only its own connections are lost, and it is replaced.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use wsc_api::v1alpha1::WebSocketClusterStatus;
use wsc_contract::labels::Component;
use wsc_testing::client::EndKind;
use wsc_testing::clients::Held;
use wsc_testing::cluster::{eventually, processes};

use crate::environment::{PATIENCE, TestEnv, uid, with_env};

const STEADY: &str = "scaling: {minReplicas: 3, maxReplicas: 3}";

/// A child that was deleted or edited is restored within this time.
const RESTORED: Duration = Duration::from_secs(10);
/// A socket whose peer was killed is reset at once; the rest is scheduling.
const LOSS: Duration = Duration::from_secs(30);

async fn kill(env: &TestEnv, component: Component, program: &str) -> Result<Pod> {
    let pods = env.pods("chat", component).await?;
    let pod = pods.into_values().next().context("no such pod")?;
    let running = processes::of_pod(uid(&pod));
    // Of a master and its worker the worker is the younger one.
    let victim = running
        .iter()
        .rev()
        .find(|process| process.name.starts_with(program));
    processes::kill(victim.with_context(|| format!("no {program} in {running:?}"))?)?;
    Ok(pod)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_only_its_sockets() -> Result<()> {
    with_env("podkill", async |env| {
        env.apply("chat", STEADY).await?;
        let endpoint = env.ready("chat").await?;
        let mut clients = env.clients("chat", &endpoint);
        clients.connect(30).await?;
        let pods = env.pods_of_cookies("chat").await?;
        let killed = kill(env, Component::Server, "wsc-server").await?;
        let name = killed.metadata.name.clone().unwrap_or_default();
        let is_on_it = |held: &Held| pods.get(&held.cookie) == Some(&name);
        let lost = clients.held().iter().filter(|held| is_on_it(held)).count();
        ensure!(lost > 0, "no client was on {name}");
        eventually(LOSS, "the sockets of the killed server end", || async {
            Ok((clients.ended(EndKind::Unasked) == lost).then_some(()))
        })
        .await?;
        for held in clients.held() {
            ensure!(
                held.client.ended().is_none() || is_on_it(&held),
                "a client of another pod was dropped"
            );
        }
        // The kubelet starts it again; it is full capacity, and clients reconnect.
        env.until("chat", "three active pods", |wsc| {
            wsc.status.as_ref().is_some_and(|status| status.replicas == 3)
        })
        .await?;
        clients.reconnect().await?;
        clients.broadcast(0).await?;

        clients.verify_unmoved(lost)?;

        // A pod that is deleted by force is replaced by another one.
        env.kubectl(&["delete", "pod", &name, "--grace-period=0", "--force"])
            .await?;
        eventually(PATIENCE, "a pod in place of the deleted one", || async {
            let pods = env.pods("chat", Component::Server).await?;
            Ok((pods.len() == 3 && !pods.contains_key(&name)).then_some(()))
        })
        .await?;
        env.ready("chat").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_spares_the_other_proxy() -> Result<()> {
    with_env("worker", async |env| {
        env.apply("chat", "scaling: {minReplicas: 2, maxReplicas: 2}")
            .await?;
        let endpoint = env.ready("chat").await?;
        let mut clients = env.clients("chat", &endpoint);
        env.both_proxies("chat").await?;
        env.connect_through_both("chat", &mut clients).await?;
        let killed = kill(env, Component::Proxy, "haproxy").await?;
        let killed = killed.metadata.name.context("a pod has a name")?;
        let others = env.via_others("chat", &killed).await?;
        ensure!(others > 0, "all clients came through {killed}");
        let lost = clients.held().len() - usize::try_from(others)?;
        eventually(LOSS, "the tunnels of the killed worker end", || async {
            Ok((clients.ended(EndKind::Unasked) == lost).then_some(()))
        })
        .await?;
        clients.reconnect().await?;
        clients.broadcast(0).await?;
        clients.verify_unmoved(lost)?;
        // The agent finds the new worker and brings it up to date.
        eventually(PATIENCE, "both agents are in sync", || async {
            let agents = env.agents("chat").await?;
            Ok(agents.iter().all(|agent| agent["synced"] == true).then_some(()))
        })
        .await
    })
    .await
}

/// A pod drains with clients that do not close by themselves; the operator is killed while they are
/// being moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_operator_continues_a_drain() -> Result<()> {
    with_env("opkill", async |env| {
        let spec = "
scaling: {minReplicas: 1, maxReplicas: 3, mode: Replicas}
replicas: 3
server: {maxConnections: 40}
proxy: {replicas: 1}
drain: {naturalSeconds: 0, deadlineSeconds: 600, notice: {jitterSeconds: 1}}
disruption: {movesPerMinute: 30, maxConcurrentDrains: 1}
";
        env.apply("chat", spec).await?;
        let endpoint = env.ready("chat").await?;
        let is = |wsc: &wsc_api::v1alpha1::WebSocketCluster, check: fn(&WebSocketClusterStatus) -> bool| {
            wsc.status.as_ref().is_some_and(check)
        };
        env.until("chat", "three pods", |wsc| is(wsc, |status| status.replicas == 3))
            .await?;
        let mut clients = env.clients("chat", &endpoint);
        clients.connect(30).await?;
        env.kubectl(&["scale", "wsc/chat", "--replicas=2"]).await?;
        env.until("chat", "clients are being moved", |wsc| {
            is(wsc, |status| status.drains.iter().any(|drain| drain.moved > 0))
        })
        .await?;
        let operator = env.operator().await?;
        let running = processes::of_pod(uid(&operator));
        processes::kill(running.first().context("the operator has no process")?)?;
        let done = env
            .until("chat", "the drain is over", |wsc| {
                is(wsc, |status| {
                    status.replicas == 2 && status.draining_replicas == 0
                })
            })
            .await?;
        let asked = i64::try_from(clients.verify(0)?.closes_asked)?;
        let moved = done.status.map(|status| status.connections.moved_total);
        ensure!(
            asked > 0 && asked < 20,
            "one pod of three was emptied, and no other: {asked} were asked to move"
        );
        ensure!(
            moved == Some(asked),
            "{asked} clients were asked to move, the status says {moved:?}"
        );
        clients.reconnect().await?;
        clients.broadcast(0).await?;
        clients.verify(0).map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_or_edited_children_are_restored() -> Result<()> {
    with_env("restore", async |env| {
        env.apply(
            "chat",
            "scaling: {minReplicas: 1, maxReplicas: 2}\nproxy: {replicas: 1}",
        )
        .await?;
        let endpoint = env.ready("chat").await?;
        let mut clients = env.clients("chat", &endpoint);
        clients.connect(5).await?;
        env.kubectl(&["delete", "configmap", "chat-haproxy"]).await?;
        env.kubectl(&["delete", "service", "chat-redis"]).await?;
        env.kubectl(&["delete", "networkpolicy", "chat"]).await?;
        for child in [
            "configmap/chat-haproxy",
            "service/chat-redis",
            "networkpolicy/chat",
        ] {
            eventually(RESTORED, child, || async {
                Ok(env.kubectl(&["get", child]).await.is_ok().then_some(()))
            })
            .await?;
        }
        let patch = r#"{"spec":{"replicas":0}}"#;
        env.kubectl(&["patch", "deployment", "chat-proxy", "--type=merge", "-p", patch])
            .await?;
        eventually(RESTORED, "the proxy has its replica again", || async {
            let replicas = env
                .kubectl(&[
                    "get",
                    "deployment",
                    "chat-proxy",
                    "-o",
                    "jsonpath={.spec.replicas}",
                ])
                .await?;
            Ok((replicas == "1").then_some(()))
        })
        .await?;
        env.ready("chat").await.map(drop)
    })
    .await
}
