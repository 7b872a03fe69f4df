//! What cannot be is told in the status, in words that a person can act on.

use http::Method;
use serde_json::json;

use super::small;
use crate::support::stage::{Stage, find};

/// The schema lets it through: Kubernetes has no type for amounts in it.
#[tokio::test]
async fn an_amount_that_no_pod_can_have_is_refused_by_its_field() {
    let stage = Stage::new("amount").await;
    let _operator = stage.operator();
    let mut spec = small();
    spec["server"] = json!({"resources": {"limits": {"memory": "lots"}}});
    stage.create("chat", &spec).await.unwrap();
    let chat = stage
        .until("chat", "it is told", |chat| {
            find(chat, "Ready")["reason"] == "InvalidSpec"
        })
        .await
        .unwrap();
    let message = find(&chat, "Ready")["message"].as_str().unwrap();
    assert!(
        message.contains("spec.server.resources.limits.memory"),
        "{message}"
    );
    let children = stage.children(&chat).await.unwrap();
    assert!(children.is_empty(), "{:?}", children.keys());

    stage
        .change(
            "chat",
            &json!({"server": {"resources": {"limits": {"memory": 1_073_741_824}}}}),
        )
        .await
        .unwrap();
    stage.settled("chat").await.unwrap();
    stage.judge();
}

/// Somebody else's rule, which no schema knows. It is told, not tried without end, and overcome when the rule is gone.
#[tokio::test]
async fn pods_that_the_api_server_refuses_are_told_with_its_reason() {
    let stage = Stage::new("quota").await;
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", stage.namespace());
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"count/pods": "3"}}});
    stage.ask(Method::POST, &quotas, Some(&quota)).await.unwrap();
    let _operator = stage.operator();
    let mut spec = small();
    spec["scaling"]["minReplicas"] = json!(4);
    stage.create("chat", &spec).await.unwrap();
    let chat = stage
        .until("chat", "it is told", |chat| {
            find(chat, "Stalled")["reason"] == "PodsDoNotStart"
        })
        .await
        .unwrap();
    let message = find(&chat, "Stalled")["message"].as_str().unwrap();
    assert!(message.contains("exceeded quota: few"), "{message}");
    assert_eq!(find(&chat, "Ready")["status"], "False");

    stage
        .ask(Method::DELETE, &format!("{quotas}/few"), None)
        .await
        .unwrap();
    let chat = stage.settled("chat").await.unwrap();
    let serials = chat["status"]["nextSerial"].as_i64().unwrap();
    assert!(serials < 20, "{serials} serials for four pods");
}
