//! What the suites share: the API server with the chart installed, and raw calls to it.

pub(crate) mod chart;
pub(crate) mod environment;
pub(crate) mod identity;
pub(crate) mod operator;
pub(crate) mod stand_in;
pub(crate) mod watcher;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::core::Status;
use kube::core::response::StatusCause;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use wsc_testing::cluster::{Cluster, eventually};

/// The release that brings the CustomResourceDefinition. Its operator never runs: there is no node.
pub(crate) const RELEASE: &str = "websocket-operator";
/// Of the release.
pub(crate) const RELEASE_NAMESPACE: &str = "websocket-operator";
/// As the CustomResourceDefinition is called.
pub(crate) const CRD: &str = "websocketclusters.websocket-operator.io";

/// How long anything may take that is a matter of a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// The API server, with the chart installed on it once for all tests.
pub(crate) async fn cluster() -> Cluster {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let cluster = Cluster::connect().await.unwrap();
    INSTALLED
        .get_or_try_init(|| install(&cluster))
        .await
        .map(|()| cluster.clone())
        .unwrap()
}

async fn install(cluster: &Cluster) -> Result<()> {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = json!({"metadata": {"name": RELEASE_NAMESPACE, "labels": labels}});
    send(
        cluster,
        http::Method::POST,
        "/api/v1/namespaces",
        Some(&namespace),
    )
    .await?
    .map_err(|refusal| anyhow::anyhow!(refusal.message))?;
    helm_install(cluster, &[]).await?;
    eventually(SOON, "the CustomResourceDefinition is served", || async {
        let path = "/apis/websocket-operator.io/v1alpha1/websocketclusters";
        let answer = send(cluster, http::Method::GET, path, None).await?;
        Ok(answer.is_ok().then_some(()))
    })
    .await
}

/// Installs or upgrades the release, without waiting for its pod.
pub(crate) async fn helm_install(cluster: &Cluster, more: &[&str]) -> Result<()> {
    let chart = cluster.environment.chart.display().to_string();
    let mut args = vec!["upgrade", "--install", RELEASE, &chart];
    args.extend(["--namespace", RELEASE_NAMESPACE, "--create-namespace"]);
    args.extend(more);
    cluster.helm().run(args).await.map(drop)
}

/// A `WebSocketCluster` with this spec, as JSON.
pub(crate) fn resource(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "websocket-operator.io/v1alpha1",
        "kind": "WebSocketCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// The spec of the six-line resource.
pub(crate) fn six_lines() -> Value {
    json!({"scaling": {"minReplicas": 2, "maxReplicas": 20}})
}

/// The resource with `name`, or all of a namespace.
pub(crate) fn path(namespace: &str, name: &str) -> String {
    let all = format!("/apis/websocket-operator.io/v1alpha1/namespaces/{namespace}/websocketclusters");
    if name.is_empty() {
        all
    } else {
        format!("{all}/{name}")
    }
}

/// One request, as it is: the answer, or the refusal of the API server.
pub(crate) async fn send(
    cluster: &Cluster,
    method: http::Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Result<Value, Status>> {
    let content = if method == http::Method::PATCH {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, content)
        .body(body)?;
    match tokio::time::timeout(SOON, cluster.client.request::<Value>(request)).await {
        Ok(Ok(answer)) => Ok(Ok(answer)),
        Ok(Err(kube::Error::Api(refusal))) => Ok(Err(*refusal)),
        Ok(Err(err)) => Err(err).with_context(|| path.to_owned()),
        Err(_) => bail!("{path}: no answer within {SOON:?}"),
    }
}

/// Creates an object whose every field has to be known.
pub(crate) async fn create(cluster: &Cluster, object: &Value, query: &str) -> Result<Result<Value, Status>> {
    let namespace = object["metadata"]["namespace"].as_str().context("no namespace")?;
    let path = format!("{}?fieldValidation=Strict{query}", path(namespace, ""));
    send(cluster, http::Method::POST, &path, Some(object)).await
}

/// The API server's note that it stopped at what is wrong.
const NOTE: &str = "some validation rules were not checked";

/// What is wrong, as `field: message` each; the message alone where there is nothing more precise.
pub(crate) fn causes(refusal: &Status) -> Vec<String> {
    let causes = refusal.details.iter().flat_map(|details| &details.causes);
    let causes = causes.filter(|cause| !cause.message.contains(NOTE));
    let causes: Vec<_> = causes
        .map(|StatusCause { field, message, .. }| format!("{field}: {message}"))
        .collect();
    if causes.is_empty() {
        vec![refusal.message.clone()]
    } else {
        causes
    }
}

/// Where two values differ, as `path: one, two` each.
pub(crate) fn differences(one: &Value, two: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", one, two, &mut found);
    found
}

fn compare(path: &str, one: &Value, two: &Value, found: &mut Vec<String>) {
    match (one, two) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                compare(&format!("{path}/{key}"), &one[key], &two[key], found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}/{i}"), a, b, found);
            }
        }
        _ if one == two => {}
        _ => found.push(format!("{path}: {one}, {two}")),
    }
}
