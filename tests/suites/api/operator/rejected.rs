//! Objects that the API server rejects: a condition names the object and the cause, and the cluster
//! heals when the cause ends.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};
use wsc_testing::cluster::eventually;

use super::small;
use crate::support::chart::name;
use crate::support::environment::{READY, TestEnv, find};
use crate::support::{SOON, send};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1";

/// Until `Reconciling` names what could not be written, and why.
async fn until_named(env: &TestEnv, object: &str, cause: &str) -> Value {
    let what = format!("{object} is named with {cause}");
    let is_named = |chat: &Value| {
        let reconciling = find(chat, "Reconciling");
        let message = reconciling["message"].as_str().unwrap_or_default();
        reconciling["reason"] == "ApplyFailed"
            && reconciling["status"] == "True"
            && message.contains(object)
            && message.contains(cause)
    };
    env.until("chat", &what, is_named).await.unwrap()
}

/// Only this namespace.
fn here(env: &TestEnv) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": env.namespace()}})
}

#[tokio::test]
async fn service_over_quota_is_named_and_retried() {
    let env = TestEnv::new("services").await;
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", env.namespace());
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"services": "0"}}});
    env.ask(Method::POST, &quotas, Some(&quota)).await.unwrap();
    let place = format!("{quotas}/none");
    eventually(SOON, "the quota is in force", || async {
        let quota = env.ask(Method::GET, &place, None).await?;
        Ok((quota["status"]["hard"]["services"] == "0").then_some(()))
    })
    .await
    .unwrap();
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    let chat = until_named(&env, "Service chat", "exceeded quota: none").await;
    for (type_, status) in [("Ready", "False"), ("Stalled", "True")] {
        let condition = find(&chat, type_);
        assert_eq!(condition["status"], status, "{condition}");
        assert_eq!(condition["reason"], "ApplyFailed", "{condition}");
    }
    env.ask(Method::DELETE, &place, None).await.unwrap();
    env.settled("chat").await.unwrap();
}

#[tokio::test]
async fn pod_over_limit_range_named_and_retried() {
    let env = TestEnv::new("limits").await;
    let limit = limit_memory(&env).await;
    let _operator = env.operator();
    env.create("chat", &large()).await.unwrap();
    until_named(&env, "Pod chat-", TOO_LARGE).await;
    env.ask(Method::DELETE, &limit, None).await.unwrap();
    env.settled("chat").await.unwrap();
}

#[tokio::test]
async fn limit_range_stops_no_serving_pod() {
    let env = TestEnv::new("limited").await;
    let _operator = env.operator();
    env.create("chat", &large()).await.unwrap();
    let chat = env.settled("chat").await.unwrap();
    let before = env.children(&chat).await.unwrap();
    let limit = limit_memory(&env).await;
    let change = json!({"server": {"env": [{"name": "A", "value": "b"}]}});
    env.change("chat", &change).await.unwrap();
    let chat = until_named(&env, "Pod chat-", TOO_LARGE).await;
    assert_eq!(find(&chat, "Ready")["status"], "True", "{}", chat["status"]);
    let during = env.children(&chat).await.unwrap();
    let names = |children| pods(children).map(|pod| name(pod).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        names(&during),
        names(&before),
        "a pod ended without its successor"
    );
    env.pods.each(|name, server| {
        assert!(!server.cordoned, "{name} drains without its successor");
    });
    env.ask(Method::DELETE, &limit, None).await.unwrap();
    let chat = env.settled("chat").await.unwrap();
    assert_eq!(chat["status"]["updatedReplicas"], 2, "{}", chat["status"]);
}

#[tokio::test]
async fn failing_webhook_is_named_and_outlived() {
    let env = TestEnv::new("webhook").await;
    let hook = fail_services(&env).await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    until_named(&env, "Service chat", "down.example.org").await;
    env.ask(Method::DELETE, &hook, None).await.unwrap();
    env.settled("chat").await.unwrap();
}

