//! Nothing happens, so nothing is written.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;
use wsc_testing::cluster::audit::{Mark, Request};
use wsc_testing::cluster::eventually;

use super::small;
use crate::support::stage::Stage;

const IDLE: Duration = Duration::from_mins(1);

/// What the operator has written, events and all.
fn writes(stage: &Stage, mark: Mark) -> Result<Vec<Request>> {
    let mut writes = stage.cluster.audit().writes_since(mark)?;
    writes.retain(|write| write.user == stage.identity.user);
    Ok(writes)
}

#[tokio::test]
async fn in_an_idle_minute_nothing_is_written() {
    let stage = Stage::new("idle").await;
    let _operator = stage.operator();
    stage.create("chat", &small()).await.unwrap();
    stage.settled("chat").await.unwrap();
    stage.pods.each(|_, server| server.connections = 100);
    stage
        .until("chat", "the connections are told", |chat| {
            chat["status"]["connections"]["current"] == 200
        })
        .await
        .unwrap();
    assert!(
        writes(&stage, stage.began).unwrap().len() > 15,
        "the audit log does not show what the operator writes"
    );

    let (began, mark, asked) = (
        Instant::now(),
        stage.cluster.audit().mark().unwrap(),
        stage.pods.asked(),
    );
    eventually(IDLE * 2, "an idle minute", || async {
        let writes = writes(&stage, mark)?;
        if writes.is_empty() {
            return Ok((began.elapsed() >= IDLE).then_some(()));
        }
        bail!("{writes:?}")
    })
    .await
    .unwrap();
    // Two pods, asked every 5 s: it was idle, not away.
    let looks = stage.pods.asked() - asked;
    assert!(looks >= 16, "{looks} looks at the pods");

    stage
        .change("chat", &json!({"scaling": {"minReplicas": 3}}))
        .await
        .unwrap();
    stage
        .until("chat", "it still works", |chat| chat["status"]["replicas"] == 3)
        .await
        .unwrap();
    assert!(!writes(&stage, mark).unwrap().is_empty());
    stage.judge();
}
