//! What a person may write is accepted, and comes back with its defaults.

use serde_json::{Value, json};

use super::with;
use crate::support::{cluster, create, path, resource, send, six_lines};

/// The six-line resource as the API server stores it.
fn defaults() -> Value {
    json!({
        "scaling": {
            "mode": "Connections",
            "minReplicas": 2,
            "maxReplicas": 20,
            "targetUtilizationPercent": 75,
            "buffer": 1,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
        "server": {
            "port": 8080,
            "path": "/ws",
            "maxConnections": 10000,
            "startDeadlineSeconds": 600,
            "terminationGracePeriodSeconds": 60,
        },
        "redis": {},
        "proxy": {
            "replicas": 2,
            "service": {"type": "ClusterIP", "port": 80},
            "sticky": {"cookieName": "wsc", "maxAgeSeconds": 0, "sameSite": "Lax"},
            "timeouts": {"connectSeconds": 2, "handshakeSeconds": 10, "tunnelSeconds": 3600},
        },
        "drain": {
            "naturalSeconds": 600,
            "deadlineSeconds": 1800,
            "onDeadline": "Close",
            "notice": {"closeCode": 1012, "jitterSeconds": 30},
        },
        "disruption": {"movesPerMinute": "20%", "maxMovesPerSecond": 200, "maxConcurrentDrains": "10%"},
    })
}

/// Every field of the resource, none with its default.
fn everything() -> Value {
    let pod = json!({
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
        ]}}},
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "registry"}],
        "podLabels": {"team": "chat"},
        "podAnnotations": {"prometheus.io/scrape": "true"},
    });
    let merged = |own: Value| {
        let mut merged = pod.clone();
        merged
            .as_object_mut()
            .unwrap()
            .append(&mut own.as_object().unwrap().clone());
        merged
    };
    json!({
        "replicas": 3,
        "labels": {"team": "chat"},
        "annotations": {"example.org/contact": "chat"},
        "scaling": {
            "mode": "Replicas",
            "minReplicas": 1,
            "maxReplicas": 2000,
            "targetUtilizationPercent": 100,
            "buffer": "20%",
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
        "server": merged(json!({
            "image": "registry.example.org:5000/team/wsc-server:1.2@sha256:0123456789abcdef",
            "port": 1024,
            "path": "/chat/v2/~ws_.-",
            "maxConnections": 60000,
            "startDeadlineSeconds": 86400,
            "env": [
                {"name": "PLAIN", "value": ""},
                {"name": "_SECRET1", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a.b-c_d"}}},
            ],
            "terminationGracePeriodSeconds": 3600,
        })),
        "redis": {"managed": pod},
        "proxy": merged(json!({
            "replicas": 50,
            "service": {"type": "LoadBalancer", "port": 443, "annotations": {"example.org/lb": "internal"}},
            "sticky": {"cookieName": "My_Cookie.v-2", "maxAgeSeconds": 31_536_000, "sameSite": "None"},
            "origins": [
                "*", "https://example.org", "http://example.org:8080", "https://*.example.org", "https://localhost", "http://10.0.0.1:80",
                "https://[::1]:8443", "https://EXAMPLE.org", "https://a-b.c-d.example", "capacitor://localhost", "https://a_b.example:443",
            ],
            "timeouts": {"connectSeconds": 60, "handshakeSeconds": 1, "tunnelSeconds": 604_800},
        })),
        "drain": {
            "naturalSeconds": 86400,
            "deadlineSeconds": 86400,
            "onDeadline": "Wait",
            "notice": {"closeCode": 4999, "jitterSeconds": 600},
        },
        "disruption": {"movesPerMinute": 1_000_000, "maxMovesPerSecond": 1, "maxConcurrentDrains": 2000},
    })
}

#[tokio::test]
async fn six_lines_get_every_default() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("six").await.unwrap();
    let object = resource(namespace.name(), "chat", &six_lines());
    let stored = create(&cluster, &object, "").await.unwrap().unwrap();
    assert_eq!(stored["spec"], defaults());
    // kstatus would read a resource without it as done.
    assert_eq!(stored["status"]["observedGeneration"], -1);
    assert_eq!(stored["status"].get("conditions"), None);
    let read = send(&cluster, http::Method::GET, &path(namespace.name(), "chat"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&read["spec"], &read["status"]),
        (&stored["spec"], &stored["status"])
    );
}

