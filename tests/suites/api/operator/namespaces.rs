//! An operator of several namespaces.

use serde_json::{Value, json};
use wsc_testing::cluster::{Namespace, eventually};

use super::small;
use crate::support::chart::render;
use crate::support::environment::{READY, TestEnv};
use crate::support::operator::Operator;
use crate::support::{path, resource, send};

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
    let operator = Operator::start(&env.cluster, &both, env.namespace(), &kubeconfig).unwrap();
    let chat = resource(second.name(), "chat", &small());
    env.ask(http::Method::POST, &path(second.name(), ""), Some(&chat))
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
        let chat = send(
            &env.cluster,
            http::Method::GET,
            &path(second.name(), "chat"),
            None,
        )
        .await?;
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
