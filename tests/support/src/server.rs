//! A real `wsc-server` process on free ports, with its log; killed on drop.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::Method;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::client::{Client, Options, Refused};
use crate::cluster::eventually;
use crate::http1::{self, Answer};

/// From the start of the program to its listeners.
const START_WAIT: Duration = Duration::from_secs(20);
/// The lines that are kept; a test says little.
const LOG_LINES: usize = 10_000;

/// One server process.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    control_port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts the program with these environment variables, on free ports unless they say
    /// otherwise, and waits for its listeners (not for Redis).
    ///
    /// # Errors
    /// If it ends instead; the message holds what it said.
    pub async fn start(program: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .env_remove("POD_NAME")
            .envs([
                ("WSC_PORT", "0"),
                ("WSC_CONTROL_PORT", "0"),
                ("WSC_LOG_FORMAT", "json"),
            ])
            .envs(variables.iter().copied());
        Self::spawn(command).await
    }

    /// Starts a command that ends up being the server, for example a shell that sets limits first.
    ///
    /// # Errors
    /// If it ends instead; the message holds what it said.
    pub async fn spawn(mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("start wsc-server")?;
        let log = Arc::default();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        tokio::spawn(collect(out.context("no output")?, Arc::clone(&log)));
        tokio::spawn(collect(err.context("no error output")?, Arc::clone(&log)));
        let mut server = Self {
            child,
            port: 0,
            control_port: 0,
            log,
        };
        let (port, control_port) = timeout(START_WAIT, server.serving())
            .await
            .with_context(|| format!("wsc-server is not serving: {:?}", server.log()))??;
        (server.port, server.control_port) = (port, control_port);
        Ok(server)
    }

    /// The port for clients on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The control port on 127.0.0.1.
    pub fn control_port(&self) -> u16 {
        self.control_port
    }

    /// `ws://127.0.0.1:PORT` and this path.
    pub fn url(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}{path}", self.port)
    }

    /// Connects a client to a path.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn connect(&self, path: &str) -> Result<Client, Refused> {
        Client::connect(&Options::new(self.url(path))).await
    }

    /// GET on the control port.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn control(&self, path: &str) -> Result<Answer> {
        http1::get(self.control_port, path).await
    }

    /// Any request on the control port.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn ask(&self, method: Method, path: &str, body: &str) -> Result<Answer> {
        http1::request(self.control_port, method, path, &[], body.to_owned()).await
    }

    /// `GET /stats`.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn stats(&self) -> Result<Value> {
        self.control("/stats").await?.json()
    }

    /// One whole number of `GET /metrics`, 0 if it is not there; a name with labels is written as
    /// on the page.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let page = self.control("/metrics").await?.body;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(Ok(0), str::parse).context(name.to_owned())
    }

    /// Waits until one number of `GET /metrics` is that large.
    ///
    /// # Errors
    /// If it never is.
    pub async fn wait_metric(&self, name: &str, least: u64, deadline: Duration) -> Result<u64> {
        eventually(deadline, &format!("{name} is {least}"), async || {
            let value = self.metric(name).await?;
            Ok((value >= least).then_some(value))
        })
        .await
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// If it does not.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<()> {
        eventually(deadline, "/readyz is 200", async || {
            let answer = self.control("/readyz").await?;
            Ok(answer.status.is_success().then_some(()))
        })
        .await
        .with_context(|| format!("log: {:?}", self.log()))
    }

    /// Waits until the stats are as they should be.
    ///
    /// # Errors
    /// If they never are; the message holds the last ones.
    pub async fn wait_stats(
        &self,
        deadline: Duration,
        what: &str,
        check: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let last = Mutex::new(Value::Null);
        let found = eventually(deadline, what, async || {
            let stats = self.stats().await?;
            last.lock().clone_from(&stats);
            Ok(check(&stats).then_some(stats))
        });
        let found = found.await;
        found.with_context(|| format!("last stats: {}", last.lock()))
    }

    /// Waits until the connections, and handshakes under way, are that many.
    ///
    /// # Errors
    /// If they never are.
    pub async fn wait_connections(&self, count: u64, deadline: Duration) -> Result<Value> {
        let what = format!("{count} connections");
        self.wait_stats(deadline, &what, |s| s["connections"] == count)
            .await
    }

    /// The lines that it said so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// The process; 0 when it has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().context("wsc-server has ended")?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process id")?, signal).context("signal wsc-server")
    }

    /// Whether the process lives.
    ///
    /// # Errors
    /// If that cannot be known.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// If it lives on.
    pub async fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        match timeout(deadline, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("wsc-server lives on after {deadline:?}: {:?}", self.log()),
        }
    }

    /// The ports, as soon as the log names them.
    async fn serving(&mut self) -> Result<(u16, u16)> {
        loop {
            let found = self.log().iter().find_map(|line| ports(line));
            if let Some(found) = found {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("wsc-server ended with {status}: {:?}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The ports in the line `{"message":"serving","clients":"[::]:8080","control":"[::]:9090",…}`.
fn ports(line: &str) -> Option<(u16, u16)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let port = |name: &str| line[name].as_str()?.rsplit_once(':')?.1.parse().ok();
    (line["message"] == "serving").then_some(())?;
    Some((port("clients")?, port("control")?))
}

async fn collect(output: impl AsyncRead + Unpin, log: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(output).lines();
    // Read to the end in any case: a full pipe would stop the server.
    while let Ok(Some(line)) = lines.next_line().await {
        let mut log = log.lock();
        if log.len() < LOG_LINES {
            log.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ports;

    #[test]
    fn serving_line_has_the_ports() {
        let line = r#"{"level":"INFO","message":"serving","clients":"[::]:8080","control":"0.0.0.0:9090"}"#;
        assert_eq!(ports(line), Some((8080, 9090)));
        assert_eq!(ports(&line.replace("serving", "draining")), None);
        assert_eq!(ports("serving"), None);
    }
}
