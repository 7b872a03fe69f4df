//! A HorizontalPodAutoscaler that sets `spec.replicas` through the scale subresource.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use crate::support::environment::{READY, TestEnv};
use crate::support::{SOON, send};

const GROUP: &str = "/apis/external.metrics.k8s.io/v1beta1";

/// The HPA controller reads the list `sockets` as an external metric: it requests a path, whatever
/// serves it.
fn metric() -> Value {
    json!({
        "metadata": {
            "name": "sockets.external.metrics.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": "external.metrics.k8s.io",
            "scope": "Namespaced",
            "names": {
                "plural": "sockets", "singular": "socket",
                "kind": "ExternalMetricValue", "listKind": "ExternalMetricValueList",
            },
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    })
}

/// 100 for each replica.
fn autoscaler() -> Value {
    json!({
        "metadata": {"name": "chat"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "websocket-operator.io/v1alpha1", "kind": "WebSocketCluster", "name": "chat",
            },
            "minReplicas": 1,
            "maxReplicas": 10,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "sockets"}, "target": {"type": "AverageValue", "averageValue": "100"},
            }}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    })
}

async fn set_metric(env: &TestEnv, method: Method, value: u64) -> Result<()> {
    let namespaced = format!("{GROUP}/namespaces/{}/sockets", env.namespace());
    let path = if method == Method::POST {
        namespaced
    } else {
        format!("{namespaced}/all")
    };
    let value = json!({
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "kind": "ExternalMetricValue",
        "metadata": {"name": "all"},
        "metricName": "sockets", "timestamp": "2026-01-01T00:00:00Z", "value": value.to_string(),
    });
    env.ask(method, &path, Some(&value)).await.map(drop)
}

#[tokio::test]
async fn horizontal_pod_autoscaler_sets_pool_size() {
    let env = TestEnv::new("autoscaler").await;
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    env.ask(Method::POST, crds, Some(&metric())).await.unwrap();
    wsc_testing::cluster::eventually(SOON, "the metric is served", async || {
        Ok(send(&env.cluster, Method::GET, GROUP, None).await?.ok())
    })
    .await
    .unwrap();
    set_metric(&env, Method::POST, 450).await.unwrap();

    let _operator = env.operator();
    let spec = json!({
        "replicas": 2,
        "scaling": {
            "mode": "Replicas", "minReplicas": 1, "maxReplicas": 20,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
        "drain": {"naturalSeconds": 0},
        "proxy": {"replicas": 1},
    });
    env.create("chat", &spec).await.unwrap();
    env.settled("chat").await.unwrap();
    let path = format!(
        "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
        env.namespace()
    );
    env.ask(Method::POST, &path, Some(&autoscaler())).await.unwrap();

    let serves = |replicas: u64| {
        move |chat: &Value| {
            let status = &chat["status"];
            chat["spec"]["replicas"] == replicas
                && status["replicas"] == replicas
                && status["drainingReplicas"] == 0
        }
    };
    env.until("chat", "5 pods for 450 at 100 each", serves(5))
        .await
        .unwrap();
    set_metric(&env, Method::PATCH, 250).await.unwrap();
    wsc_testing::cluster::eventually(READY * 3, "3 pods for 250 at 100 each", async || {
        Ok(Some(env.get("chat").await?).filter(serves(3)))
    })
    .await
    .unwrap();

    let hpa = env.ask(Method::GET, &format!("{path}/chat"), None).await.unwrap();
    let scaled = hpa["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .any(|condition| condition["type"] == "AbleToScale" && condition["status"] == "True");
    assert!(scaled, "{}", hpa["status"]);
    env.judge();
    let delete = format!("{crds}/sockets.external.metrics.k8s.io");
    env.ask(Method::DELETE, &delete, None).await.unwrap();
}
