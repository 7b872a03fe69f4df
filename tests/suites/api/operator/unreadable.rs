//! A stored resource that the types of this operator do not match, as after a downgrade.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use super::small;
use crate::support::environment::{TestEnv, find, uid};
use crate::support::path;

/// The format `date-time` of the schema does not limit the offset; the operator's clock does.
const NO_TIME: &str = "2026-01-01T00:00:00+99:00";
const TIME: &str = "2026-01-01T00:00:00Z";
/// Its line in the log.
const LOGGED: &str = "unreadable resource; keeping current state";

async fn decide_at(env: &TestEnv, name: &str, time: &str) -> Result<()> {
    let place = format!("{}/status", path(env.namespace(), name));
    let decision = json!({
        "time": time, "action": "ScaleUp", "reason": "InsufficientReplicas", "message": "",
        "desiredReplicas": 2, "connections": 0, "targetPerPod": 1,
    });
    let status = json!({"status": {"lastDecision": decision}});
    env.ask(Method::PATCH, &place, Some(&status)).await.map(drop)
}

fn is_named(old: &Value) -> bool {
    let named = [("Ready", "False"), ("Stalled", "True"), ("Reconciling", "False")];
    named.into_iter().all(|(type_, status)| {
        let found = find(old, type_);
        found["status"] == status && found["reason"] == "Unreadable"
    })
}

async fn pods(env: &TestEnv, owner: &Value) -> Vec<String> {
    let children = env.children(owner).await.unwrap();
    let pods = children.iter().filter(|(name, _)| name.starts_with("Pod/"));
    pods.map(|(_, pod)| uid(pod)).collect()
}

#[tokio::test]
async fn unreadable_resource_is_named_others_are_served() {
    let env = TestEnv::new("unreadable").await;
    env.create("old", &small()).await.unwrap();
    decide_at(&env, "old", NO_TIME).await.unwrap();
    env.create("chat", &small()).await.unwrap();
    let operator = env.operator();
    env.settled("chat").await.unwrap();
    let old = env.until("old", "it is named", is_named).await.unwrap();
    let message = find(&old, "Ready")["message"].as_str().unwrap();
    for part in [
        "the operator cannot read this resource",
        "Change the field, or install the version of the operator",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let children = env.children(&old).await.unwrap();
    assert!(children.is_empty(), "{:?}", children.keys());
    let logged = |log: &str| log.lines().filter(|line| line.contains(LOGGED)).count();
    assert_eq!(logged(&operator.log()), 1, "one line for one problem");

    decide_at(&env, "old", TIME).await.unwrap();
    let old = env.settled("old").await.unwrap();
    let before = pods(&env, &old).await;
    assert_eq!(before.len(), 2);

    // While it is not readable again, its pods are kept, and the other resource is scaled.
    decide_at(&env, "old", NO_TIME).await.unwrap();
    env.until("old", "it is named again", is_named).await.unwrap();
    let more = json!({"scaling": {"minReplicas": 3}});
    env.change("old", &more).await.unwrap();
    env.change("chat", &more).await.unwrap();
    env.until("chat", "it is still served", |chat| {
        chat["status"]["replicas"] == 3
    })
    .await
    .unwrap();
    assert_eq!(pods(&env, &old).await, before, "no pod is created or deleted");

    decide_at(&env, "old", TIME).await.unwrap();
    env.until("old", "its change is applied", |old| {
        old["status"]["replicas"] == 3
    })
    .await
    .unwrap();
    let after = pods(&env, &old).await;
    assert!(
        before.iter().all(|pod| after.contains(pod)),
        "{before:?} {after:?}"
    );
    env.judge();
}
