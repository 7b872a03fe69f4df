//! The operator as a process of this machine, with the service account and the permissions of the
//! chart.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;
use wsc_testing::cluster::{self, Cluster};
use wsc_testing::cpu;

use crate::scrape::Scrape;

const RELEASE: &str = "websocket-operator";
const ADMIN_PORT: u16 = 8080;
const READY: Duration = Duration::from_mins(1);

pub(crate) struct Operator {
    process: cluster::Operator,
    /// Of its kubeconfig.
    _folder: TempDir,
}

/// Its name at the API server.
pub(crate) fn user() -> String {
    format!("system:serviceaccount:{RELEASE}:{RELEASE}")
}

impl Operator {
    /// Installs the chart, whose own pod has no kubelet here, and starts the program in its place.
    pub(crate) async fn start(cluster: &Cluster) -> Result<Self> {
        let chart = cluster.environment.chart.display().to_string();
        let install = [
            "upgrade",
            "--install",
            RELEASE,
            &chart,
            "--namespace",
            RELEASE,
            "--create-namespace",
        ];
        cluster.helm().run(install).await?;
        let token = [
            "create",
            "token",
            RELEASE,
            "--namespace",
            RELEASE,
            "--duration=2h",
        ];
        let token = cluster.kubectl().run(token).await?;
        let folder = tempfile::tempdir()?;
        let kubeconfig = kubeconfig(cluster, token.trim(), &folder)?;
        let admin = (Ipv4Addr::LOCALHOST, ADMIN_PORT).into();
        let process = cluster::Operator::start(cluster, (&kubeconfig, RELEASE), admin, "", &[])?;
        let operator = Self {
            process,
            _folder: folder,
        };
        operator.process.until_ready(READY).await?;
        Ok(operator)
    }

    /// CPU time since its start.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu::of_process(self.process.id())
    }

    /// Resident memory in MiB.
    pub(crate) fn mebibytes(&self) -> Result<f64> {
        Ok(wsc_bench::real(cpu::resident(self.process.id())? >> 10) / 1024.0)
    }

    pub(crate) async fn scrape(&self) -> Result<Scrape> {
        Scrape::parse(&self.process.get("/metrics").await?.body)
    }
}

/// The administrator's with the operator's token.
fn kubeconfig(cluster: &Cluster, token: &str, folder: &TempDir) -> Result<PathBuf> {
    let mut config: Value = serde_yaml::from_str(&fs::read_to_string(&cluster.environment.kubeconfig)?)?;
    let user = config["users"][0]["name"].clone();
    config["users"] = json!([{"name": user, "user": {"token": token}}]);
    let path = folder.path().join("kubeconfig");
    fs::write(&path, config.to_string())?;
    Ok(path)
}
