//! A child that is deleted or edited by hand is as it was within 10 s.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};
use wsc_testing::cluster::eventually;

use super::small;
use crate::support::differences;
use crate::support::environment::{TestEnv, uid};

/// The promise.
const RESTORED: Duration = Duration::from_secs(10);

/// An edit of the object: a merge patch.
fn edits() -> Vec<(&'static str, &'static str, Value)> {
    let no_label = json!({"metadata": {"labels": {"websocket-operator.io/cluster": null}}});
    vec![
        (
            "Service",
            "chat",
            json!({"spec": {"ports": [{"port": 81, "targetPort": "ws"}]}}),
        ),
        ("Service", "chat", json!({"spec": {"selector": {"app": "mine"}}})),
        (
            "Service",
            "chat-redis",
            json!({"metadata": {"labels": {"websocket-operator.io/component": "server"}}}),
        ),
        (
            "Service",
            "chat",
            json!({"metadata": {"annotations": {"websocket-operator.io/applied-hash": "0000000000"}}}),
        ),
        ("Service", "chat", no_label.clone()),
        (
            "ConfigMap",
            "chat-haproxy",
            json!({"data": {"haproxy.cfg": "global\n"}}),
        ),
        (
            "ConfigMap",
            "chat-haproxy",
            json!({"data": {"backends.json": "{}"}}),
        ),
        ("ConfigMap", "chat-haproxy", json!({"data": {"more": "text"}})),
        ("ConfigMap", "chat-haproxy", json!({"data": null})),
        ("ConfigMap", "chat-haproxy", no_label.clone()),
        ("Deployment", "chat-proxy", json!({"spec": {"replicas": 0}})),
        (
            "Deployment",
            "chat-proxy",
            json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 0}}}}),
        ),
        ("Deployment", "chat-redis", json!({"spec": {"replicas": 2}})),
        ("Deployment", "chat-redis", no_label.clone()),
        ("NetworkPolicy", "chat", json!({"spec": {"ingress": [{}]}})),
        (
            "NetworkPolicy",
            "chat-redis",
            json!({"spec": {"podSelector": {"matchLabels": {"app": "mine"}}}}),
        ),
        ("Role", "chat-proxy", json!({"rules": []})),
        (
            "Role",
            "chat-proxy",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
        ("RoleBinding", "chat-proxy", json!({"subjects": []})),
        (
            "ServiceAccount",
            "chat-proxy",
            json!({"automountServiceAccountToken": true}),
        ),
        ("ServiceAccount", "chat-proxy", no_label),
    ]
}

/// Without what the API server and other controllers count up in it.
fn content(object: &Value) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().unwrap();
    // Lists give objects without their type.
    for field in ["apiVersion", "kind", "status"] {
        fields.remove(field);
    }
    let metadata = fields["metadata"].as_object_mut().unwrap();
    for field in [
        "resourceVersion",
        "generation",
        "managedFields",
        "uid",
        "creationTimestamp",
    ] {
        metadata.remove(field);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("deployment.kubernetes.io/revision");
    }
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        // A Service that is made again gets another address.
        for field in ["clusterIP", "clusterIPs"] {
            spec.remove(field);
        }
    }
    object
}

async fn restored(env: &TestEnv, place: &str, wanted: &Value) -> Result<Value> {
    eventually(RESTORED, &format!("{place} is restored"), || async {
        let live = env.ask(Method::GET, place, None).await?;
        if content(&live) == content(wanted) {
            return Ok(Some(live));
        }
        bail!("it differs: {:?}", differences(&content(wanted), &content(&live)))
    })
    .await
}

#[tokio::test]
async fn an_edited_child_is_restored() {
    let env = TestEnv::new("edited").await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();
    for (kind, name, edit) in edits() {
        let place = env.place(kind, name);
        let before = env.ask(Method::GET, &place, None).await.unwrap();
        let edited = env.ask(Method::PATCH, &place, Some(&edit)).await.unwrap();
        assert_ne!(
            content(&before),
            content(&edited),
            "{kind} {name}: {edit} changes nothing"
        );
        let after = restored(&env, &place, &before)
            .await
            .unwrap_or_else(|err| panic!("{edit}: {err:#}"));
        assert_eq!(uid(&after), uid(&before), "it was edited back, not made again");
    }
    env.judge();
}

