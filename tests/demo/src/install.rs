//! What a person would type: namespaces, the chart, the resource; and the way back.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result};

use super::example::Example;
use wsc_testing::cluster::{Cluster, Images, within};

/// The namespace of the resource.
pub(crate) const NAMESPACE: &str = "demo";
/// The namespace of the operator, and the name of its release.
pub(crate) const OPERATOR_NAMESPACE: &str = "websocket-operator";
/// Deleting a namespace waits for the pods in it. A proxy waits for its clients for five minutes,
/// if an earlier demo left any.
const DELETE: Duration = Duration::from_mins(6);
/// One call to the API server.
const CALL: Duration = Duration::from_secs(20);

/// Makes sure that no other demo runs on this Kubernetes while the returned value exists.
///
/// # Errors
/// When somebody does.
pub(crate) fn only_one(cluster: &Cluster) -> Result<File> {
    let lock = File::create(cluster.environment.state.join("demo.lock"))?;
    lock.try_lock().context("another demo runs on this Kubernetes")?;
    Ok(lock)
}

/// Removes what an earlier demo left, and makes both namespaces.
///
/// # Errors
/// When the API server refuses something, or pods do not end.
pub(crate) async fn prepare(cluster: &Cluster) -> Result<()> {
    delete_namespace(cluster, NAMESPACE).await?;
    for name in [NAMESPACE, OPERATOR_NAMESPACE] {
        let namespace = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
             pod-security.kubernetes.io/enforce: restricted\n"
        );
        let kubectl = cluster.kubectl().deadline(CALL).input(namespace);
        kubectl
            .run(["apply", "-f", "-"])
            .await
            .with_context(|| format!("creating the namespace {name}"))?;
    }
    Ok(())
}

/// Installs the chart with the images of this checkout and waits until the operator is ready.
///
/// # Errors
/// When Helm says so.
pub(crate) async fn install(cluster: &Cluster) -> Result<()> {
    let images = Images::read()?;
    let mut args: Vec<String> = ["upgrade", "--install", OPERATOR_NAMESPACE]
        .map(str::to_owned)
        .into();
    args.push(cluster.environment.chart.display().to_string());
    args.extend(["--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "120s"].map(str::to_owned));
    for (value, image) in [
        ("image", &images.operator),
        ("operand.images.server", &images.server),
        ("operand.images.proxy", &images.proxy),
        ("operand.images.redis", &images.redis),
    ] {
        args.extend(["--set-string".to_owned(), format!("{value}={image}")]);
    }
    cluster.helm().run(args).await.context("installing the chart")?;
    Ok(())
}

/// Applies the resource.
///
/// # Errors
/// When the API server refuses it.
pub(crate) async fn apply(cluster: &Cluster, example: &Example) -> Result<()> {
    let path = example.path.display().to_string();
    let kubectl = cluster.kubectl().deadline(CALL);
    kubectl
        .run([
            "--namespace",
            NAMESPACE,
            "apply",
            "--validate=strict",
            "-f",
            &path,
        ])
        .await?;
    Ok(())
}

/// Removes everything but the `CustomResourceDefinition`.
///
/// # Errors
/// When something does not go.
pub(crate) async fn remove(cluster: &Cluster) -> Result<()> {
    delete_namespace(cluster, NAMESPACE).await?;
    let helm = cluster.helm().deadline(DELETE);
    helm.run([
        "uninstall",
        OPERATOR_NAMESPACE,
        "--namespace",
        OPERATOR_NAMESPACE,
        "--ignore-not-found",
    ])
    .await
    .context("uninstalling the chart")?;
    delete_namespace(cluster, OPERATOR_NAMESPACE).await
}

async fn delete_namespace(cluster: &Cluster, name: &str) -> Result<()> {
    // Kubernetes deletes the pods of a namespace before anything else: an operator that still saw
    // the resource would replace them.
    let resources = ["--namespace", name, "delete", "websocketclusters", "--all"];
    // Without our chart there is no such kind, and nothing to delete.
    let _ = cluster.kubectl().deadline(CALL).finish(resources).await?;
    let kubectl = cluster.kubectl().deadline(DELETE + CALL);
    let timeout = format!("--timeout={}s", DELETE.as_secs());
    kubectl
        .run(["delete", "namespace", name, "--ignore-not-found", &timeout])
        .await
        .with_context(|| format!("deleting the namespace {name}"))?;
    Ok(())
}

/// Version of the running Kubernetes, by its own word.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn kubernetes_version(cluster: &Cluster) -> Result<String> {
    let version = within(CALL, "asking for the version", cluster.client.apiserver_version()).await?;
    Ok(version.git_version)
}

/// Version of the running Redis, by its own log.
///
/// # Errors
/// When it does not say.
pub(crate) async fn redis_version(cluster: &Cluster, example: &Example) -> Result<String> {
    let deployment = format!("deployment/{}-redis", example.name);
    let args = ["--namespace", NAMESPACE, "logs", &deployment];
    let log = cluster.kubectl().deadline(CALL).run(args).await?;
    version_in(&log).context("Redis does not report its version")
}

/// `… Redis version=8.0.2, bits=64, …`
fn version_in(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("Redis version=")?;
    let version: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    (!version.is_empty()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_version_is_in_its_log() {
        let log = "1:C 24 Nov 2026 # oO0OoO0OoO0Oo Redis is starting\n1:C * Redis version=8.0.2, bits=64, commit=0\n";
        assert_eq!(version_in(log).as_deref(), Some("8.0.2"));
        assert_eq!(version_in("Redis version=x"), None);
        assert_eq!(version_in(""), None);
    }
}
