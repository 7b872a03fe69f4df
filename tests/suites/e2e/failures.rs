//! Something dies: only what was on it is lost, and it is replaced.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use wsc_api::v1alpha1::WebSocketClusterStatus;
use wsc_contract::labels::Component;
use wsc_testing::client::{Client, EndKind};
use wsc_testing::cluster::{eventually, processes};

use crate::crowd::{Crowd, cookie};
use crate::stage::{PATIENCE, Stage, play, uid};

const STEADY: &str = "scaling: {minReplicas: 3, maxReplicas: 3}";

/// What a person did is undone within this time.
const RESTORED: Duration = Duration::from_secs(10);
/// A socket whose peer was killed is reset at once; the rest is scheduling.
const LOSS: Duration = Duration::from_secs(30);

async fn kill(stage: &Stage, component: Component, program: &str) -> Result<Pod> {
    let pods = stage.pods("chat", component).await?;
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
async fn a_killed_server_loses_only_its_own_sockets() -> Result<()> {
    play("podkill", async |stage| {
        stage.apply("chat", STEADY).await?;
        let endpoint = stage.ready("chat").await?;
        let mut crowd = Crowd::new(&endpoint, "lobby");
        crowd.join(30).await?;
        let pods = stage.pods_of_cookies("chat").await?;
        let killed = kill(stage, Component::Server, "wsc-server").await?;
        let name = killed.metadata.name.clone().unwrap_or_default();
        let is_on_it = |client: &Client| pods.get(&cookie(client)) == Some(&name);
        let lost = crowd.clients.iter().filter(|client| is_on_it(client)).count();
        ensure!(lost > 0, "nobody was on {name}");
        eventually(LOSS, "the sockets of the killed server end", || async {
            Ok((crowd.ended(EndKind::Unasked) == lost).then_some(()))
        })
        .await?;
        for client in &crowd.clients {
            ensure!(
                client.ended().is_none() || is_on_it(client),
                "a client of another pod was dropped"
            );
        }
        // The kubelet starts it again; it is full capacity, and clients come back.
        stage
            .until("chat", "three active pods", |wsc| {
                wsc.status.as_ref().is_some_and(|status| status.replicas == 3)
            })
            .await?;
        crowd.come_back().await?;
        crowd.hear(0, "all are back").await?;

        // A pod that is taken away by force is replaced by another one.
        stage
            .kubectl(&["delete", "pod", &name, "--grace-period=0", "--force"])
            .await?;
        eventually(PATIENCE, "a pod in place of the deleted one", || async {
            let pods = stage.pods("chat", Component::Server).await?;
            Ok((pods.len() == 3 && !pods.contains_key(&name)).then_some(()))
        })
        .await?;
        stage.ready("chat").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_haproxy_worker_leaves_the_other_proxy_alone() -> Result<()> {
    play("worker", async |stage| {
        stage
            .apply("chat", "scaling: {minReplicas: 2, maxReplicas: 2}")
            .await?;
        let endpoint = stage.ready("chat").await?;
        let mut crowd = Crowd::new(&endpoint, "lobby");
        stage.both_proxies("chat").await?;
        stage.join_through_both("chat", &mut crowd).await?;
        let killed = kill(stage, Component::Proxy, "haproxy").await?;
        let killed = killed.metadata.name.context("a pod has a name")?;
        let others = stage.via_others("chat", &killed).await?;
        ensure!(others > 0, "everybody came through {killed}");
        eventually(LOSS, "the tunnels of the killed worker end", || async {
            let left = crowd.clients.len() - crowd.ended(EndKind::Unasked);
            Ok((u64::try_from(left)? == others).then_some(()))
        })
        .await?;
        crowd.come_back().await?;
        crowd.hear(0, "all are back").await?;
        // The agent finds the new worker and brings it up to date.
        eventually(PATIENCE, "both agents are in sync", || async {
            let agents = stage.agents("chat").await?;
            Ok(agents.iter().all(|agent| agent["synced"] == true).then_some(()))
        })
        .await
    })
    .await
}

/// Two pods are to go, with clients on them that do not leave by themselves; the operator is killed while they are being moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_killed_in_a_drain_goes_on_where_it_stopped() -> Result<()> {
    play("opkill", async |stage| {
        let spec = "
scaling: {minReplicas: 1, maxReplicas: 3, mode: Replicas}
replicas: 3
server: {maxConnections: 40}
proxy: {replicas: 1}
drain: {naturalSeconds: 0, deadlineSeconds: 600, notice: {jitterSeconds: 1}}
disruption: {movesPerMinute: 30, maxConcurrentDrains: 1}
";
        stage.apply("chat", spec).await?;
        let endpoint = stage.ready("chat").await?;
        let is = |wsc: &wsc_api::v1alpha1::WebSocketCluster, check: fn(&WebSocketClusterStatus) -> bool| {
            wsc.status.as_ref().is_some_and(check)
        };
        stage
            .until("chat", "three pods", |wsc| is(wsc, |status| status.replicas == 3))
            .await?;
        let mut crowd = Crowd::new(&endpoint, "lobby");
        crowd.join(30).await?;
        stage.kubectl(&["scale", "wsc/chat", "--replicas=2"]).await?;
        stage
            .until("chat", "clients are being moved", |wsc| {
                is(wsc, |status| status.drains.iter().any(|drain| drain.moved > 0))
            })
            .await?;
        let operator = stage.operator().await?;
        let running = processes::of_pod(uid(&operator));
        processes::kill(running.first().context("the operator has no process")?)?;
        let done = stage
            .until("chat", "the drain is over", |wsc| {
                is(wsc, |status| {
                    status.replicas == 2 && status.draining_replicas == 0
                })
            })
            .await?;
        crowd.nobody_dropped()?;
        let asked = i64::try_from(crowd.ended(EndKind::Asked))?;
        let moved = done.status.map(|status| status.connections.moved_total);
        ensure!(
            asked > 0 && asked < 20,
            "one pod of three was emptied, and no other: {asked} were asked to move"
        );
        ensure!(
            moved == Some(asked),
            "{asked} clients were asked to move, the status says {moved:?}"
        );
        crowd.come_back().await?;
        crowd.hear(0, "nobody is missing").await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_that_are_deleted_or_edited_are_restored() -> Result<()> {
    play("restore", async |stage| {
        stage
            .apply(
                "chat",
                "scaling: {minReplicas: 1, maxReplicas: 2}\nproxy: {replicas: 1}",
            )
            .await?;
        let endpoint = stage.ready("chat").await?;
        let mut crowd = Crowd::new(&endpoint, "lobby");
        crowd.join(5).await?;
        stage.kubectl(&["delete", "configmap", "chat-haproxy"]).await?;
        stage.kubectl(&["delete", "service", "chat-redis"]).await?;
        stage.kubectl(&["delete", "networkpolicy", "chat"]).await?;
        for child in [
            "configmap/chat-haproxy",
            "service/chat-redis",
            "networkpolicy/chat",
        ] {
            eventually(RESTORED, child, || async {
                Ok(stage.kubectl(&["get", child]).await.is_ok().then_some(()))
            })
            .await?;
        }
        let patch = r#"{"spec":{"replicas":0}}"#;
        stage
            .kubectl(&["patch", "deployment", "chat-proxy", "--type=merge", "-p", patch])
            .await?;
        eventually(RESTORED, "the proxy has its replica again", || async {
            let replicas = stage
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
        stage.ready("chat").await.map(drop)
    })
    .await
}
