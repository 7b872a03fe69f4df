//! The chart as Helm sees it: linted, strict about its values, installed, upgraded, uninstalled and
//! installed again.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use wsc_testing::cluster::{Cluster, eventually};

use crate::support::chart::{of_kind, render};
use crate::support::{
    CRD, RELEASE, RELEASE_NAMESPACE, SOON, cluster, create, helm_install, path, resource, send, six_lines,
};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

#[tokio::test]
async fn it_passes_the_strict_lint() {
    let cluster = Cluster::connect().await.unwrap();
    let chart = cluster.environment.chart.display().to_string();
    let said = cluster.helm().finish(["lint", "--strict", &chart]).await.unwrap();
    assert!(said.success, "{}{}", said.stdout, said.stderr);
}

#[tokio::test]
async fn invalid_values_are_refused_by_name() {
    let cluster = Cluster::connect().await.unwrap();
    for (value, word) in [
        ("nonsense=1", "nonsense"),
        ("operand.images.servr=x", "servr"),
        ("crds.kep=true", "kep"),
        ("rbac.creat=true", "creat"),
        ("serviceAccount.nam=x", "nam"),
        ("metrics.service.prt=1", "prt"),
        ("resources.limit.memory=1Gi", "limit"),
        ("replicas=2", "replicas"),
        ("logFormat=xml", "logFormat"),
        ("imagePullPolicy=Sometimes", "imagePullPolicy"),
        ("image=two words", "image"),
        ("watchNamespaces=chat", "watchNamespaces"),
        ("watchNamespaces={Chat}", "watchNamespaces"),
        ("watchNamespaces={a,a}", "watchNamespaces"),
        ("metrics.service.port=70000", "port"),
    ] {
        let refused = render(&cluster, "x", "home", &[value])
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("values don't meet the specifications") && refused.contains(word),
            "{value}: {refused}"
        );
    }
}

#[tokio::test]
async fn what_is_set_reaches_the_operator() {
    let cluster = Cluster::connect().await.unwrap();
    let values = [
        "watchNamespaces={a,b}",
        "imageRegistry=registry.example.org/x",
        "operand.images.redis=mine/redis:8",
        "logFormat=text",
        "crds.keep=false",
    ];
    let objects = render(&cluster, "x", "home", &values).await.unwrap();
    let deployments = of_kind(&objects, "Deployment");
    assert_eq!(deployments.len(), 1);
    let args = flags(deployments[0]);
    for (flag, value) in [
        ("--watch-namespaces", "a,b"),
        ("--server-image", "registry.example.org/x/wsc-server:0.1.0"),
        ("--proxy-image", "registry.example.org/x/wsc-proxy:0.1.0"),
        ("--redis-image", "mine/redis:8"),
        ("--log-format", "text"),
    ] {
        let at = args.iter().position(|arg| arg == flag).unwrap();
        assert_eq!(args[at + 1], value, "{flag}");
    }
    let crd = of_kind(&objects, "CustomResourceDefinition")[0];
    assert_eq!(
        crd["metadata"].get("annotations"),
        None,
        "the CRD goes with the release only if that was asked for"
    );
    let without = render(&cluster, "x", "home", &["crds.enabled=false"])
        .await
        .unwrap();
    assert!(of_kind(&without, "CustomResourceDefinition").is_empty());
}