#[tokio::test]
async fn failing_webhook_stops_no_serving_pool() {
    let env = TestEnv::new("webhooked").await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();
    let hook = fail_services(&env).await;
    let service = env.place("Service", "chat");
    env.ask(Method::DELETE, &service, None).await.unwrap();
    let chat = until_named(&env, "Service chat", "down.example.org").await;
    let ready = find(&chat, "Ready");
    assert_eq!(ready["status"], "False", "clients need the Service: {ready}");
    assert_eq!(chat["status"]["replicas"], 2, "{}", chat["status"]);
    env.ask(Method::DELETE, &hook, None).await.unwrap();
    env.settled("chat").await.unwrap();
    env.ask(Method::GET, &service, None).await.unwrap();
}

/// The message of the API server for pods of [`large`].
const TOO_LARGE: &str = "maximum memory usage per Container is 3Gi";

/// Pods beyond the limit of [`limit_memory`].
fn large() -> Value {
    let mut spec = small();
    spec["server"] = json!({"resources": {"limits": {"memory": "4Gi"}}});
    spec
}

/// Puts a LimitRange in force; returns its path.
async fn limit_memory(env: &TestEnv) -> String {
    let limits = format!("/api/v1/namespaces/{}/limitranges", env.namespace());
    let most = json!({"limits": [{"type": "Container", "max": {"memory": "3Gi"}}]});
    let limit = json!({"metadata": {"name": "most"}, "spec": most});
    env.ask(Method::POST, &limits, Some(&limit)).await.unwrap();
    let container = json!({"name": "a", "image": "a", "resources": {"limits": {"memory": "4Gi"}}});
    let probe = json!({"metadata": {"name": "probe"}, "spec": {"containers": [container]}});
    let pods = format!("/api/v1/namespaces/{}/pods?dryRun=All", env.namespace());
    until_rejected(env, Method::POST, &pods, &probe).await;
    format!("{limits}/most")
}

/// A webhook that fails creates of Services of this namespace; returns its path.
async fn fail_services(env: &TestEnv) -> String {
    let hooks = format!("{POLICIES}/validatingwebhookconfigurations");
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"]});
    let hook = json!({
        "metadata": {"name": env.namespace()},
        "webhooks": [{
            "name": "down.example.org",
            // Nothing listens there: the API server answers 500.
            "clientConfig": {"url": "https://127.0.0.1:9/"},
            "rules": [rule],
            "namespaceSelector": here(env),
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 2,
        }],
    });
    env.ask(Method::POST, &hooks, Some(&hook)).await.unwrap();
    let service = json!({"metadata": {"name": "probe"}, "spec": {"ports": [{"port": 80}]}});
    let services = format!("/api/v1/namespaces/{}/services?dryRun=All", env.namespace());
    until_rejected(env, Method::POST, &services, &service).await;
    format!("{hooks}/{}", env.namespace())
}

/// A label of a server pod cannot be written: the pod is not used, and the pool serves as before.
#[tokio::test]
async fn label_policy_is_named_and_harmless() {
    let env = TestEnv::new("labels").await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();
    let rule =
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]});
    let frozen = "object.metadata.labels == oldObject.metadata.labels";
    let policy = deny(&env, &json!([rule]), frozen, "labels of pods are frozen").await;
    let pod = format!("{}?dryRun=All", env.place("Pod", "chat-0"));
    let change = json!({"metadata": {"labels": {"probe": "1"}}});
    until_rejected(&env, Method::PATCH, &pod, &change).await;

    env.change("chat", &json!({"server": {"env": [{"name": "A", "value": "b"}]}}))
        .await
        .unwrap();
    let chat = until_named(&env, "Pod chat-", "labels of pods are frozen").await;
    assert_eq!(find(&chat, "Ready")["status"], "True", "{}", chat["status"]);
    env.pods.each(|name, server| {
        assert!(!server.cordoned, "{name} is cordoned without its mark");
    });
    allow(&env, policy).await;
    let chat = env.settled("chat").await.unwrap();
    assert_eq!(chat["status"]["updatedReplicas"], 2, "{}", chat["status"]);
}

