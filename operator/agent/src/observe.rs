//! What HAProxy runs at this moment: the current worker by the runtime socket, older ones by the master.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;
use wsc_haproxy::{
    BACKEND, Info, ReplyError, RunningServer, RunningState, Workers, parse_info, parse_stat, parse_workers,
};

use crate::socket::{REPLY_WAIT, Socket, SocketError};
use crate::status::ServerStatus;

/// More old workers than this are counted, but not asked.
const OLD_WORKERS_LIMIT: usize = 32;
/// A master that hangs must not hold up the current worker's servers, nor its readiness: that allows 6 s between two answers.
const LOOK_BACK_WAIT: Duration = Duration::from_secs(2);

/// Why nothing is known.
#[derive(Debug, Error)]
pub enum ObserveError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// The two sockets, and what old workers said last.
#[derive(Debug)]
pub struct Observer {
    pub runtime: Socket,
    pub master: Socket,
    workers: Workers,
    old: BTreeMap<u32, OldWorker>,
    /// What the master did not do the last time: said once.
    complaint: Option<String>,
}

/// One moment of the current worker.
#[derive(Debug, Clone)]
pub struct Observation {
    pub info: Info,
    pub servers: Vec<RunningServer>,
}

/// One moment of a HAProxy that was told to stop.
#[derive(Debug, Clone, Default)]
pub struct Leaving {
    /// Workers that still have clients.
    pub workers: usize,
    pub old: Vec<OldWorker>,
}

/// A worker of before a reload, with the clients that it still has.
#[derive(Debug, Clone, Default)]
pub struct OldWorker {
    pub connections: u64,
    pub servers: Vec<RunningServer>,
}

impl Observer {
    pub fn new(folder: &Path) -> Self {
        Self {
            runtime: Socket::runtime(folder),
            master: Socket::master(folder),
            workers: Workers::default(),
            old: BTreeMap::new(),
            complaint: None,
        }
    }

    /// Looks at the current worker.
    pub async fn observe(&self) -> Result<Observation, ObserveError> {
        let info = parse_info(&self.runtime.ask("show info", REPLY_WAIT).await?)?;
        let servers = self.servers().await?;
        Ok(Observation { info, servers })
    }

    /// The servers of the current worker.
    pub async fn servers(&self) -> Result<Vec<RunningServer>, ObserveError> {
        Ok(parse_stat(&self.runtime.ask(&show_stat(), REPLY_WAIT).await?)?)
    }

    /// What is left of a HAProxy that accepts nobody any more: its runtime socket is closed, its master still answers.
    pub async fn observe_leaving(&mut self) -> Result<Leaving, ObserveError> {
        let mut workers = self.workers().await?;
        workers.old.extend(workers.current.take());
        self.workers = workers;
        self.ask_old_workers().await;
        Ok(Leaving {
            workers: self.workers.old.len(),
            old: self.old.values().cloned().collect(),
        })
    }

    /// Asks the master about workers of before a reload, for a while: what is not said by then counts as it was said last.
    pub async fn look_at_old_workers(&mut self) {
        let look = async {
            let workers = self.workers().await;
            let problem = workers.map(|workers| self.workers = workers).err();
            self.ask_old_workers().await;
            problem
        };
        let problem = match timeout(LOOK_BACK_WAIT, look).await {
            Ok(problem) => problem.map(|error| error.to_string()),
            Err(_) => Some(format!("nothing within {LOOK_BACK_WAIT:?}")),
        };
        if let Some(error) = problem.as_ref().filter(|_| problem != self.complaint) {
            tracing::warn!(error, "the master does not say which workers there are");
        }
        self.complaint = problem;
    }

    /// How many workers of before a reload still have clients.
    pub fn old_workers(&self) -> usize {
        self.workers.old.len()
    }

    /// Clients over all workers.
    pub fn connections(&self, seen: &Observation) -> u64 {
        let old = self.old.values().map(|worker| worker.connections);
        old.fold(seen.info.connections, u64::saturating_add)
    }

    /// Servers over all workers.
    pub fn server_status(&self, seen: &Observation) -> Vec<ServerStatus> {
        sum(&seen.servers, self.old.values())
    }

    async fn ask_old_workers(&mut self) {
        self.old.retain(|pid, _| self.workers.old.contains(pid));
        for pid in self.workers.old.iter().copied().take(OLD_WORKERS_LIMIT) {
            match self.old_worker(pid).await {
                Ok(worker) => {
                    self.old.insert(pid, worker);
                }
                Err(ObserveError::Socket(SocketError::NoWorker { .. })) => {
                    self.old.remove(&pid);
                }
                Err(error) => tracing::warn!(pid, %error, "an old worker does not answer"),
            }
        }
    }

    async fn workers(&self) -> Result<Workers, ObserveError> {
        Ok(parse_workers(&self.master.ask("show proc", REPLY_WAIT).await?)?)
    }

    async fn old_worker(&self, pid: u32) -> Result<OldWorker, ObserveError> {
        let info = parse_info(&self.master.ask_worker(pid, "show info").await?)?;
        let servers = parse_stat(&self.master.ask_worker(pid, &show_stat()).await?)?;
        Ok(OldWorker {
            connections: info.connections,
            servers,
        })
    }
}

fn show_stat() -> String {
    // Servers only (4), all of them (-1).
    format!("show stat {BACKEND} 4 -1")
}

impl Leaving {
    /// Clients over all workers.
    pub fn connections(&self) -> u64 {
        let old = self.old.iter().map(|worker| worker.connections);
        old.fold(0, u64::saturating_add)
    }

    /// Servers over all workers: none of them gets anybody new.
    pub fn server_status(&self) -> Vec<ServerStatus> {
        sum(&[], self.old.iter())
    }
}

/// One entry for each server of the current worker, and for each that an old one still has clients on: that gets nobody new.
fn sum<'a>(current: &[RunningServer], old: impl Iterator<Item = &'a OldWorker>) -> Vec<ServerStatus> {
    let current = current
        .iter()
        .map(|server| (server.name.as_str(), status_of(server)));
    let mut by_name: BTreeMap<&str, ServerStatus> = current.collect();
    let old = old.flat_map(|worker| &worker.servers);
    for server in old.filter(|server| server.sessions > 0) {
        let gone = || ServerStatus {
            name: server.name.clone(),
            state: "Maint",
            up: false,
            sessions: 0,
        };
        let entry = by_name.entry(&server.name).or_insert_with(gone);
        entry.sessions = entry.sessions.saturating_add(server.sessions);
    }
    by_name.into_values().collect()
}

fn status_of(server: &RunningServer) -> ServerStatus {
    let (state, up) = match server.state {
        RunningState::Ready { up, .. } => ("Ready", up),
        // Holders of its cookie still get there, so it is not out of rotation.
        RunningState::Drain => ("Ready", true),
        RunningState::Maint => ("Maint", false),
    };
    ServerStatus {
        name: server.name.clone(),
        state,
        up,
        sessions: server.sessions,
    }
}
