//! Clients that HAProxy refuses itself, and attempts that it repeats: what `/status` counts of
//! them.

use anyhow::{Context, Result, bail};
use wsc_contract::agent::{AgentStatus, WorkerCounters};
use wsc_testing::client::{Client, Options, Refused};
use wsc_testing::cluster::eventually;
use wsc_testing::haproxy::{PodOptions, ProxyPod};

use crate::pool::{Backend, WAIT, come_back, connect, pool, ready};

/// A handshake that is answered with 503.
async fn refused(pod: &ProxyPod) -> Result<()> {
    match Client::connect(&Options::new(pod.url())).await {
        Err(Refused::Status { status, .. }) if status.as_u16() == 503 => Ok(()),
        Err(other) => bail!("{other}"),
        Ok(_) => bail!("accepted"),
    }
}

/// The counters once they are as `wanted` says.
async fn counters(pod: &ProxyPod, wanted: impl Fn(&WorkerCounters) -> bool) -> Result<WorkerCounters> {
    let is_there = |status: &AgentStatus| status.worker.as_ref().is_some_and(&wanted);
    let status = pod.wait("the counters", is_there).await?;
    status.worker.context("no counters")
}

/// A number of `/metrics`.
async fn metric(pod: &ProxyPod, name: &str) -> Result<u64> {
    let (_, text) = pod.admin("/metrics").await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value
        .with_context(|| format!("{name} in {text}"))?
        .trim()
        .parse()?)
}

async fn refused_by_servers(backends: &[Backend]) -> Result<u64> {
    let mut sum = 0;
    for backend in backends {
        sum += backend.count("/refused/full").await?;
    }
    Ok(sum)
}

#[tokio::test]
async fn haproxy_alone_counts_full_pool_refusals() {
    let backends = [
        Backend::start("chat-0", 2).await.unwrap(),
        Backend::start("chat-1", 2).await.unwrap(),
    ];
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(connect(&pod).await.unwrap());
    }
    let rejects_all = |status: &AgentStatus| status.servers.iter().all(|server| server.rejects && server.up);
    let full = pod.wait("a full pool", rejects_all).await.unwrap();
    let at_first = full.worker.map(|counters| counters.refused);
    assert_eq!(at_first, Some(0), "all of them fitted");
    let by_servers = refused_by_servers(&backends).await.unwrap();
    for _ in 0..3 {
        refused(&pod).await.unwrap();
    }
    let counted = counters(&pod, |counters| counters.refused == 3).await.unwrap();
    assert_eq!((counted.retries, counted.redispatches, counted.queued), (0, 0, 0));
    assert_eq!(
        refused_by_servers(&backends).await.unwrap(),
        by_servers,
        "no server sees them"
    );

    // An agent that starts again reports the same worker with the same counters.
    pod.kill_agent().await.unwrap();
    pod.start_agent().unwrap();
    let again = counters(&pod, |_| true).await.unwrap();
    assert_eq!(again, counted);

    // A reload starts another worker, which counts from zero.
    pod.change(|settings| settings.timeouts.tunnel_seconds = 1800);
    let set = pod.publish(&ready(&backends)).unwrap();
    pod.synced(&set).await.unwrap();
    let reloaded = counters(&pod, |counters| counters.id != counted.id)
        .await
        .unwrap();
    assert_eq!(reloaded.refused, 0);
    pod.wait("a full pool again", rejects_all).await.unwrap();
    refused(&pod).await.unwrap();
    counters(&pod, |counters| {
        counters.id == reloaded.id && counters.refused == 1
    })
    .await
    .unwrap();
    eventually(WAIT, "refusals of both workers", async || {
        let all = metric(&pod, "wsc_proxy_refused_handshakes_total ").await?;
        Ok((all == 4).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn dead_servers_count_as_redispatches_and_refusals() {
    let mut backends = pool(2).await.unwrap();
    let pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    come_back(&pod, &backends[0]).await.unwrap();
    let healthy = counters(&pod, |_| true).await.unwrap();
    assert_eq!(
        (healthy.refused, healthy.retries, healthy.redispatches),
        (0, 0, 0)
    );
    backends[0].kill().await.unwrap();
    come_back(&pod, &backends[0]).await.unwrap();
    let moved = counters(&pod, |counters| counters.redispatches + counters.retries > 0)
        .await
        .unwrap();
    assert_eq!(moved.refused, 0, "the other server accepted it");
    backends[1].kill().await.unwrap();
    refused(&pod).await.unwrap();
    counters(&pod, |counters| counters.refused == 1).await.unwrap();
}

#[tokio::test]
async fn restarted_haproxy_counts_as_another_worker() {
    let backends = [Backend::start("chat-0", 1).await.unwrap()];
    let pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let client = connect(&pod).await.unwrap();
    let rejects = |status: &AgentStatus| status.server("chat-0").is_some_and(|server| server.rejects);
    pod.wait("a full server", rejects).await.unwrap();
    refused(&pod).await.unwrap();
    let before = counters(&pod, |counters| counters.refused == 1).await.unwrap();
    pod.kill_worker().await.unwrap();
    drop(client);
    let after = counters(&pod, |counters| counters.id != before.id).await.unwrap();
    assert_eq!(after.refused, 0);
}
