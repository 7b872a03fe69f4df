//! The two containers of a proxy pod, and what a test can do to them.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::StatusCode;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use wsc_contract::agent::AgentStatus;
use wsc_contract::files;
use wsc_haproxy::{BackendSet, ProxySettings, RenderedConfig, Server, Settings, parse_info, render};

use super::master::{Master, Recipe, tail};
use super::mounted::Mounted;
use super::options::{PodOptions, Source};
use super::question::ask;
use crate::cluster::eventually;
use crate::faults::{Address, StreamProxy};
use crate::http1;
use crate::ports::Port;

/// For everything that a pod is waited for.
const WAIT: Duration = Duration::from_secs(30);
/// Of each log, when a test failed.
const LOG_LINES: usize = 50;

/// A proxy pod.
#[derive(Debug)]
pub struct ProxyPod {
    options: PodOptions,
    port: Port,
    agent_port: Port,
    mounted: Mounted,
    /// Hash of the published settings.
    settings: String,
    haproxy: Option<Master>,
    agent: Option<Child>,
    faults: Option<(StreamProxy, StreamProxy)>,
    // Last: it is removed after everything that uses it.
    folder: TempDir,
}

impl ProxyPod {
    /// Starts all of it with these servers, and returns when HAProxy runs what is wanted and the
    /// pod is ready.
    ///
    /// # Errors
    /// If it does not come to that.
    pub async fn start(options: PodOptions, servers: &[Server]) -> Result<Self> {
        let mut pod = Self::prepare(options)?;
        let set = pod.publish(servers)?;
        pod.init().await?;
        pod.start_haproxy().await?;
        pod.start_agent()?;
        pod.synced(&set).await?;
        Ok(pod)
    }

