//! The real operator as a process of this machine, in front of stand-in pods.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Cluster, eventually};
use crate::http1::{self, Answer};

/// For a response of the admin port.
const RESPONSE: Duration = Duration::from_secs(10);
/// What a failure shows of the log.
const LAST_LINES: usize = 60;

/// Killed with SIGKILL when it is dropped.
#[derive(Debug)]
pub struct Operator {
    process: Child,
    admin: SocketAddr,
    log: PathBuf,
    _folder: TempDir,
}

impl Operator {
    /// Starts it in this namespace with the identity of this kubeconfig, images of this tag (`:2`,
    /// or nothing) and further flags.
    ///
    /// # Errors
    /// If the program is not built or does not start.
    pub fn start(
        cluster: &Cluster,
        (kubeconfig, namespace): (&Path, &str),
        admin: SocketAddr,
        tag: &str,
        flags: &[&str],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let output = File::create(&log)?;
        let program = cluster.environment.program("operator")?;
        let process = Command::new(&program)
            .args(["run", "--admin-address", &admin.to_string()])
            .args(["--server-image", &format!("wsc-server{tag}")])
            .args(["--proxy-image", &format!("wsc-proxy{tag}")])
            .args(["--redis-image", &format!("wsc-redis{tag}")])
            .args(["--pod-namespace", namespace])
            .args(flags)
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

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// GET of its admin port.
    ///
    /// # Errors
    /// If there is no response in time.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        http1::get_at(self.admin, path, RESPONSE).await
    }

    /// Waits until it has listed everything.
    ///
    /// # Errors
    /// If it does not within this time.
    pub async fn until_ready(&self, within: Duration) -> Result<()> {
        eventually(within, "the operator is ready", || async {
            Ok(self.get("/readyz").await?.status.is_success().then_some(()))
        })
        .await
    }

    /// SIGKILL, and its end.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        kill_process(self.pid(), Signal::KILL)?;
        self.process.wait()?;
        Ok(())
    }

    /// All of its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Operator {
    #[expect(clippy::print_stderr, reason = "a failed test shows the end of the log")]
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!("== log of the operator\n{}", last.join("\n"));
        }
    }
}
