//! What tests and the demo are told by environment variables.
//! `tests/support/src/cluster/environment.rs` reads them.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::autobahn::Autobahn;
use crate::cache::Cache;
use crate::cargo::Programs;
use crate::cluster::Cluster;
use crate::cluster::api_tier::ApiTier;
use crate::debian;
use crate::images::Images;
use crate::peers::Peers;
use crate::{images, kubernetes, repository};

/// Names and values.
pub type Environment = Vec<(&'static str, OsString)>;

/// For what runs in the `client` namespace of the cluster.
pub fn of_cluster(cache: &Cache, cluster: &Cluster, helm: &Path) -> Result<Environment> {
    let mut all = of_repository();
    let kubeconfig = cluster.kubeconfig();
    all.extend([
        ("KUBECONFIG", kubeconfig.clone().into_os_string()),
        ("WSC_KUBECONFIG", kubeconfig.into_os_string()),
        (
            "WSC_AUDIT_LOG",
            cluster.state().join("audit.log").into_os_string(),
        ),
        ("WSC_CLUSTER_STATE", cluster.state().as_os_str().to_owned()),
        ("WSC_CLUSTER_PID", cluster.pid()?.to_string().into()),
        ("WSC_CLUSTER_NODES", cluster.nodes().to_string().into()),
        ("WSC_HELM", helm.as_os_str().to_owned()),
        ("WSC_KUBECTL", cluster.program("kubectl").into_os_string()),
    ]);
    if let Some(images) = images::last(cache) {
        all.extend(of_images(&images));
    }
    Ok(all)
}

/// For what runs beside the API tier.
pub fn of_api_tier(tier: &ApiTier, programs: &kubernetes::Programs, helm: &Path) -> Environment {
    let mut all = of_repository();
    let kubeconfig = tier.kubeconfig();
    all.extend([
        ("KUBECONFIG", kubeconfig.clone().into_os_string()),
        ("WSC_KUBECONFIG", kubeconfig.into_os_string()),
        ("WSC_AUDIT_LOG", tier.state().join("audit.log").into_os_string()),
        ("WSC_CLUSTER_STATE", tier.state().as_os_str().to_owned()),
        ("WSC_HELM", helm.as_os_str().to_owned()),
        ("WSC_KUBECTL", programs.path("kubectl").into_os_string()),
    ]);
    all
}

/// Where the checkout and its chart are.
pub fn of_repository() -> Environment {
    vec![
        ("WSC_REPO", repository::root().into_os_string()),
        (
            "WSC_CHART",
            repository::path("charts/websocket-operator").into_os_string(),
        ),
    ]
}

/// The real HAProxy and Redis.
pub fn of_debian(programs: &debian::Programs) -> Environment {
    vec![
        ("WSC_HAPROXY", programs.path("haproxy").into_os_string()),
        ("WSC_REDIS_SERVER", programs.path("redis-server").into_os_string()),
        ("WSC_REDIS_CLI", programs.path("redis-cli").into_os_string()),
    ]
}

/// What the bench compares with.
pub fn of_peers(peers: &Peers) -> Environment {
    vec![
        ("WSC_PEER_AXUM", peers.axum.clone().into_os_string()),
        ("WSC_PEER_NODE", peers.node.clone().into_os_string()),
        ("WSC_PEER_CENTRIFUGE", peers.centrifuge.clone().into_os_string()),
    ]
}

/// The Autobahn test suite.
pub fn of_autobahn(autobahn: &Autobahn) -> Environment {
    vec![
        ("WSC_PYTHON2", autobahn.python.clone().into_os_string()),
        ("WSC_AUTOBAHN", autobahn.packages.clone().into_os_string()),
    ]
}

/// Our own programs, for tests that start them as processes.
pub fn of_programs(programs: &Programs) -> Result<Environment> {
    Ok(vec![
        ("WSC_BIN_OPERATOR", programs.path("wsc-operator")?.into()),
        ("WSC_BIN_PROXY_AGENT", programs.path("wsc-proxy-agent")?.into()),
        ("WSC_BIN_SERVER", programs.path("wsc-server")?.into()),
    ])
}

/// What this checkout calls its images.
pub fn of_images(images: &Images) -> Environment {
    vec![
        ("WSC_IMAGE_OPERATOR", images.reference("operator").into()),
        ("WSC_IMAGE_PROXY", images.reference("proxy").into()),
        ("WSC_IMAGE_SERVER", images.reference("server").into()),
        ("WSC_IMAGE_SERVER_AGAIN", images.server_again().into()),
        ("WSC_IMAGE_REDIS", images.reference("redis").into()),
    ]
}