/// The arguments of the operator.
fn flags(deployment: &Value) -> Vec<String> {
    let args = deployment
        .pointer("/spec/template/spec/containers/0/args")
        .and_then(Value::as_array);
    args.into_iter()
        .flatten()
        .map(|arg| arg.as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The release of the whole suite, so this is the one test that changes it; what the others use of
/// it, the CRD, has to stay throughout.
#[tokio::test]
async fn resources_survive_upgrade_uninstall_and_reinstall() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("chart").await.unwrap();
    let object = resource(namespace.name(), "chat", &six_lines());
    let stored = create(&cluster, &object, "").await.unwrap().unwrap();
    let crd = get(&cluster, &format!("{CRDS}/{CRD}")).await.unwrap();
    pod_is_admitted(&cluster).await.unwrap();

    helm_install(&cluster, &["--set", "logFormat=text"])
        .await
        .unwrap();
    let deployment = get(&cluster, &deployment_path()).await.unwrap();
    assert!(flags(&deployment).contains(&"text".to_owned()), "{deployment}");
    assert_eq!(revision(&cluster).await.unwrap(), 2);

    cluster
        .helm()
        .run(["uninstall", RELEASE, "--namespace", RELEASE_NAMESPACE])
        .await
        .unwrap();
    for path in [
        deployment_path(),
        format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{RELEASE}"),
        account(),
    ] {
        eventually(SOON, &format!("{path} is gone"), || async {
            Ok(is_gone(&cluster, &path).await?.then_some(()))
        })
        .await
        .unwrap();
    }
    let kept = get(&cluster, &format!("{CRDS}/{CRD}")).await.unwrap();
    assert_eq!(uid(&kept), uid(&crd));
    let chat = get(&cluster, &path(namespace.name(), "chat")).await.unwrap();
    assert_eq!((uid(&chat), &chat["spec"]), (uid(&stored), &stored["spec"]));

    helm_install(&cluster, &[]).await.unwrap();
    let again = get(&cluster, &format!("{CRDS}/{CRD}")).await.unwrap();
    assert_eq!(uid(&again), uid(&crd), "it was taken over, not made again");
    assert!(!is_gone(&cluster, &deployment_path()).await.unwrap());
    let chat = get(&cluster, &path(namespace.name(), "chat")).await.unwrap();
    assert_eq!(uid(&chat), uid(&stored));
}

/// The release's namespace enforces the restricted Pod Security standard: a pod that exists has
/// passed it.
async fn pod_is_admitted(cluster: &Cluster) -> Result<()> {
    eventually(Duration::from_secs(30), "a pod of the operator", || async {
        let pods = get(cluster, &format!("/api/v1/namespaces/{RELEASE_NAMESPACE}/pods")).await?;
        Ok(pods["items"].as_array().filter(|pods| !pods.is_empty()).map(drop))
    })
    .await
}

fn deployment_path() -> String {
    format!("/apis/apps/v1/namespaces/{RELEASE_NAMESPACE}/deployments/{RELEASE}")
}

fn account() -> String {
    format!("/api/v1/namespaces/{RELEASE_NAMESPACE}/serviceaccounts/{RELEASE}")
}

fn uid(object: &Value) -> &Value {
    &object["metadata"]["uid"]
}

async fn get(cluster: &Cluster, path: &str) -> Result<Value> {
    send(cluster, Method::GET, path, None)
        .await?
        .map_err(|refusal| anyhow::anyhow!("{path}: {}", refusal.message))
}

async fn is_gone(cluster: &Cluster, path: &str) -> Result<bool> {
    Ok(send(cluster, Method::GET, path, None)
        .await?
        .is_err_and(|refusal| refusal.code == 404))
}

async fn revision(cluster: &Cluster) -> Result<u64> {
    let args = ["status", RELEASE, "--namespace", RELEASE_NAMESPACE, "-o", "json"];
    let status: Value = serde_json::from_str(&cluster.helm().run(args).await?)?;
    Ok(status["version"].as_u64().unwrap_or_default())
}

#[tokio::test]
async fn second_release_leaves_crd_to_the_first() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("second").await.unwrap();
    let chart = cluster.environment.chart.display().to_string();
    let watch = format!("watchNamespaces={{{}}}", namespace.name());
    let install = [
        "install",
        namespace.name(),
        &chart,
        "--namespace",
        namespace.name(),
        "--set",
        "crds.enabled=false",
        "--set",
        &watch,
    ];
    cluster.helm().run(install).await.unwrap();
    cluster
        .helm()
        .run(["uninstall", namespace.name(), "--namespace", namespace.name()])
        .await
        .unwrap();
    let crd = get(&cluster, &format!("{CRDS}/{CRD}")).await.unwrap();
    assert_eq!(
        crd["metadata"]["annotations"]["meta.helm.sh/release-name"],
        json!(RELEASE)
    );
    assert_eq!(crd["metadata"].get("deletionTimestamp"), None);
}