#[tokio::test]
async fn a_deleted_child_is_made_again() {
    let env = TestEnv::new("deleted").await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    let chat = env.settled("chat").await.unwrap();
    let children: BTreeMap<String, Value> = env.children(&chat).await.unwrap();
    let applied = children
        .iter()
        .filter_map(|(child, object)| Some((child.split_once('/')?, object)));
    for ((kind, name), before) in applied.filter(|((kind, _), _)| !["Pod", "Secret"].contains(kind)) {
        let place = env.place(kind, name);
        env.ask(Method::DELETE, &place, None).await.unwrap();
        let after = restored(&env, &place, before).await.unwrap();
        assert_ne!(uid(&after), uid(before), "{place} was not deleted");
    }
    env.settled("chat").await.unwrap();
    env.judge();
}

#[tokio::test]
async fn lost_server_pod_and_label_are_restored() {
    let env = TestEnv::new("pods").await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();

    let unlabelled = json!({"metadata": {"labels": {"websocket-operator.io/state": null}}});
    let pod = env.place("Pod", "chat-0");
    env.ask(Method::PATCH, &pod, Some(&unlabelled)).await.unwrap();
    eventually(RESTORED, "the state of chat-0 is restored", || async {
        let pod = env.ask(Method::GET, &pod, None).await?;
        Ok((pod["metadata"]["labels"]["websocket-operator.io/state"] == "Active").then_some(()))
    })
    .await
    .unwrap();

    env.ask(Method::DELETE, &pod, None).await.unwrap();
    let failed = json!({"status": {"phase": "Failed"}});
    env.ask(
        Method::PATCH,
        &format!("{}/status", env.place("Pod", "chat-1")),
        Some(&failed),
    )
    .await
    .unwrap();
    let chat = env
        .until("chat", "both pods are replaced", |chat| {
            chat["status"]["nextSerial"] == 4 && chat["status"]["replicas"] == 2
        })
        .await
        .unwrap();
    let children = env.children(&chat).await.unwrap();
    let pods: Vec<_> = children.keys().filter(|name| name.starts_with("Pod/")).collect();
    // The failed one stays a while, for a person to look at.
    assert_eq!(pods, ["Pod/chat-1", "Pod/chat-2", "Pod/chat-3"]);
    env.judge();
}

/// Redis and the pods that run have the password of the lost one.
#[tokio::test]
async fn lost_redis_secret_gets_another_name() {
    let env = TestEnv::new("secret").await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    let chat = env.settled("chat").await.unwrap();
    let lost = secret(&env, &chat).await;
    env.ask(Method::DELETE, &env.place("Secret", &lost), None)
        .await
        .unwrap();
    // As the kubelet reports a pod that needs it.
    let waiting = json!({"status": {"containerStatuses": [{
        "name": "server", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "CreateContainerConfigError"}},
    }]}});
    env.ask(
        Method::PATCH,
        &format!("{}/status", env.place("Pod", "chat-0")),
        Some(&waiting),
    )
    .await
    .unwrap();
    let before = chat["status"]["updateRevision"].clone();
    let chat = env
        .until("chat", "all server pods are replaced", |chat| {
            let status = &chat["status"];
            status["redisSecretReplacements"] == 1
                && status["updateRevision"] != before
                && status["updatedReplicas"] == 2
                && status["replicas"] == 2
                && status["drainingReplicas"] == 0
        })
        .await
        .unwrap();
    let name = secret(&env, &chat).await;
    assert_eq!(name, format!("{lost}-1"));
    let children = env.children(&chat).await.unwrap();
    for user in children
        .keys()
        .filter(|child| child.starts_with("Pod/"))
        .map(String::as_str)
        .chain(["Deployment/chat-redis"])
    {
        assert!(children[user].to_string().contains(&name), "{user}");
    }
    env.judge();
}

/// The name of the only Secret of the resource.
async fn secret(env: &TestEnv, owner: &Value) -> String {
    let children = env.children(owner).await.unwrap();
    let mut secrets = children.keys().filter_map(|child| child.strip_prefix("Secret/"));
    let only = secrets.next().unwrap().to_owned();
    assert_eq!(secrets.next(), None);
    only
}
