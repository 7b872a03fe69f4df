//! An invalid resource is reported in the status, with cause and remedy.

use http::Method;
use serde_json::json;

use super::small;
use crate::support::environment::{TestEnv, find};

/// The schema accepts it: a pattern does not know the normal form of an address.
#[tokio::test]
async fn origin_without_normal_form_is_reported_by_its_field() {
    let env = TestEnv::new("origin").await;
    let _operator = env.operator();
    let mut spec = small();
    spec["proxy"]["origins"] = json!(["https://[0:0::1]"]);
    env.create("chat", &spec).await.unwrap();
    let chat = env
        .until("chat", "it is reported", |chat| {
            find(chat, "Ready")["reason"] == "InvalidSpec"
        })
        .await
        .unwrap();
    let message = find(&chat, "Ready")["message"].as_str().unwrap();
    assert!(
        message.contains("spec.proxy.origins[0]") && message.contains("https://[::1]"),
        "{message}"
    );
    let children = env.children(&chat).await.unwrap();
    assert!(children.is_empty(), "{:?}", children.keys());

    env.change("chat", &json!({"proxy": {"origins": ["https://[::1]"]}}))
        .await
        .unwrap();
    env.settled("chat").await.unwrap();
    env.judge();
}

/// A rule of another admission policy, which no schema has. It is reported, not retried without end, and overcome when it is deleted.
#[tokio::test]
async fn pods_that_the_api_server_refuses_are_told_with_its_reason() {
    let env = TestEnv::new("quota").await;
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", env.namespace());
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"count/pods": "3"}}});
    env.ask(Method::POST, &quotas, Some(&quota)).await.unwrap();
    let _operator = env.operator();
    let mut spec = small();
    spec["scaling"]["minReplicas"] = json!(4);
    env.create("chat", &spec).await.unwrap();
    let chat = env
        .until("chat", "it is reported", |chat| {
            find(chat, "Stalled")["reason"] == "PodRejected"
        })
        .await
        .unwrap();
    let message = find(&chat, "Stalled")["message"].as_str().unwrap();
    assert!(message.contains("exceeded quota: few"), "{message}");
    assert_eq!(find(&chat, "Ready")["status"], "False");

    env.ask(Method::DELETE, &format!("{quotas}/few"), None)
        .await
        .unwrap();
    let chat = env.settled("chat").await.unwrap();
    let serials = chat["status"]["nextSerial"].as_i64().unwrap();
    assert!(serials < 20, "{serials} serials for four pods");
}