#[tokio::test]
async fn label_policy_is_met_by_the_spec() {
    let env = TestEnv::new("required").await;
    let rule = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": resources});
    let rules = json!([
        rule(
            "",
            &["configmaps", "pods", "secrets", "serviceaccounts", "services"]
        ),
        rule("apps", &["controllerrevisions", "deployments", "replicasets"]),
        rule("networking.k8s.io", &["networkpolicies"]),
        rule("rbac.authorization.k8s.io", &["rolebindings", "roles"]),
    ]);
    let has_team = "has(object.metadata.labels) && 'team' in object.metadata.labels";
    let policy = deny(&env, &rules, has_team, "each object needs the label team").await;
    let map = json!({"metadata": {"name": "probe"}});
    let maps = format!("/api/v1/namespaces/{}/configmaps?dryRun=All", env.namespace());
    until_rejected(&env, Method::POST, &maps, &map).await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    let chat = until_named(&env, "ConfigMap chat-haproxy", "each object needs the label team").await;
    for (type_, status) in [("Ready", "False"), ("Stalled", "True")] {
        let condition = find(&chat, type_);
        assert_eq!(condition["status"], status, "{condition}");
        assert_eq!(condition["reason"], "ApplyFailed", "{condition}");
    }

    let extra = json!({"labels": {"team": "chat"}, "annotations": {"example.org/contact": "chat"}});
    env.change("chat", &extra).await.unwrap();
    let chat = env.settled("chat").await.unwrap();
    let children = env.children(&chat).await.unwrap();
    assert!(children.len() >= 13, "{:?}", children.keys());
    for (name, child) in &children {
        let metadata = &child["metadata"];
        assert_eq!(metadata["labels"]["team"], "chat", "{name}: {metadata}");
        let contact = &metadata["annotations"]["example.org/contact"];
        assert_eq!(contact, "chat", "{name}: {metadata}");
    }

    let other = json!({"labels": {"team": "games"}, "annotations": {"example.org/contact": null}});
    env.change("chat", &other).await.unwrap();
    let after = eventually(READY, "the pods are updated", async || {
        let children = env.children(&chat).await?;
        let mut pods = pods(&children);
        let is_updated = |pod: &Value| {
            let metadata = &pod["metadata"];
            metadata["labels"]["team"] == "games" && metadata["annotations"]["example.org/contact"].is_null()
        };
        let all = pods.all(is_updated);
        drop(pods);
        Ok(all.then_some(children))
    });
    let after = after.await.unwrap();
    let uids = |children| pods(children).map(|pod| pod["metadata"]["uid"].clone());
    let [before, after] = [&children, &after].map(|children| uids(children).collect::<Vec<_>>());
    assert_eq!((before.len(), &after), (2, &before), "a server pod was replaced");
    allow(&env, policy).await;
}

/// The server pods of all children.
fn pods(children: &BTreeMap<String, Value>) -> impl Iterator<Item = &Value> {
    let pods = children.iter().filter(|(name, _)| name.starts_with("Pod/"));
    pods.map(|(_, pod)| pod)
}

/// A policy for objects of this namespace, and what it consists of.
async fn deny(env: &TestEnv, rules: &Value, expression: &str, message: &str) -> [String; 2] {
    let name = env.namespace();
    let policy = json!({
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": expression, "message": message}],
        },
    });
    let binding = json!({
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": here(env)},
        },
    });
    let objects = [
        (format!("{POLICIES}/validatingadmissionpolicies"), policy),
        (format!("{POLICIES}/validatingadmissionpolicybindings"), binding),
    ];
    for (path, object) in &objects {
        env.ask(Method::POST, path, Some(object)).await.unwrap();
    }
    objects.map(|(path, _)| format!("{path}/{name}"))
}

async fn allow(env: &TestEnv, policy: [String; 2]) {
    for place in policy.iter().rev() {
        env.ask(Method::DELETE, place, None).await.unwrap();
    }
}

/// Admission rules take effect some seconds after they were written.
async fn until_rejected(env: &TestEnv, method: Method, path: &str, body: &Value) {
    let rejected = || async {
        match send(&env.cluster, method.clone(), path, Some(body)).await? {
            Err(_) => Ok(Some(())),
            Ok(_) => bail!("{path} is accepted"),
        }
    };
    let rejected: Result<()> = eventually(SOON, "the rule is in force", rejected).await;
    rejected.unwrap();
}
