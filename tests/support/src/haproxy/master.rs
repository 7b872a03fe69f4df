//! The HAProxy container: a master process with its workers, started again when it ends.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::processes;

/// Between two starts, so that one that cannot start does not take the machine.
const PAUSE: Duration = Duration::from_millis(100);

/// How to start it.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub(super) haproxy: std::ffi::OsString,
    pub(super) master_socket: std::path::PathBuf,
    pub(super) configuration: std::path::PathBuf,
    pub(super) pod_name: String,
    pub(super) log: std::path::PathBuf,
}

#[derive(Debug, Default)]
struct State {
    pid: Option<Pid>,
    starts: u64,
}

/// The supervised process.
#[derive(Debug)]
pub(super) struct Master {
    state: Arc<Mutex<State>>,
    wanted: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Master {
    pub(super) fn start(recipe: Recipe) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (wanted, wishes) = watch::channel(true);
        let task = tokio::spawn(keep(recipe, Arc::clone(&state), wishes));
        Self { state, wanted, task }
    }

    /// How often it was started.
    pub(super) fn starts(&self) -> u64 {
        self.state.lock().starts
    }

    /// Whether it is started again when it ends.
    pub(super) fn set_wanted(&self, wanted: bool) {
        self.wanted.send_replace(wanted);
    }

    /// Sends a signal to the master alone.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.state.lock().pid.context("haproxy does not run")?;
        kill_process(pid, signal).context("signal for haproxy")
    }

    /// Kills the master and all workers.
    pub(super) fn kill(&self) {
        let Some(pid) = self.state.lock().pid else { return };
        let workers = processes::children(pid.as_raw_nonzero().get());
        // Whoever is gone needs no signal.
        let _ = kill_process(pid, Signal::KILL);
        for worker in workers {
            let _ = processes::kill(&worker);
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.set_wanted(false);
        self.kill();
        self.task.abort();
    }
}

async fn keep(recipe: Recipe, state: Arc<Mutex<State>>, mut wanted: watch::Receiver<bool>) {
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        if let Ok(mut child) = spawn(&recipe) {
            {
                let mut state = state.lock();
                state.pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
                state.starts += 1;
            }
            // It ends by a signal of a test, or is killed with this task.
            let _ = child.wait().await;
            state.lock().pid = None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn spawn(recipe: &Recipe) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&recipe.log)?;
    let mut command = Command::new(&recipe.haproxy);
    command
        .arg("-W")
        .arg("-S")
        .arg(&recipe.master_socket)
        .arg("-f")
        .arg(&recipe.configuration)
        .env_clear()
        .env("POD_NAME", &recipe.pod_name)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    command.spawn().context("start haproxy")
}

/// The end of a log file.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
