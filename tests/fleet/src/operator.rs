//! The operator as a process of this machine, with the service account and the permissions of the chart.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wsc_testing::cluster::{Cluster, eventually};
use wsc_testing::cpu;

use crate::scrape::Scrape;

const RELEASE: &str = "websocket-operator";
const ADMIN_PORT: u16 = 8080;
const READY: Duration = Duration::from_mins(1);
const SCRAPE: Duration = Duration::from_secs(10);

/// Killed when it is dropped.
pub(crate) struct Operator {
    process: Child,
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
        let log = File::create(log_file(&folder))?;
        let program = cluster.environment.program("operator")?;
        let process = Command::new(&program)
            .args([
                "run",
                "--admin-address",
                &admin().to_string(),
                "--pod-namespace",
                RELEASE,
            ])
            .args([
                "--server-image",
                "wsc-server",
                "--proxy-image",
                "wsc-proxy",
                "--redis-image",
                "wsc-redis",
            ])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let operator = Self {
            process,
            _folder: folder,
        };
        eventually(READY, "the operator is ready", || async {
            Ok(get("/readyz").await?.starts_with("HTTP/1.0 200").then_some(()))
        })
        .await?;
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
        let response = get("/metrics").await?;
        let (_, text) = response.split_once("\r\n\r\n").context("no body of /metrics")?;
        Scrape::parse(text)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn admin() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, ADMIN_PORT).into()
}

async fn get(path: &str) -> Result<String> {
    let ask = async {
        let mut stream = TcpStream::connect(admin()).await?;
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        anyhow::Ok(response)
    };
    timeout(SCRAPE, ask)
        .await
        .with_context(|| format!("{path}: no response"))?
}

fn log_file(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
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
