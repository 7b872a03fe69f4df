//! Redis is away while the pool must grow.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wsc_testing::cluster::eventually;

use crate::support::environment::{TestEnv, condition, find};
use crate::support::watcher::Pods;

/// The shortest deadline that the CRD allows.
const DEADLINE: Duration = Duration::from_secs(30);
/// Far beyond the deadline, and beyond three attempts.
const AWAY: Duration = Duration::from_mins(2);

fn spec() -> Value {
    json!({
        "scaling": {"minReplicas": 4, "maxReplicas": 20, "buffer": 0},
        "server": {"maxConnections": 100, "startDeadlineSeconds": DEADLINE.as_secs()},
        "redis": {"external": {"url": "redis://cache.example.org"}},
        "proxy": {"replicas": 1},
    })
}

#[tokio::test]
async fn pods_wait_for_redis_beyond_deadline() {
    let env = TestEnv::new("redis").await;
    let _operator = env.operator();
    env.create("chat", &spec()).await.unwrap();
    env.settled("chat").await.unwrap();
    let seen = Pods::watch(&env.cluster, env.namespace());
    env.pods.redis(false);
    env.pods
        .each(|_, server| (server.connections, server.capacity) = (110, 100));
    let waits = |chat: &Value| {
        find(chat, "Progressing")["reason"] == "WaitingForBroker"
            && chat["status"]["desiredReplicas"] == 6
            && chat["status"]["startingReplicas"] == 2
    };
    env.until("chat", "the new pods wait for Redis", waits)
        .await
        .unwrap();
    let are_seen = || async { Ok((seen.ever() == 6).then_some(())) };
    eventually(AWAY, "the new pods exist", are_seen).await.unwrap();

    let began = Instant::now();
    eventually(AWAY * 2, "Redis is away for long", || async {
        let chat = env.get("chat").await?;
        assert!(waits(&chat), "{}", chat["status"]);
        assert_eq!(condition(&chat, "Stalled"), "False", "{}", chat["status"]);
        assert_eq!(condition(&chat, "Ready"), "False", "{}", chat["status"]);
        assert_eq!((seen.most(), seen.ever()), (6, 6), "pods at once, pods in all");
        Ok((began.elapsed() >= AWAY).then_some(()))
    })
    .await
    .unwrap();

    env.pods.redis(true);
    let chat = env.settled("chat").await.unwrap();
    assert_eq!(chat["status"]["replicas"], 6, "{}", chat["status"]);
    assert_eq!(seen.ever(), 6, "a pod was replaced");
    env.judge();
}
