//! A real Redis on a free port in a temporary folder, killed on drop.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// From the start of the program to its first answer.
const START_WAIT: Duration = Duration::from_secs(20);
/// One `redis-cli` call.
const CLI_WAIT: Duration = Duration::from_secs(10);
/// How often a port may be lost to another process between its choice and its use.
const PORT_ATTEMPTS: u32 = 5;
/// Below the ports that the kernel gives to outgoing connections: while Redis is down, a client
/// that looks for it must not get its port, or Redis could not come back to it.
const PORTS: Range<u16> = 10_000..30_000;
/// What Redis writes to its log when it listens and has loaded what it had.
const READY: &str = "Ready to accept connections";

/// One Redis process.
#[derive(Debug)]
pub struct Redis {
    folder: TempDir,
    port: u16,
    extra: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts an empty Redis that keeps nothing on disk.
    ///
    /// # Errors
    /// If the binary is not there or does not answer.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts it with more arguments, for example `["--requirepass", "secret"]`.
    ///
    /// # Errors
    /// If the binary is not there or does not answer.
    pub async fn start_with(extra: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir().context("temporary folder for redis")?;
        let extra = extra.iter().map(ToString::to_string).collect();
        let mut redis = Self {
            folder,
            port: 0,
            extra,
            child: None,
        };
        let mut last = None;
        for _ in 0..PORT_ATTEMPTS {
            redis.port = free_port()?;
            match redis.launch().await {
                Ok(()) => return Ok(redis),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("redis was never tried")))
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process; 0 when it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).unwrap_or(0)
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the process, as a crash does. All that it knew is gone.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.context("kill redis")?;
        }
        Ok(())
    }

    /// Starts it again on the same port after [`Redis::stop`], or kills and starts it.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.launch().await
    }

    /// Stops it in its tracks: connections stay open, nothing is answered.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Runs `redis-cli` with these arguments and returns what it printed, trimmed.
    ///
    /// # Errors
    /// If it fails, or Redis answers an error.
    pub async fn cli(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(binary("WSC_REDIS_CLI")?);
        command
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-e"])
            .args(arguments);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(CLI_WAIT, command.output())
            .await
            .context("redis-cli hangs")??;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            bail!(
                "redis-cli {arguments:?}: {text} {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(text)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("redis.log")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = self
            .child
            .as_ref()
            .and_then(Child::id)
            .context("redis does not run")?;
        let pid = i32::try_from(id)
            .ok()
            .and_then(Pid::from_raw)
            .context("redis has no process id")?;
        kill_process(pid, signal).context("signal redis")
    }

    async fn launch(&mut self) -> Result<()> {
        let log = self.log();
        // The word that it is ready must be of this process.
        if log.exists() {
            std::fs::remove_file(&log).context("remove the log of the last redis")?;
        }
        let mut command = Command::new(binary("WSC_REDIS_SERVER")?);
        command
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &self.port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(self.folder.path())
            .arg("--logfile")
            .arg(&log)
            .args(&self.extra);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let child = self.child.insert(command.spawn().context("start redis")?);
        let deadline = Instant::now() + START_WAIT;
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = child.try_wait()? {
                bail!("redis ended with {status}: {said}");
            }
            if said.contains(READY) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "redis is not ready on port {} within {START_WAIT:?}: {said}",
                    self.port
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn binary(variable: &str) -> Result<OsString> {
    std::env::var_os(variable).with_context(|| {
        format!("{variable} is not set: run `cargo xtask test component`, which sets up HAProxy and Redis")
    })
}

fn free_port() -> Result<u16> {
    let mut tried = (0..100).map(|_| rand::random_range(PORTS));
    tried
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port for redis")
}
