//! Nothing happens, so nothing is written.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use http::Method;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use wsc_testing::cluster::audit::{Mark, Request};
use wsc_testing::cluster::eventually;

use super::small;
use crate::support::environment::{READY, TestEnv};
use crate::support::operator::metric;

const IDLE: Duration = Duration::from_mins(1);

/// What the operator has written, events and all.
fn writes(env: &TestEnv, mark: Mark) -> Result<Vec<Request>> {
    let mut writes = env.cluster.audit().writes_since(mark)?;
    writes.retain(|write| write.user == env.identity.user);
    Ok(writes)
}

#[tokio::test]
async fn in_an_idle_minute_nothing_is_written() {
    let env = TestEnv::new("idle").await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();
    env.pods.each(|_, server| server.connections = 100);
    env.until("chat", "the connections are reported", |chat| {
        chat["status"]["connections"]["current"] == 200
    })
    .await
    .unwrap();
    assert!(
        writes(&env, env.began).unwrap().len() > 15,
        "the audit log does not show what the operator writes"
    );

    let (began, mark, asked) = (
        Instant::now(),
        env.cluster.audit().mark().unwrap(),
        env.pods.asked(),
    );
    eventually(IDLE * 2, "an idle minute", || async {
        let writes = writes(&env, mark)?;
        if writes.is_empty() {
            return Ok((began.elapsed() >= IDLE).then_some(()));
        }
        bail!("{writes:?}")
    })
    .await
    .unwrap();
    // Two pods, asked every 5 s: it was idle, not away.
    let looks = env.pods.asked() - asked;
    assert!(looks >= 16, "{looks} looks at the pods");

    env.change("chat", &json!({"scaling": {"minReplicas": 3}}))
        .await
        .unwrap();
    env.until("chat", "it still works", |chat| chat["status"]["replicas"] == 3)
        .await
        .unwrap();
    assert!(!writes(&env, mark).unwrap().is_empty());
    env.judge();
}

/// Nodes report every few seconds; the resource of a quiet pool is looked at again when something
/// of it changes.
#[tokio::test]
async fn heartbeats_and_samples_start_no_reconcile() {
    const NODES: usize = 20;
    const BEATS: u32 = 30;
    let env = TestEnv::new("beats").await;
    let operator = env.operator();
    let mut spec = small();
    spec["scaling"]["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    env.create("chat", &spec).await.unwrap();
    env.settled("chat").await.unwrap();
    let mut nodes: Vec<_> = (0..NODES)
        .map(|number| format!("{}-{number}", env.namespace()))
        .collect();
    for name in &nodes {
        let node = json!({"metadata": {"name": name}});
        env.ask(Method::POST, "/api/v1/nodes", Some(&node)).await.unwrap();
        beat(&env, name).await.unwrap();
    }
    // The one with the pods.
    nodes.push(env.namespace().to_owned());

    let reconciles = || metric(&operator, "wsc_operator_reconciles_total");
    let last = Mutex::new((-1.0, Instant::now()));
    eventually(READY, "ten seconds without a reconcile", || async {
        let now = reconciles().await?;
        let mut last = last.lock();
        if now > last.0 {
            *last = (now, Instant::now());
        }
        Ok((last.1.elapsed() >= Duration::from_secs(10)).then_some(()))
    })
    .await
    .unwrap();
    let (before, asked) = (reconciles().await.unwrap(), env.pods.asked());
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..BEATS {
        second.tick().await;
        for name in &nodes {
            beat(&env, name).await.unwrap();
        }
    }
    assert!(env.pods.asked() >= asked + 8, "the pods are not sampled");
    let after = reconciles().await.unwrap();
    assert!(after <= before, "{} reconciles in {BEATS} beats", after - before);

    // And yet it sees what matters.
    env.pods.each(|_, server| server.connections = 9_000);
    env.until("chat", "the pool grows", |chat| {
        chat["status"]["desiredReplicas"].as_i64() > Some(2)
    })
    .await
    .unwrap();
    for name in nodes.iter().take(NODES) {
        let place = format!("/api/v1/nodes/{name}");
        env.ask(Method::DELETE, &place, None).await.unwrap();
    }
    env.judge();
}

/// What a kubelet reports while nothing changes.
async fn beat(env: &TestEnv, node: &str) -> Result<()> {
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "StandIn", "message": "a stand-in",
        "lastHeartbeatTime": Timestamp::now().to_string(), "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let status = json!({"status": {"conditions": [ready]}});
    let place = format!("/api/v1/nodes/{node}/status");
    env.ask(Method::PATCH, &place, Some(&status)).await.map(drop)
}
