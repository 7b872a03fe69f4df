//! Pods that offer less than the resource says.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wsc_testing::cluster::eventually;

use crate::support::environment::{READY, TestEnv};

/// Several samples of each pod, and several passes.
const STEADY: Duration = Duration::from_secs(20);

fn spec() -> Value {
    json!({
        "scaling": {
            "minReplicas": 3, "maxReplicas": 20, "buffer": 0,
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
async fn pod_with_few_files_does_not_grow_the_pool() {
    let env = TestEnv::new("files").await;
    let _operator = env.operator();
    env.create("chat", &spec()).await.unwrap();
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
