//! What is not ours is left alone.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use super::small;
use crate::support::stage::{Stage, condition, controller, find};

/// The promise for any child whose name is free: a stranger's Service is looked at again every 5 s.
const RESTORED: Duration = Duration::from_secs(10);

fn stranger(labels: &Value) -> Value {
    json!({
        "metadata": {"name": "chat", "labels": labels},
        "spec": {"selector": {"app": "strange"}, "ports": [{"port": 1234}]},
    })
}

async fn conflict_is_told_and_resolved(stage: &Stage, labels: &Value) -> Result<()> {
    let place = stage.place("Service", "chat");
    let services = stage.place("Service", "").trim_end_matches('/').to_owned();
    let before = stage
        .ask(Method::POST, &services, Some(&stranger(labels)))
        .await?;
    stage.create("chat", &small()).await?;
    let chat = stage
        .until("chat", "the conflict is told", |chat| {
            find(chat, "Ready")["reason"] == "ChildConflict" && chat["status"]["replicas"] == 2
        })
        .await?;
    let ready = find(&chat, "Ready");
    assert_eq!(ready["status"], "False");
    let message = ready["message"].as_str().unwrap_or_default();
    assert!(message.contains("Service chat"), "{message}");
    let after = stage.ask(Method::GET, &place, None).await?;
    assert_eq!(
        before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"],
        "it was touched"
    );
    let children = stage.children(&chat).await?;
    assert!(
        !children.contains_key("Service/chat") && children.contains_key("Deployment/chat-proxy"),
        "{:?}",
        children.keys()
    );

    stage.ask(Method::DELETE, &place, None).await?;
    let chat = wsc_testing::cluster::eventually(RESTORED, "the name is free and taken", || async {
        let chat = stage.get("chat").await?;
        Ok((condition(&chat, "Ready") == "True").then_some(chat))
    })
    .await?;
    let service = stage.ask(Method::GET, &place, None).await?;
    assert_eq!(controller(&service), chat["metadata"]["uid"]);
    Ok(())
}

#[tokio::test]
async fn a_service_of_a_stranger_is_a_conflict_until_it_is_gone() {
    let stage = Stage::new("stranger").await;
    let _operator = stage.operator();
    conflict_is_told_and_resolved(&stage, &json!({})).await.unwrap();
    stage.judge();
}

/// Labels are no proof: anybody can write them.
#[tokio::test]
async fn a_service_of_a_stranger_with_our_label_is_a_conflict_too() {
    let stage = Stage::new("labelled").await;
    let _operator = stage.operator();
    conflict_is_told_and_resolved(&stage, &json!({"websocket-operator.io/cluster": "chat"}))
        .await
        .unwrap();
    stage.judge();
}

#[tokio::test]
async fn a_pod_of_a_stranger_costs_a_serial_and_nothing_else() {
    let stage = Stage::new("pod").await;
    let _operator = stage.operator();
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod = json!({
        "metadata": {"name": "chat-0"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "mine", "image": "mine", "securityContext": security}],
        },
    });
    let pods = stage.place("Pod", "").trim_end_matches('/').to_owned();
    let before = stage.ask(Method::POST, &pods, Some(&pod)).await.unwrap();
    stage.create("chat", &small()).await.unwrap();
    let chat = stage.settled("chat").await.unwrap();
    let children = stage.children(&chat).await.unwrap();
    let ours: Vec<_> = children.keys().filter(|name| name.starts_with("Pod/")).collect();
    assert_eq!(ours.len(), 2, "{ours:?}");
    assert!(!children.contains_key("Pod/chat-0"));
    let after = stage
        .ask(Method::GET, &stage.place("Pod", "chat-0"), None)
        .await
        .unwrap();
    assert_eq!(
        (&before["metadata"]["uid"], &before["metadata"]["labels"]),
        (&after["metadata"]["uid"], &after["metadata"]["labels"])
    );
    stage.judge();
}

#[tokio::test]
async fn two_clusters_in_one_namespace_keep_apart() {
    let stage = Stage::new("two").await;
    let _operator = stage.operator();
    // The second one's name looks like a server pod of the first.
    for name in ["chat", "chat-1"] {
        stage.create(name, &small()).await.unwrap();
    }
    let mut all = Vec::new();
    for name in ["chat", "chat-1"] {
        let owner = stage.settled(name).await.unwrap();
        let children = stage.children(&owner).await.unwrap();
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
    assert_eq!(all.len(), 28, "{all:?}");
    stage.judge();
}