    /// Makes the folders and chooses the ports; nothing is published and nothing runs.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn prepare(options: PodOptions) -> Result<Self> {
        let folder = tempfile::tempdir().context("temporary folder for a proxy pod")?;
        let mounted = Mounted::new(&folder.path().join("mounted"))?;
        for name in ["run", "inner"] {
            fs::create_dir(folder.path().join(name))?;
        }
        let mut pod = Self {
            options,
            port: Port::choose()?,
            agent_port: Port::choose()?,
            mounted,
            settings: String::new(),
            haproxy: None,
            agent: None,
            faults: None,
            folder,
        };
        if pod.options.faults {
            // HAProxy then has its own folder, with links to the agent's files.
            for name in ["servers.state", files::PATHS, files::ORIGINS] {
                symlink(Path::new("../run").join(name), pod.inner(name))?;
            }
            let between = |name| StreamProxy::unix(&pod.run(name), Address::Unix(pod.inner(name)));
            pod.faults = Some((between("haproxy.sock")?, between("master.sock")?));
        }
        Ok(pod)
    }

    /// Publishes these servers with the settings of the pod.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn publish(&mut self, servers: &[Server]) -> Result<BackendSet> {
        let rendered = self.render(servers);
        let settings = rendered.settings.to_json();
        self.mounted
            .write(&rendered.text, &rendered.backend_set.to_json(), Some(&settings))?;
        rendered.settings.hash().clone_into(&mut self.settings);
        Ok(rendered.backend_set)
    }

    /// What would be published.
    pub fn render(&self, servers: &[Server]) -> RenderedConfig {
        let settings = ProxySettings {
            port: self.port.number(),
            runtime_folder: Some(self.haproxy_folder().to_string_lossy().into_owned()),
            ..self.options.settings.clone()
        };
        render(&settings, servers)
    }

    /// Publishes other settings from now on.
    pub fn change(&mut self, change: impl FnOnce(&mut ProxySettings)) {
        change(&mut self.options.settings);
    }

    /// Publishes a pair of files, whatever is in them, with the settings of the pod.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn publish_text(&mut self, text: &str, json: &str) -> Result<()> {
        let settings = self.render(&[]).settings;
        self.mounted.write(text, json, Some(&settings.to_json()))
    }

    /// Publishes these three files, whatever is in them.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn publish_files(&mut self, text: &str, json: &str, settings: Option<&str>) -> Result<()> {
        self.settings = settings
            .and_then(|settings| Settings::from_json(settings).ok())
            .map_or_else(String::new, |settings| settings.hash().to_owned());
        self.mounted.write(text, json, settings)
    }

    /// The pair that is published.
    ///
    /// # Errors
    /// If there is none.
    pub fn published(&self) -> Result<(String, String)> {
        let read = |name| fs::read_to_string(self.folder.path().join("mounted").join(name));
        Ok((read("haproxy.cfg")?, read("backends.json")?))
    }

    /// Runs the init container.
    ///
    /// # Errors
    /// If it fails; with its output.
    pub async fn init(&self) -> Result<()> {
        let mut command = self.agent_command("init")?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = tokio::time::timeout(WAIT, command.output())
            .await
            .context("init hangs")??;
        if !output.status.success() {
            bail!("init failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Starts HAProxy, or starts it again, and returns when it responds. From now on it is started
    /// again when it ends.
    ///
    /// # Errors
    /// If it does not respond.
    pub async fn start_haproxy(&mut self) -> Result<()> {
        match &self.haproxy {
            Some(master) => master.set_wanted(true),
            None => {
                self.haproxy = Some(Master::start(Recipe {
                    haproxy: variable("WSC_HAPROXY")?,
                    master_socket: self.haproxy_folder().join("master.sock"),
                    configuration: self.run("haproxy.cfg"),
                    pod_name: self.options.name.clone(),
                    log: self.log("haproxy"),
                }));
            }
        }
        eventually(WAIT, "an answer of haproxy", || async {
            self.worker_pid().await.map(Some)
        })
        .await?;
        Ok(())
    }

    /// Tells HAProxy to let its clients finish and to end then, as the image's stop signal does.
    ///
    /// # Errors
    /// If it does not run.
    pub fn stop_softly(&self) -> Result<()> {
        let master = self.haproxy.as_ref().context("haproxy was never started")?;
        master.set_wanted(false);
        master.signal(Signal::USR1)
    }

    /// How often HAProxy was started.
    pub fn haproxy_starts(&self) -> u64 {
        self.haproxy.as_ref().map_or(0, Master::starts)
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_agent(&mut self) -> Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log("agent"))?;
        let mut command = self.agent_command("run")?;
        let number = |number: u64| number.to_string();
        command
            .args(["--admin-port", &number(u64::from(self.agent_port.number()))])
            .args(["--recheck-ms", &number(self.options.recheck_ms)])
            .args(["--reload-interval-ms", &number(self.options.reload_interval_ms)]);
        match &self.options.source {
            Source::Files => {
                command.args(["--source", "file"]);
            }
            Source::ConfigMap(kubeconfig) => {
                command
                    .args([
                        "--source",
                        "configmap",
                        "--cluster",
                        "chat",
                        "--namespace",
                        "default",
                    ])
                    .env("KUBECONFIG", kubeconfig);
            }
        }
        command.stdout(Stdio::null()).stderr(log);
        self.agent = Some(command.spawn().context("start the agent")?);
        Ok(())
    }

    /// Kills the agent.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub async fn kill_agent(&mut self) -> Result<()> {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().await.context("kill the agent")?;
        }
        Ok(())
    }

    /// Tells the agent to end, by SIGTERM or by another signal.
    ///
    /// # Errors
    /// If it does not run.
    pub fn terminate_agent(&self, signal: Signal) -> Result<()> {
        let id = self.agent.as_ref().and_then(Child::id);
        let pid = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.context("the agent does not run")?, signal).context("signal for the agent")
    }

    /// Waits until the agent has ended by itself.
    ///
    /// # Errors
    /// If it keeps running, or ends badly.
    pub async fn agent_ended(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent does not run")?;
        let status = tokio::time::timeout(WAIT, agent.wait())
            .await
            .context("the agent keeps running")??;
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        Ok(())
    }

    /// The clients' port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where clients connect to: `ws://127.0.0.1:PORT/ws`.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}{}", self.port(), self.options.settings.path)
    }

    /// A GET of the agent's admin port.
    ///
    /// # Errors
    /// If it does not respond.
    pub async fn admin(&self, path: &str) -> Result<(StatusCode, String)> {
        let answer = http1::get(self.agent_port.number(), path).await?;
        Ok((answer.status, answer.body))
    }

    /// The agent's status.
    ///
    /// # Errors
    /// If there is no response, or it violates the contract.
    pub async fn status(&self) -> Result<AgentStatus> {
        let (code, text) = self.admin("/status").await?;
        if code != StatusCode::OK {
            bail!("/status: {code}");
        }
        serde_json::from_str(&text).with_context(|| format!("/status: {text}"))
    }

    /// Waits until the agent's status looks like this.
    ///
    /// # Errors
    /// If it does not come to that; with the last one.
    pub async fn wait(&self, what: &str, check: impl Fn(&AgentStatus) -> bool) -> Result<AgentStatus> {
        eventually(WAIT, what, || async {
            let status = self.status().await?;
            if check(&status) {
                return Ok(Some(status));
            }
            bail!("{status:?}")
        })
        .await
    }

    /// Waits until HAProxy runs this, and the pod is ready.
    ///
    /// # Errors
    /// If it does not come to that.
    pub async fn synced(&self, set: &BackendSet) -> Result<AgentStatus> {
        let status = self
            .wait("a proxy that runs what is wanted", |status| {
                status.synced
                    && status.applied_hash == set.hash
                    && status.applied_structure == set.structure
                    && status.applied_settings == self.settings
            })
            .await?;
        let (code, _) = self.admin("/readyz").await?;
        if code != StatusCode::OK {
            bail!("synced, and /readyz says {code}");
        }
        Ok(status)
    }

    /// The reply of the running worker, with no fault in between.
    ///
    /// # Errors
    /// If it does not respond.
    pub async fn runtime(&self, line: &str) -> Result<String> {
        ask(&self.haproxy_folder().join("haproxy.sock"), line).await
    }

    /// The process id of the running worker.
    ///
    /// # Errors
    /// If it does not respond.
    pub async fn worker_pid(&self) -> Result<u32> {
        Ok(parse_info(&self.runtime("show info").await?)?.pid)
    }

    /// Kills the running worker, as a crash does.
    ///
    /// # Errors
    /// If there is none.
    pub async fn kill_worker(&self) -> Result<()> {
        kill_process(self.worker().await?, Signal::KILL).context("kill the worker")
    }

    /// Stops the running worker: it replies to nothing until the returned value is dropped.
    ///
    /// # Errors
    /// If there is none.
    pub async fn stop_worker(&self) -> Result<StoppedWorker> {
        let pid = self.worker().await?;
        kill_process(pid, Signal::STOP).context("stop the worker")?;
        Ok(StoppedWorker(pid))
    }

    async fn worker(&self) -> Result<Pid> {
        let pid = Pid::from_raw(i32::try_from(self.worker_pid().await?)?);
        pid.context("a process id is positive")
    }

    /// What stands before the runtime socket.
    ///
    /// # Errors
    /// If the pod has no faults.
    pub fn runtime_faults(&self) -> Result<&StreamProxy> {
        Ok(&self.faults.as_ref().context("the pod has no faults")?.0)
    }

    /// What stands before the master's socket.
    ///
    /// # Errors
    /// If the pod has no faults.
    pub fn master_faults(&self) -> Result<&StreamProxy> {
        Ok(&self.faults.as_ref().context("the pod has no faults")?.1)
    }

    /// A file of the folder that agent and HAProxy share.
    pub fn run(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    /// The ends of both logs.
    pub fn logs(&self) -> String {
        let part = |name| format!("--- {name}\n{}\n", tail(&self.log(name), LOG_LINES));
        part("agent") + &part("haproxy")
    }

    fn inner(&self, name: &str) -> PathBuf {
        self.folder.path().join("inner").join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn haproxy_folder(&self) -> PathBuf {
        self.folder
            .path()
            .join(if self.options.faults { "inner" } else { "run" })
    }

    fn agent_command(&self, subcommand: &str) -> Result<Command> {
        let mut command = Command::new(program("WSC_BIN_PROXY_AGENT", "wsc-proxy-agent")?);
        command
            .arg(subcommand)
            .arg("--config-folder")
            .arg(self.folder.path().join("mounted"))
            .arg("--run-folder")
            .arg(self.folder.path().join("run"))
            .env("WSC_HAPROXY", variable("WSC_HAPROXY")?)
            .env("POD_NAME", &self.options.name)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }
}

/// A worker that is stopped.
#[derive(Debug)]
pub struct StoppedWorker(Pid);

impl Drop for StoppedWorker {
    fn drop(&mut self) {
        // It may have ended meanwhile.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

impl Drop for ProxyPod {
    #[expect(clippy::print_stderr, reason = "a failed test shows what its processes said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {}", self.options.name, self.logs());
        }
    }
}

/// A program of this workspace: at the path in the variable, or beside the running test, where
/// cargo puts it.
///
/// # Errors
/// If it is nowhere.
pub fn program(name_of_variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(name_of_variable) {
        return Ok(path.into());
    }
    let this = std::env::current_exe().context("path of the running test")?;
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    beside.into_iter().find(|path| path.is_file()).with_context(|| {
        format!("{name} is not built: run `cargo build --release --workspace --bins`, or `cargo xtask test`")
    })
}

fn variable(name: &str) -> Result<OsString> {
    std::env::var_os(name).with_context(|| {
        format!("{name} is not set: run `cargo xtask test component`, which sets up HAProxy and Redis")
    })
}
