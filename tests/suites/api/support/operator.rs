//! The real operator as a process of this machine, with the identity and the permissions that the chart gives it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wsc_testing::cluster::{Cluster, eventually};

use super::SOON;
use super::stand_in::next_address;

/// As in the chart.
const ADMIN_PORT: u16 = 8080;

/// What a failure shows of the operator's log.
const LAST_LINES: usize = 60;

/// Killed with SIGKILL when it is dropped.
pub(crate) struct Operator {
    process: Child,
    admin: SocketAddr,
    log: PathBuf,
    _folder: TempDir,
}

impl Operator {
    /// Starts one that serves these namespaces, comma-separated, as whoever the kubeconfig says.
    pub(crate) fn start(
        cluster: &Cluster,
        watched: &str,
        namespace: &str,
        kubeconfig: &Path,
    ) -> Result<Self> {
        Self::with_images(cluster, watched, namespace, kubeconfig, "")
    }

    /// One that is installed with images of this tag: `:2`, or nothing.
    pub(crate) fn with_images(
        cluster: &Cluster,
        watched: &str,
        namespace: &str,
        kubeconfig: &Path,
        tag: &str,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let output = File::create(&log)?;
        let admin = SocketAddr::new(next_address(), ADMIN_PORT);
        let program = cluster.environment.program("operator")?;
        let process = Command::new(&program)
            .args([
                "run",
                "--log-format",
                "text",
                "--admin-address",
                &admin.to_string(),
            ])
            .args(["--server-image", &format!("wsc-server{tag}")])
            .args(["--proxy-image", &format!("wsc-proxy{tag}")])
            .args(["--redis-image", &format!("wsc-redis{tag}")])
            .args(["--watch-namespaces", watched, "--pod-namespace", namespace])
            .env("KUBECONFIG", kubeconfig)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self {
            process,
            admin,
            log,
            _folder: folder,
        })
    }

    /// Its process, for signals.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Waits until it has seen everything and works.
    pub(crate) async fn until_ready(&self) -> Result<()> {
        eventually(SOON, "the operator is ready", || async {
            let answer = self.get("/readyz").await?;
            Ok(answer.starts_with("HTTP/1.0 200").then_some(()))
        })
        .await
    }

    /// The sum of a metric over its labels.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let answer = self.get("/metrics").await?;
        let samples = answer.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        });
        let values: Vec<f64> = samples
            .map(|line| Ok(line.rsplit(' ').next().context("an empty line")?.parse()?))
            .collect::<Result<_>>()?;
        ensure!(!values.is_empty(), "there is no metric {name}");
        Ok(values.into_iter().sum())
    }

    /// What the admin port answers.
    async fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.admin).await?;
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// SIGKILL, and its end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        kill_process(self.pid(), Signal::KILL)?;
        self.process.wait()?;
        Ok(())
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!("== the operator's last words\n{}", last.join("\n"));
        }
    }
}
