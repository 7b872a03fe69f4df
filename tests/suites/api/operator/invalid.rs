//! An invalid resource is reported in the status, with cause and remedy.

use http::Method;
use serde_json::{Value, json};
use wsc_testing::cluster::eventually;

use super::small;
use crate::support::SOON;
use crate::support::environment::{TestEnv, find};

/// The schema accepts it: a pattern does not know the normal form of an address.
#[tokio::test]
async fn origin_without_normal_form_names_its_field() {
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

/// Healing and the last valid limits stay in force while a newer spec is invalid; the record of it
/// is the only one.
#[tokio::test]
async fn last_valid_spec_stays_in_force() {
    let env = TestEnv::new("lastvalid").await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();
    let change = json!({"scaling": {"minReplicas": 3}, "proxy": {"origins": ["https://[0:0::1]"]}});
    env.change("chat", &change).await.unwrap();
    let is_rejected = |chat: &Value| find(chat, "Stalled")["reason"] == "InvalidSpec";
    let chat = env
        .until("chat", "the spec is rejected", is_rejected)
        .await
        .unwrap();
    assert_eq!(chat["status"]["observedGeneration"], 2);
    let message = find(&chat, "Ready")["message"].as_str().unwrap();
    for part in [
        "spec.proxy.origins[0]",
        "https://[::1]",
        "the spec of generation 1 stays in force",
    ] {
        assert!(message.contains(part), "{message}");
    }

    env.ask(Method::DELETE, &env.place("Pod", "chat-0"), None)
        .await
        .unwrap();
    let chat = env
        .until("chat", "the pod is replaced", |chat| {
            chat["status"]["nextSerial"] == 3 && chat["status"]["replicas"] == 2
        })
        .await
        .unwrap();
    assert!(is_rejected(&chat), "{chat}");
    assert_eq!(
        chat["status"]["desiredReplicas"], 2,
        "the minimum of the valid spec"
    );
    assert_eq!(records(&env, &chat).await, [1]);

    env.change("chat", &json!({"proxy": {"origins": ["https://[::1]"]}}))
        .await
        .unwrap();
    let chat = env.settled("chat").await.unwrap();
    assert_eq!(chat["status"]["replicas"], 3);
    eventually(SOON, "the new record is the only one", || async {
        Ok((records(&env, &chat).await == [3]).then_some(()))
    })
    .await
    .unwrap();
    env.judge();
}

/// Generations of the recorded specs.
async fn records(env: &TestEnv, owner: &Value) -> Vec<i64> {
    let children = env.children(owner).await.unwrap();
    let records = children
        .iter()
        .filter(|(name, _)| name.starts_with("ControllerRevision/"));
    records
        .map(|(_, record)| record["revision"].as_i64().unwrap())
        .collect()
}

/// A rule of another admission policy, which no schema has. It is reported, not retried without
/// end, and overcome when it is deleted.
#[tokio::test]
async fn rejected_pods_are_reported_with_the_reason() {
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
