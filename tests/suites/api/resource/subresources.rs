//! `status`, `scale`, the columns of `kubectl get`, and what kubectl knows about the resource.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use wsc_testing::cluster::{Cluster, Namespace};

use crate::support::{CRD, causes, cluster, create, path, resource, send, six_lines};

/// A status as an operator writes it.
fn status() -> Value {
    let condition = json!({
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "message": "clients can connect",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    json!({
        "observedGeneration": 1,
        "desiredReplicas": 7,
        "replicas": 6,
        "drainingReplicas": 5,
        "selector": "websocket-operator.io/cluster=chat",
        "connections": {"current": 4321, "capacity": 60000, "utilizationPercent": 42},
        "conditions": [condition],
    })
}

async fn chat(cluster: &Cluster, namespace: &Namespace) {
    let object = resource(namespace.name(), "chat", &six_lines());
    create(cluster, &object, "").await.unwrap().unwrap();
}

async fn put_status(cluster: &Cluster, namespace: &Namespace) {
    let status = json!({"status": status()});
    let path = format!("{}/status", path(namespace.name(), "chat"));
    send(cluster, Method::PATCH, &path, Some(&status))
        .await
        .unwrap()
        .unwrap();
}

async fn kubectl(cluster: &Cluster, namespace: &Namespace, args: &[&str]) -> Result<String> {
    let args = ["--namespace", namespace.name()]
        .into_iter()
        .chain(args.iter().copied());
    cluster.kubectl().run(args).await
}

#[tokio::test]
async fn the_crd_is_established_and_structural() {
    let cluster = cluster().await;
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD}");
    let crd = send(&cluster, Method::GET, &path, None).await.unwrap().unwrap();
    let conditions: Vec<_> = crd["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (&c["type"], &c["status"]))
        .collect();
    for (type_, value) in [("NamesAccepted", "True"), ("Established", "True")] {
        assert!(
            conditions.contains(&(&json!(type_), &json!(value))),
            "{conditions:?}"
        );
    }
    assert!(
        !conditions
            .iter()
            .any(|(type_, _)| **type_ == json!("NonStructuralSchema")),
        "{conditions:?}"
    );
    assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
}

#[tokio::test]
async fn kubectl_shows_the_columns() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("columns").await.unwrap();
    chat(&cluster, &namespace).await;
    put_status(&cluster, &namespace).await;
    let table = kubectl(&cluster, &namespace, &["get", "wsc"]).await.unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "NAME", "READY", "DESIRED", "ACTIVE", "DRAINING", "CONNS", "UTIL%", "AGE"
        ]
    );
    assert_eq!(rows[1][..7], ["chat", "True", "7", "6", "5", "4321", "42"]);
    let all = kubectl(&cluster, &namespace, &["get", "all", "-o", "name"])
        .await
        .unwrap();
    assert_eq!(all.trim(), "websocketcluster.websocket-operator.io/chat");
    let wait = ["wait", "--for=condition=Ready", "wsc/chat", "--timeout=30s"];
    kubectl(&cluster, &namespace, &wait).await.unwrap();
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("explain").await.unwrap();
    for (field, word) in [
        ("wsc.spec.scaling.minReplicas", "Minimum number of server pods"),
        ("wsc.spec.proxy.sticky.cookieName", "Name of the cookie"),
        ("wsc.status.conditions", "RedisReachable"),
    ] {
        let said = kubectl(&cluster, &namespace, &["explain", field]).await.unwrap();
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn kubectl_scale_writes_only_spec_replicas() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("scale").await.unwrap();
    chat(&cluster, &namespace).await;
    put_status(&cluster, &namespace).await;
    let chat_path = path(namespace.name(), "chat");
    let scale = ["scale", "wsc/chat", "--replicas=5"];
    let failed = kubectl(&cluster, &namespace, &scale).await.unwrap_err();
    let failed = failed.to_string();
    assert!(failed.contains("spec.replicas has no effect"), "{failed}");
    let mode = |replicas: Value| json!({"spec": {"scaling": {"mode": "Replicas"}, "replicas": replicas}});
    let refused = send(&cluster, Method::PATCH, &chat_path, Some(&mode(Value::Null)))
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        causes(&refused)
            .iter()
            .any(|cause| cause.contains("spec.replicas")),
        "{}",
        refused.message
    );
    let before = send(&cluster, Method::PATCH, &chat_path, Some(&mode(json!(2))))
        .await
        .unwrap()
        .unwrap();
    kubectl(&cluster, &namespace, &scale).await.unwrap();
    let after = send(&cluster, Method::GET, &path(namespace.name(), "chat"), None)
        .await
        .unwrap()
        .unwrap();
    let mut wanted = before["spec"].clone();
    wanted["replicas"] = json!(5);
    assert_eq!((&after["spec"], &after["status"]), (&wanted, &before["status"]));

    let scale_path = format!("{}/scale", path(namespace.name(), "chat"));
    let scale = send(&cluster, Method::GET, &scale_path, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(scale["spec"], json!({"replicas": 5}));
    let selector = "websocket-operator.io/cluster=chat";
    assert_eq!(scale["status"], json!({"replicas": 6, "selector": selector}));

    for replicas in ["2001", "-1"] {
        let args = ["scale", "wsc/chat", &format!("--replicas={replicas}")];
        let refused = kubectl(&cluster, &namespace, &args)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains("replicas"), "{refused}");
    }
}

#[tokio::test]
async fn spec_and_status_are_written_apart() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("apart").await.unwrap();
    chat(&cluster, &namespace).await;
    let main = path(namespace.name(), "chat");
    let both = json!({"spec": {"scaling": {"maxReplicas": 30}}, "status": status()});
    let written = send(&cluster, Method::PATCH, &main, Some(&both))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(written["spec"]["scaling"]["maxReplicas"], 30);
    assert_eq!(
        written["status"]["observedGeneration"], -1,
        "the status is not the spec's writer's"
    );
    assert_eq!(written["metadata"]["generation"], 2);

    let both = json!({"spec": {"scaling": {"maxReplicas": 40}}, "status": status()});
    let written = send(&cluster, Method::PATCH, &format!("{main}/status"), Some(&both))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        written["spec"]["scaling"]["maxReplicas"], 30,
        "the spec is the user's alone"
    );
    assert_eq!(written["status"]["desiredReplicas"], 7);
    assert_eq!(written["metadata"]["generation"], 2);
}
