//! An operator whose Role is missing, or lacks a kind.

use http::Method;
use serde_json::{Value, json};
use wsc_testing::cluster::{Namespace, eventually};

use super::small;
use crate::support::chart::{name, render};
use crate::support::environment::{READY, TestEnv, find};
use crate::support::operator;
use crate::support::{SOON, path, resource, send};

/// The roles of the chart in the second of two watched namespaces.
async fn roles(env: &TestEnv, second: &Namespace) -> Vec<Value> {
    let both = format!("watchNamespaces={{{},{}}}", env.namespace(), second.name());
    let values = [&*both, "crds.enabled=false"];
    let objects = render(&env.cluster, env.namespace(), env.namespace(), &values);
    let mut objects = objects.await.unwrap();
    objects.retain(|object| {
        object["metadata"]["namespace"] == second.name()
            && (object.get("rules").is_some() || object.get("roleRef").is_some())
    });
    assert!(objects.len() >= 2, "{objects:?}");
    objects
}

#[tokio::test]
async fn missing_role_leaves_other_namespace_served() {
    let env = TestEnv::new("allowed").await;
    let second = env.cluster.namespace("forbidden").await.unwrap();
    let roles = roles(&env, &second).await;
    let both = format!("{},{}", env.namespace(), second.name());
    let kubeconfig = env.identity.kubeconfig().unwrap();
    let operator = operator::start(&env.cluster, &both, env.namespace(), &kubeconfig, "").unwrap();
    let chat = resource(second.name(), "chat", &small());
    env.ask(Method::POST, &path(second.name(), ""), Some(&chat))
        .await
        .unwrap();
    env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();
    env.change("chat", &json!({"scaling": {"minReplicas": 3}}))
        .await
        .unwrap();
    env.until("chat", "it is still served", |chat| {
        chat["status"]["replicas"] == 3
    })
    .await
    .unwrap();
    let status = async || {
        let chat = send(&env.cluster, Method::GET, &path(second.name(), "chat"), None).await?;
        anyhow::Ok(chat.map_err(|refusal| anyhow::anyhow!(refusal.message))?["status"].clone())
    };
    let unseen = status().await.unwrap();
    assert_eq!(unseen["observedGeneration"], -1, "nothing is permitted there");
    let warning = "namespace cannot be listed";
    eventually(READY, "the log names the namespace", async || {
        let log = operator.log();
        let named = log.lines().filter(|line| line.contains(warning));
        let named: Vec<_> = named.collect();
        let is_second = |line: &&str| line.contains(second.name());
        Ok(named
            .iter()
            .any(is_second)
            .then(|| assert_eq!(named.len(), 1, "{named:?}")))
    })
    .await
    .unwrap();

    let list = json!({"apiVersion": "v1", "kind": "List", "items": roles});
    let apply = ["apply", "--server-side", "-f", "-"];
    env.cluster
        .kubectl()
        .input(list.to_string())
        .run(apply)
        .await
        .unwrap();
    eventually(READY, "the second namespace is served", async || {
        let status = status().await?;
        Ok((status["desiredReplicas"] == 2).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn kind_that_cannot_be_listed_is_named() {
    let env = TestEnv::new("unlisted").await;
    let lists_policies = |rule: &Value| rule["resources"].to_string().contains("networkpolicies");
    let roles = env.list("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles");
    let mut listed = roles.await.unwrap().into_iter();
    let has_rule = |role: &Value| role["rules"].as_array().unwrap().iter().any(lists_policies);
    let role = listed.find(has_rule).unwrap();
    let place = env.place("Role", name(&role));
    let mut fewer = role["rules"].as_array().unwrap().clone();
    fewer.retain(|rule| !lists_policies(rule));
    let patch = |rules: &[Value]| json!({"rules": rules});
    env.ask(Method::PATCH, &place, Some(&patch(&fewer)))
        .await
        .unwrap();

    let operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    let is_named = |chat: &Value| {
        let stalled = find(chat, "Stalled");
        let message = stalled["message"].as_str().unwrap_or_default();
        stalled["reason"] == "WatchFailed" && message.contains("NetworkPolicy")
    };
    let chat = env.until("chat", "the kind is named", is_named).await.unwrap();
    assert_eq!(
        find(&chat, "Ready")["reason"],
        "WatchFailed",
        "{}",
        chat["status"]
    );
    let answer = operator.get("/readyz").await.unwrap();
    let cause = format!("NetworkPolicy: not listed in {}", env.namespace());
    assert!(answer.status == 503 && answer.body.contains(&cause), "{answer:?}");
    let answer = operator.get("/livez").await.unwrap();
    assert_eq!(answer.status, 200, "a restart repairs no Role");
    let children = env.children(&chat).await.unwrap();
    assert!(children.is_empty(), "{:?}", children.keys());

    let all = role["rules"].as_array().unwrap();
    env.ask(Method::PATCH, &place, Some(&patch(all))).await.unwrap();
    operator.until_ready(SOON).await.unwrap();
    env.settled("chat").await.unwrap();
}
