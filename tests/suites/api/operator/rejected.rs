//! Objects that the API server rejects: a condition names the object and the cause, and the cluster heals when the cause ends.

use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};
use wsc_testing::cluster::eventually;

use super::small;
use crate::support::environment::{TestEnv, find};
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
async fn a_service_beyond_the_quota_is_named_and_made_later() {
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
async fn pods_beyond_a_limit_range_are_named_and_made_later() {
    let env = TestEnv::new("limits").await;
    let limits = format!("/api/v1/namespaces/{}/limitranges", env.namespace());
    let most = json!({"limits": [{"type": "Container", "max": {"memory": "3Gi"}}]});
    let limit = json!({"metadata": {"name": "most"}, "spec": most});
    env.ask(Method::POST, &limits, Some(&limit)).await.unwrap();
    let container = json!({"name": "a", "image": "a", "resources": {"limits": {"memory": "4Gi"}}});
    let probe = json!({"metadata": {"name": "probe"}, "spec": {"containers": [container]}});
    let pods = format!("/api/v1/namespaces/{}/pods?dryRun=All", env.namespace());
    until_rejected(&env, Method::POST, &pods, &probe).await;
    let _operator = env.operator();
    let mut spec = small();
    spec["server"] = json!({"resources": {"limits": {"memory": "4Gi"}}});
    env.create("chat", &spec).await.unwrap();
    until_named(&env, "Pod chat-", "maximum memory usage per Container is 3Gi").await;
    env.ask(Method::DELETE, &format!("{limits}/most"), None)
        .await
        .unwrap();
    env.settled("chat").await.unwrap();
}

#[tokio::test]
async fn a_webhook_that_fails_is_named_and_outlived() {
    let env = TestEnv::new("webhook").await;
    let hooks = format!("{POLICIES}/validatingwebhookconfigurations");
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"]});
    let hook = json!({
        "metadata": {"name": env.namespace()},
        "webhooks": [{
            "name": "down.example.org",
            // Nothing listens there: the API server answers 500.
            "clientConfig": {"url": "https://127.0.0.1:9/"},
            "rules": [rule],
            "namespaceSelector": here(&env),
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 2,
        }],
    });
    env.ask(Method::POST, &hooks, Some(&hook)).await.unwrap();
    let service = json!({"metadata": {"name": "probe"}, "spec": {"ports": [{"port": 80}]}});
    let services = format!("/api/v1/namespaces/{}/services?dryRun=All", env.namespace());
    until_rejected(&env, Method::POST, &services, &service).await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    until_named(&env, "Service chat", "down.example.org").await;
    let place = format!("{hooks}/{}", env.namespace());
    env.ask(Method::DELETE, &place, None).await.unwrap();
    env.settled("chat").await.unwrap();
}

/// A label of a server pod cannot be written: the pod is not used, and the pool serves as before.
#[tokio::test]
async fn a_policy_for_labels_is_named_and_harms_no_pod() {
    let env = TestEnv::new("labels").await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();
    let name = env.namespace();
    let rule =
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]});
    let policy = json!({
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{
                "expression": "object.metadata.labels == oldObject.metadata.labels",
                "message": "labels of pods are frozen",
            }],
        },
    });
    let binding = json!({
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": here(&env)},
        },
    });
    let (policies, bindings) = (
        format!("{POLICIES}/validatingadmissionpolicies"),
        format!("{POLICIES}/validatingadmissionpolicybindings"),
    );
    env.ask(Method::POST, &policies, Some(&policy)).await.unwrap();
    env.ask(Method::POST, &bindings, Some(&binding)).await.unwrap();
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
    for place in [format!("{bindings}/{name}"), format!("{policies}/{name}")] {
        env.ask(Method::DELETE, &place, None).await.unwrap();
    }
    let chat = env.settled("chat").await.unwrap();
    assert_eq!(chat["status"]["updatedReplicas"], 2, "{}", chat["status"]);
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
