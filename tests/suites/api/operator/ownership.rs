//! What is not ours is left alone.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use super::small;
use crate::support::environment::{TestEnv, condition, controller, find, uid};
use crate::support::path;

/// A child whose name is free again is created: a Service of a foreign owner is checked every 5 s.
const RESTORED: Duration = Duration::from_secs(10);

fn foreign(labels: &Value) -> Value {
    json!({
        "metadata": {"name": "chat", "labels": labels},
        "spec": {"selector": {"app": "strange"}, "ports": [{"port": 1234}]},
    })
}

async fn conflict_is_told_and_resolved(env: &TestEnv, labels: &Value) -> Result<()> {
    let place = env.place("Service", "chat");
    let services = env.place("Service", "").trim_end_matches('/').to_owned();
    let before = env.ask(Method::POST, &services, Some(&foreign(labels))).await?;
    env.create("chat", &small()).await?;
    let chat = env
        .until("chat", "the conflict is reported", |chat| {
            find(chat, "Ready")["reason"] == "ChildConflict" && chat["status"]["replicas"] == 2
        })
        .await?;
    let ready = find(&chat, "Ready");
    assert_eq!(ready["status"], "False");
    let message = ready["message"].as_str().unwrap_or_default();
    assert!(message.contains("Service chat"), "{message}");
    let after = env.ask(Method::GET, &place, None).await?;
    assert_eq!(
        before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"],
        "it was touched"
    );
    let children = env.children(&chat).await?;
    assert!(
        !children.contains_key("Service/chat") && children.contains_key("Deployment/chat-proxy"),
        "{:?}",
        children.keys()
    );

    env.ask(Method::DELETE, &place, None).await?;
    let chat = wsc_testing::cluster::eventually(RESTORED, "the name is free and taken", || async {
        let chat = env.get("chat").await?;
        Ok((condition(&chat, "Ready") == "True").then_some(chat))
    })
    .await?;
    let service = env.ask(Method::GET, &place, None).await?;
    assert_eq!(controller(&service), chat["metadata"]["uid"]);
    Ok(())
}

#[tokio::test]
async fn foreign_service_conflicts_until_deleted() {
    let env = TestEnv::new("foreign").await;
    let _operator = env.operator();
    conflict_is_told_and_resolved(&env, &json!({})).await.unwrap();
    env.judge();
}

/// Labels are no proof: anybody can write them.
#[tokio::test]
async fn foreign_service_with_our_label_conflicts() {
    let env = TestEnv::new("labelled").await;
    let _operator = env.operator();
    conflict_is_told_and_resolved(&env, &json!({"websocket-operator.io/cluster": "chat"}))
        .await
        .unwrap();
    env.judge();
}

/// Children that lost their owner, as after a restored backup.
#[tokio::test]
async fn annotated_orphans_are_adopted() {
    let env = TestEnv::new("adopted").await;
    let operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    let before = env.settled("chat").await.unwrap();
    let mut children = env.children(&before).await.unwrap();
    drop(operator);
    // Pods and records have names of their own for each resource; the Secret is never read.
    let is_applied = |name: &String| {
        let mut others = ["Pod/", "ControllerRevision/", "Secret/"].into_iter();
        !others.any(|kind| name.starts_with(kind))
    };
    children.retain(|name, _| is_applied(name));
    assert!(children.len() >= 10, "{:?}", children.keys());
    let orphan = json!({"metadata": {"ownerReferences": null}});
    let adopt = json!({"metadata": {"annotations": {"websocket-operator.io/adopt": "true"}}});
    for name in children.keys() {
        let (kind, name) = name.split_once('/').unwrap();
        let place = env.place(kind, name);
        env.ask(Method::PATCH, &place, Some(&orphan)).await.unwrap();
    }
    let chat = path(env.namespace(), "chat");
    env.ask(Method::DELETE, &chat, None).await.unwrap();
    env.create("chat", &small()).await.unwrap();
    let _operator = env.operator();
    env.until("chat", "the conflict is reported", |chat| {
        find(chat, "Ready")["reason"] == "ChildConflict"
    })
    .await
    .unwrap();
    for name in children.keys() {
        let (kind, name) = name.split_once('/').unwrap();
        let place = env.place(kind, name);
        env.ask(Method::PATCH, &place, Some(&adopt)).await.unwrap();
    }
    let chat = env.settled("chat").await.unwrap();
    let adopted = env.children(&chat).await.unwrap();
    for (name, child) in &children {
        let is_same = adopted.get(name).map(uid) == Some(uid(child));
        assert!(is_same, "{name} was not adopted: {:?}", adopted.get(name));
    }
    env.judge();
}

#[tokio::test]
async fn a_foreign_pod_costs_only_a_serial() {
    let env = TestEnv::new("pod").await;
    let _operator = env.operator();
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod = json!({
        "metadata": {"name": "chat-0"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "mine", "image": "mine", "securityContext": security}],
        },
    });
    let pods = env.place("Pod", "").trim_end_matches('/').to_owned();
    let before = env.ask(Method::POST, &pods, Some(&pod)).await.unwrap();
    env.create("chat", &small()).await.unwrap();
    let chat = env.settled("chat").await.unwrap();
    let children = env.children(&chat).await.unwrap();
    let ours: Vec<_> = children.keys().filter(|name| name.starts_with("Pod/")).collect();
    assert_eq!(ours.len(), 2, "{ours:?}");
    assert!(!children.contains_key("Pod/chat-0"));
    let after = env
        .ask(Method::GET, &env.place("Pod", "chat-0"), None)
        .await
        .unwrap();
    assert_eq!(
        (&before["metadata"]["uid"], &before["metadata"]["labels"]),
        (&after["metadata"]["uid"], &after["metadata"]["labels"])
    );
    env.judge();
}

#[tokio::test]
async fn two_clusters_in_one_namespace_keep_apart() {
    let env = TestEnv::new("two").await;
    let _operator = env.operator();
    // The second one's name looks like a server pod of the first.
    for name in ["chat", "chat-1"] {
        env.create(name, &small()).await.unwrap();
    }
    let mut all = Vec::new();
    for name in ["chat", "chat-1"] {
        let owner = env.settled(name).await.unwrap();
        let children = env.children(&owner).await.unwrap();
        assert_eq!(
            children.keys().filter(|child| child.starts_with("Pod/")).count(),
            2,
            "{:?}",
            children.keys()
        );
        assert!(
            children
                .values()
                .all(|child| child["metadata"]["labels"]["websocket-operator.io/cluster"] == name)
        );
        all.extend(children.into_keys());
    }
    assert_eq!(all.len(), 30, "{all:?}");
    env.judge();
}
