//! Pods that offer less than the resource says: short of memory, or with few open files.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wsc_contract::control::Rejects;
use wsc_testing::cluster::eventually;

use crate::support::environment::{READY, TestEnv, find};

/// Several samples of each pod, and several passes.
const STEADY: Duration = Duration::from_secs(20);
/// A pod that accepted no more connections holds the scale-down for a minute, counted from its last
/// sample that said so.
const HELD: Duration = Duration::from_secs(50);

fn spec(least: u32) -> Value {
    json!({
        "scaling": {
            "minReplicas": least, "maxReplicas": 20, "buffer": 0,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
        "drain": {"naturalSeconds": 0},
        "proxy": {"replicas": 1},
    })
}

/// The desired number stays what it is.
async fn stays(env: &TestEnv, desired: u64) -> Result<()> {
    let began = Instant::now();
    let what = format!("{desired} pods are desired for {STEADY:?}");
    let changed = eventually(STEADY * 2, &what, async || {
        let status = env.get("chat").await?["status"].clone();
        let is_changed = status["desiredReplicas"] != desired || status["drainingReplicas"] != 0;
        if is_changed {
            return Ok(Some(Some(status)));
        }
        Ok((began.elapsed() >= STEADY).then_some(None))
    })
    .await?;
    ensure!(changed.is_none(), "{changed:?}");
    Ok(())
}

#[tokio::test]
async fn pool_short_of_memory_grows_and_stays() {
    let env = TestEnv::new("short").await;
    let _operator = env.operator();
    env.create("chat", &spec(2)).await.unwrap();
    env.settled("chat").await.unwrap();
    env.pods
        .each(|_, server| (server.connections, server.rejects) = (50, Some(Rejects::Memory)));
    // 75 % of two times 50 are too few for 100 clients.
    env.until("chat", "the pool grows", |chat| chat["status"]["replicas"] == 3)
        .await
        .unwrap();
    // Without clients two would do.
    env.pods.each(|_, server| server.connections = 0);
    stays(&env, 3).await.unwrap();
    let chat = env.get("chat").await.unwrap();
    let active = find(&chat, "ScalingActive");
    assert_eq!(active["reason"], "Held", "{active}");
    let roomy = Instant::now();
    env.pods.each(|_, server| server.rejects = None);
    env.until("chat", "the pool shrinks", |chat| {
        chat["status"]["desiredReplicas"] == 2
    })
    .await
    .unwrap();
    let held = roomy.elapsed();
    assert!(held >= HELD, "shrunk after {held:?}");
    env.judge();
}

#[tokio::test]
async fn pod_with_few_files_grows_nothing() {
    let env = TestEnv::new("files").await;
    let _operator = env.operator();
    env.create("chat", &spec(3)).await.unwrap();
    env.settled("chat").await.unwrap();
    // By the file limit of 1024.
    let mut files = vec![(500, 768)];
    env.pods.each(|_, server| {
        if server.asked > 0 {
            (server.connections, server.capacity) = files.pop().unwrap_or((6_000, 10_000));
        }
    });
    eventually(READY, "its capacity is known", async || {
        let chat = env.get("chat").await?;
        Ok((chat["status"]["connections"]["capacity"] == 20_768).then_some(()))
    })
    .await
    .unwrap();
    // 12,500 clients: 75 % of 768 and of two times 10,000 are enough.
    stays(&env, 3).await.unwrap();
    env.judge();
}
