//! What a resource becomes.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::small;
use crate::support::environment::{TestEnv, condition, controller, uid};
use crate::support::path;

/// Names of the Secret and of the record of the spec end in a hash of the resource's uid.
const CHILDREN: [&str; 16] = [
    "ConfigMap/chat-haproxy",
    "ControllerRevision/chat-",
    "Deployment/chat-proxy",
    "Deployment/chat-redis",
    "NetworkPolicy/chat",
    "NetworkPolicy/chat-proxy",
    "NetworkPolicy/chat-redis",
    "Pod/chat-0",
    "Pod/chat-1",
    "Role/chat-proxy",
    "RoleBinding/chat-proxy",
    "Secret/chat-redis-",
    "Service/chat",
    "Service/chat-redis",
    "ServiceAccount/chat-proxy",
    "",
];

fn names(children: &std::collections::BTreeMap<String, Value>) -> BTreeSet<String> {
    let names = children.keys().map(|name| {
        let start = ["Secret/chat-redis-", "ControllerRevision/chat-"]
            .into_iter()
            .find(|start| {
                name.strip_prefix(start)
                    .is_some_and(|end| end.trim_end_matches("-1").len() == 8)
            });
        start.unwrap_or(name).to_owned()
    });
    names.collect()
}

fn wanted() -> BTreeSet<String> {
    CHILDREN
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| (*name).to_owned())
        .collect()
}

