//! Nothing happens, so nothing is written.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;
use wsc_testing::cluster::audit::{Mark, Request};
use wsc_testing::cluster::eventually;

use super::small;
use crate::support::environment::TestEnv;

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