#[tokio::test]
async fn explicit_null_is_the_default() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("null").await.unwrap();
    let alone = json!({"scaling": {"maxReplicas": 20}});
    let mut spec = json!({"scaling": {"maxReplicas": 20, "minReplicas": null, "mode": null, "buffer": null, "behavior": null}});
    for part in ["server", "redis", "proxy", "drain", "disruption"] {
        spec[part] = Value::Null;
    }
    for (name, spec) in [("alone", alone), ("nulls", spec)] {
        let object = resource(namespace.name(), name, &spec);
        let stored = create(&cluster, &object, "").await.unwrap().unwrap();
        assert_eq!(stored["spec"], defaults(), "{name}");
    }
}

#[tokio::test]
async fn every_field_is_stored_as_written() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("every").await.unwrap();
    let object = resource(namespace.name(), "chat", &everything());
    let stored = create(&cluster, &object, "").await.unwrap().unwrap();
    assert_eq!(stored["spec"], everything());
}

type Values = Vec<(&'static str, Vec<Value>)>;

fn limits_of_sizes_and_addresses() -> Values {
    let host = format!("https://{}", "a".repeat(247));
    vec![
        ("replicas", vec![json!(0), json!(2000)]),
        (
            "scaling",
            vec![
                json!({"minReplicas": 2000, "maxReplicas": 2000}),
                json!({"minReplicas": 1, "maxReplicas": 1}),
            ],
        ),
        ("scaling.targetUtilizationPercent", vec![json!(1), json!(100)]),
        (
            "scaling.buffer",
            vec![json!(0), json!(2000), json!("0%"), json!("9%"), json!("90%")],
        ),
        ("server.maxConnections", vec![json!(1), json!(60000)]),
        ("server.port", vec![json!(1024), json!(65535)]),
        (
            "server.path",
            vec![
                json!("/w"),
                json!(format!("/{}", "w".repeat(127))),
                json!("/wscx"),
            ],
        ),
        ("proxy.sticky.cookieName", vec![json!("a"), json!("a".repeat(64))]),
        (
            "proxy.origins",
            vec![json!([]), json!([host]), json!(vec!["*"; 64])],
        ),
        ("proxy.service.port", vec![json!(1), json!(65535)]),
    ]
}

fn limits_of_moves_and_redis() -> Values {
    vec![
        (
            "drain",
            vec![
                json!({"naturalSeconds": 0, "deadlineSeconds": 1}),
                json!({"naturalSeconds": 7, "deadlineSeconds": 7}),
            ],
        ),
        (
            "drain.notice.closeCode",
            vec![
                json!(1000),
                json!(1001),
                json!(1012),
                json!(1013),
                json!(3000),
                json!(4999),
            ],
        ),
        (
            "disruption.movesPerMinute",
            vec![json!(1), json!("1%"), json!("100%")],
        ),
        (
            "disruption.maxConcurrentDrains",
            vec![json!(1), json!("1%"), json!("100%")],
        ),
        (
            "redis.external.url",
            [
                "redis://redis",
                "rediss://redis.example.org:6380/15",
                "redis://10.0.0.1:6379",
                "redis://[fd00::1]:6379/0",
                "redis://a_b",
            ]
            .map(|url| json!(url))
            .to_vec(),
        ),
        (
            "redis.external",
            vec![json!({"urlSecretRef": {"name": "redis", "key": "url"}})],
        ),
        ("redis.managed", vec![json!({})]),
    ]
}

#[tokio::test]
async fn values_at_their_limits_are_accepted() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("limits").await.unwrap();
    for (field, values) in [limits_of_sizes_and_addresses(), limits_of_moves_and_redis()].concat() {
        for value in values {
            let object = resource(namespace.name(), "chat", &with(six_lines(), field, value.clone()));
            let answer = create(&cluster, &object, "&dryRun=All").await.unwrap();
            assert!(answer.is_ok(), "{field} = {value}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn redis_changes_to_external_and_back() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("redis").await.unwrap();
    let object = resource(
        namespace.name(),
        "chat",
        &with(six_lines(), "redis", json!({"managed": {}})),
    );
    create(&cluster, &object, "").await.unwrap().unwrap();
    let path = path(namespace.name(), "chat");
    let external = json!({"url": "redis://redis"});
    for (managed, external) in [(Value::Null, external), (json!({}), Value::Null)] {
        let change = json!({"spec": {"redis": {"managed": managed, "external": external}}});
        let answer = send(&cluster, http::Method::PATCH, &path, Some(&change))
            .await
            .unwrap();
        assert!(answer.is_ok(), "{answer:?}");
    }
}