#[tokio::test]
async fn resource_becomes_ready_with_its_children() {
    let env = TestEnv::new("children").await;
    let _operator = env.operator();
    let mut object = crate::support::resource(env.namespace(), "chat", &small());
    object["metadata"]["labels"] = json!({"argocd.argoproj.io/instance": "mine"});
    object["metadata"]["annotations"] = json!({"argocd.argoproj.io/tracking-id": "mine"});
    env.ask(Method::POST, &path(env.namespace(), ""), Some(&object))
        .await
        .unwrap();
    let wait = [
        "wait",
        "--for=condition=Ready",
        "wsc/chat",
        "--timeout=60s",
        "--namespace",
        env.namespace(),
    ];
    env.cluster.kubectl().run(wait).await.unwrap();
    let chat = env.settled("chat").await.unwrap();

    let children = env.children(&chat).await.unwrap();
    assert_eq!(names(&children), wanted());
    for (name, child) in &children {
        let metadata = &child["metadata"];
        assert_eq!(
            metadata["labels"]["websocket-operator.io/cluster"], "chat",
            "{name}"
        );
        let owner = json!([{
            "apiVersion": "websocket-operator.io/v1alpha1", "kind": "WebSocketCluster", "name": "chat", "uid": uid(&chat),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        assert_eq!(metadata["ownerReferences"], owner, "{name}");
        assert!(
            !metadata.to_string().contains("argocd"),
            "a GitOps tool would claim {name}: {metadata}"
        );
    }
    let service = &children["Service/chat"]["spec"];
    assert_eq!(service["ports"][0]["port"], 80);
    assert_eq!(service["ipFamilyPolicy"], "PreferDualStack");
    let config = children["ConfigMap/chat-haproxy"]["data"]["backends.json"]
        .as_str()
        .unwrap();
    let set: Value = serde_json::from_str(config).unwrap();
    let servers: Vec<_> = set["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (&s["name"], &s["state"]))
        .collect();
    assert_eq!(
        servers,
        [
            (&json!("chat-0"), &json!("Ready")),
            (&json!("chat-1"), &json!("Ready"))
        ]
    );
    for name in ["Pod/chat-0", "Pod/chat-1"] {
        assert_eq!(
            children[name]["metadata"]["labels"]["websocket-operator.io/state"],
            "Active"
        );
        assert_eq!(children[name]["spec"]["automountServiceAccountToken"], false);
    }
    assert_eq!(chat["spec"], stage_spec(&chat), "the spec is the user's alone");
    status_is_reported(&env, &chat);
    env.judge();
}

/// The spec is what the user wrote: by the API server no other manager owns a field of it.
fn stage_spec(chat: &Value) -> Value {
    let managers = chat["metadata"]["managedFields"].as_array().into_iter().flatten();
    for manager in managers.filter(|manager| {
        manager["manager"]
            .as_str()
            .is_some_and(|name| name.starts_with("wsc-operator"))
    }) {
        let fields = manager["fieldsV1"].as_object().unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["f:status"], "{manager}");
    }
    chat["spec"].clone()
}

fn status_is_reported(env: &TestEnv, chat: &Value) {
    let status = &chat["status"];
    for (field, wanted) in [
        ("observedGeneration", json!(1)),
        ("desiredReplicas", json!(2)),
        ("replicas", json!(2)),
        ("startingReplicas", json!(0)),
        ("drainingReplicas", json!(0)),
        ("updatedReplicas", json!(2)),
        ("nextSerial", json!(2)),
        (
            "endpoint",
            json!(format!("ws://chat.{}.svc:80/ws", env.namespace())),
        ),
    ] {
        assert_eq!(status[field], wanted, "{field}: {status}");
    }
    for (type_, wanted) in [
        ("Ready", "True"),
        ("Available", "True"),
        ("Progressing", "False"),
        ("ScalingActive", "True"),
        ("ScalingLimited", "True"),
        ("ProxyConfigured", "True"),
        ("RedisReachable", "True"),
        ("Reconciling", "False"),
        ("Stalled", "False"),
    ] {
        assert_eq!(condition(chat, type_), wanted, "{type_}: {status}");
    }
}

#[tokio::test]
async fn external_redis_removes_the_managed_one() {
    let env = TestEnv::new("redis").await;
    let _operator = env.operator();
    env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();
    env.change(
        "chat",
        &json!({"redis": {"external": {"url": "redis://redis.example.org"}}}),
    )
    .await
    .unwrap();
    let chat = env
        .until("chat", "the managed Redis is gone and the pods are new", |chat| {
            chat["status"]["observedGeneration"] == 2
                && condition(chat, "Progressing") == "False"
                && chat["status"]["nextSerial"] == 4
        })
        .await
        .unwrap();
    let children = env.children(&chat).await.unwrap();
    let redis: Vec<_> = children
        .keys()
        .filter(|name| name.contains("chat-redis") && !name.starts_with("Secret"))
        .collect();
    assert!(redis.is_empty(), "{redis:?}");
    for (name, pod) in children.iter().filter(|(name, _)| name.starts_with("Pod/")) {
        assert!(pod.to_string().contains("redis://redis.example.org"), "{name}");
        assert_eq!(controller(pod), chat["metadata"]["uid"]);
    }
    env.judge();
}

/// `kubectl delete` and `kubectl apply` one after the other, as in a script.
#[tokio::test]
async fn recreated_at_once_it_ends_ready() {
    let env = TestEnv::new("again").await;
    let _operator = env.operator();
    let old = env.create("chat", &small()).await.unwrap();
    env.settled("chat").await.unwrap();
    let object = crate::support::resource(env.namespace(), "chat", &small()).to_string();
    env.cluster
        .kubectl()
        .input(object.clone())
        .run(["delete", "--wait=false", "-f", "-"])
        .await
        .unwrap();
    env.cluster
        .kubectl()
        .input(object)
        .run(["apply", "-f", "-"])
        .await
        .unwrap();

    let chat = env.settled("chat").await.unwrap();
    assert_ne!(uid(&chat), uid(&old));
    let children = env.children(&chat).await.unwrap();
    let pods: Vec<_> = children.keys().filter(|name| name.starts_with("Pod/")).collect();
    assert_eq!(
        (children.len(), pods.len()),
        (wanted().len(), 2),
        "{:?}",
        children.keys()
    );
    assert_eq!(condition(&chat, "Ready"), "True");
    wsc_testing::cluster::eventually(crate::support::SOON, "the old children are gone", || async {
        let left = env.children(&old).await?;
        if left.is_empty() {
            Ok(Some(()))
        } else {
            anyhow::bail!("{:?}", left.keys())
        }
    })
    .await
    .unwrap();
    env.judge();
}

#[tokio::test]
async fn endpoint_is_the_load_balancer_address() {
    let env = TestEnv::new("endpoint").await;
    let _operator = env.operator();
    let mut spec = small();
    spec["proxy"]["service"] = json!({"type": "LoadBalancer", "port": 8443});
    env.create("chat", &spec).await.unwrap();
    env.settled("chat").await.unwrap();
    let place = format!("{}/status", env.place("Service", "chat"));
    for (ingress, host) in [
        (json!({"ip": "192.0.2.7", "ipMode": "VIP"}), "192.0.2.7"),
        (json!({"ip": "2001:db8::7", "ipMode": "VIP"}), "[2001:db8::7]"),
        (json!({"hostname": "lb.example.org"}), "lb.example.org"),
    ] {
        let status = json!({"status": {"loadBalancer": {"ingress": [ingress]}}});
        env.ask(Method::PATCH, &place, Some(&status)).await.unwrap();
        let wanted = format!("ws://{host}:8443/ws");
        env.until("chat", &wanted, |chat| {
            chat["status"]["endpoint"] == wanted.as_str()
        })
        .await
        .unwrap();
    }
    env.judge();
}
