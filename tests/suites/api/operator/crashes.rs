//! An image whose server ends soon after its pod became ready.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::environment::{READY, TestEnv, condition, find};
use crate::support::stand_in::Crash;
use crate::support::watcher::Pods;

const BAD: &str = "localhost/wsc-server:crashes";
/// A stalled pool is shown within this time.
const STALLED: Duration = Duration::from_mins(5);
const MOST: usize = 4;
const SURGE: usize = 1;

#[tokio::test]
async fn image_dying_after_ready_is_bounded() {
    let env = TestEnv::new("crashes").await;
    env.pods.crash(Crash {
        image: BAD,
        after: Duration::from_secs(30),
        pause: Duration::from_secs(10),
    });
    let _operator = env.operator();
    let seen = Pods::watch(&env.cluster, env.namespace());
    let spec = json!({
        "scaling": {"minReplicas": 3, "maxReplicas": MOST, "buffer": 0},
        "server": {"image": BAD},
        "proxy": {"replicas": 1},
    });
    let began = Instant::now();
    env.create("chat", &spec).await.unwrap();
    let is_stalled = |chat: &serde_json::Value| condition(chat, "Stalled") == "True";
    let stalled = wsc_testing::cluster::eventually(STALLED, "Stalled is true", async || {
        Ok(Some(env.get("chat").await?).filter(is_stalled))
    });
    let stalled = find(&stalled.await.unwrap(), "Stalled").clone();
    assert_eq!(stalled["reason"], "PodCrashed", "{stalled}");
    assert!(began.elapsed() <= STALLED);
    let most = seen.most();
    assert!(most <= MOST + SURGE, "{most} live pods");

    env.change("chat", &json!({"server": {"image": null}}))
        .await
        .unwrap();
    let repaired = env.settled("chat").await.unwrap();
    assert_eq!(condition(&repaired, "Stalled"), "False");
    assert_eq!(repaired["status"]["updatedReplicas"], 3);
    assert!(began.elapsed() <= STALLED + READY);
    env.judge();
}
