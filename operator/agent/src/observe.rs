//! The state of the running HAProxy: the current worker by the runtime socket, older ones by the
//! master.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::time::timeout;
use wsc_contract::agent::{ServerState, ServerStatus, WorkerCounters};
use wsc_haproxy::{
    BACKEND, Info, ReplyError, RunningServer, RunningState, Workers, parse_info, parse_stat, parse_workers,
    split_info_and_stat,
};
use wsc_runtime::telemetry::chain;

use crate::socket::{REPLY_WAIT, Socket, SocketError};

/// Further old workers are counted, but not queried.
const OLD_WORKERS_LIMIT: usize = 32;
/// A master that hangs must delay neither the servers of the current worker nor its readiness,
/// which allows 6 s between two replies.
const OLD_WORKERS_WAIT: Duration = Duration::from_secs(2);

/// The state of HAProxy is unknown.
#[derive(Debug, Error)]
pub(crate) enum ObserveError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// The two sockets, and the last known state of old workers.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) runtime: Socket,
    pub(crate) master: Socket,
    workers: Workers,
    old: BTreeMap<u32, OldWorker>,
    /// The last problem with the master; logged once.
    last_error: Option<String>,
}

/// The state of the current worker.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    /// Before the query for the servers.
    pub(crate) at: Instant,
    pub(crate) info: Info,
    pub(crate) counters: WorkerCounters,
    pub(crate) servers: Vec<RunningServer>,
}

/// The state of a HAProxy that drains after its stop signal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain {
    /// Workers that still have clients.
    pub(crate) workers: u64,
    /// Before the queries; `None` where a worker did not reply, which then counts with its last
    /// known state.
    pub(crate) at: Option<Instant>,
    old: Vec<OldWorker>,
}

/// A worker from before a reload or a stop signal.
#[derive(Debug, Clone, Default)]
struct OldWorker {
    connections: u64,
    servers: Vec<RunningServer>,
}

impl Observer {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            runtime: Socket::runtime(folder),
            master: Socket::master(folder),
            workers: Workers::default(),
            old: BTreeMap::new(),
            last_error: None,
        }
    }

    /// Queries the current worker.
    pub(crate) async fn observe(&self) -> Result<Observation, ObserveError> {
        // In one line: during a reload two lines may reach two workers, and the counters belong to
        // one.
        let line = format!("show info;{}", show_stat());
        let at = Instant::now();
        let reply = self.runtime.send(&line, REPLY_WAIT).await?;
        let (info, stat) = split_info_and_stat(&reply)?;
        let (info, stat) = (parse_info(info)?, parse_stat(stat)?);
        let counters = WorkerCounters {
            id: format!("{}-{}", info.pid, info.started_at),
            refused: stat.refused,
            retries: stat.retries,
            redispatches: stat.redispatches,
            queued: stat.queued,
        };
        Ok(Observation {
            at,
            info,
            counters,
            servers: stat.servers,
        })
    }

    /// The servers of the current worker.
    pub(crate) async fn servers(&self) -> Result<Vec<RunningServer>, ObserveError> {
        let reply = self.runtime.send(&show_stat(), REPLY_WAIT).await?;
        Ok(parse_stat(&reply)?.servers)
    }

    /// Reads the servers of the current worker again.
    pub(crate) async fn update_servers(&self, seen: &mut Observation) -> Result<(), ObserveError> {
        let at = Instant::now();
        seen.servers = self.servers().await?;
        seen.at = at;
        Ok(())
    }

    /// Queries a HAProxy that has closed its listeners and its runtime socket; the master still
    /// replies.
    pub(crate) async fn observe_drain(&mut self) -> Result<Drain, ObserveError> {
        let at = Instant::now();
        let mut workers = self.workers().await?;
        workers.old.extend(workers.current.take());
        self.workers = workers;
        let is_complete = self.query_old_workers().await;
        Ok(Drain {
            workers: self.old_workers(),
            at: is_complete.then_some(at),
            old: self.old.values().cloned().collect(),
        })
    }

    /// Queries workers from before a reload, with a deadline; without a reply their last known
    /// state counts.
    pub(crate) async fn update_old_workers(&mut self) {
        let update = async {
            let workers = self.workers().await;
            let error = workers.map(|workers| self.workers = workers).err();
            self.query_old_workers().await;
            error
        };
        let error = match timeout(OLD_WORKERS_WAIT, update).await {
            Ok(error) => error.map(|error| chain(&error)),
            Err(_) => Some(format!("no reply within {OLD_WORKERS_WAIT:?}")),
        };
        if let Some(new) = error.as_ref().filter(|_| error != self.last_error) {
            tracing::warn!(error = new, "cannot list the haproxy workers");
        }
        self.last_error = error;
    }

    /// The number of workers from before a reload that still have clients.
    pub(crate) fn old_workers(&self) -> u64 {
        self.workers.old.len() as u64
    }

    /// Clients over all workers.
    pub(crate) fn connections(&self, seen: &Observation) -> u64 {
        let old = self.old.values().map(|worker| worker.connections);
        old.fold(seen.info.connections, u64::saturating_add)
    }

    /// Servers over all workers.
    pub(crate) fn server_status(&self, seen: &Observation) -> Vec<ServerStatus> {
        sum(&seen.servers, self.old.values())
    }

    /// Returns whether each of them replied.
    async fn query_old_workers(&mut self) -> bool {
        let mut is_complete = true;
        self.old.retain(|pid, _| self.workers.old.contains(pid));
        for pid in self.workers.old.iter().copied().take(OLD_WORKERS_LIMIT) {
            match self.old_worker(pid).await {
                Ok(worker) => {
                    self.old.insert(pid, worker);
                }
                Err(ObserveError::Socket(SocketError::NoWorker { .. })) => {
                    self.old.remove(&pid);
                }
                Err(error) => {
                    is_complete = false;
                    tracing::warn!(pid, error = chain(&error), "an old worker does not reply");
                }
            }
        }
        is_complete
    }

    async fn workers(&self) -> Result<Workers, ObserveError> {
        Ok(parse_workers(&self.master.send("show proc", REPLY_WAIT).await?)?)
    }

    async fn old_worker(&self, pid: u32) -> Result<OldWorker, ObserveError> {
        let info = parse_info(&self.master.send_to_worker(pid, "show info").await?)?;
        let stat = parse_stat(&self.master.send_to_worker(pid, &show_stat()).await?)?;
        Ok(OldWorker {
            connections: info.connections,
            servers: stat.servers,
        })
    }
}

fn show_stat() -> String {
    // The backend (2) and its servers (4), all of them (-1).
    format!("show stat {BACKEND} 6 -1")
}

impl Drain {
    /// Clients over all workers.
    pub(crate) fn connections(&self) -> u64 {
        let old = self.old.iter().map(|worker| worker.connections);
        old.fold(0, u64::saturating_add)
    }

    /// Servers over all workers, all out of rotation.
    pub(crate) fn server_status(&self) -> Vec<ServerStatus> {
        sum(&[], self.old.iter())
    }
}

/// One entry per server of the current worker, and one in `Maint` per server that only old workers
/// still have clients on.
fn sum<'a>(current: &[RunningServer], old: impl Iterator<Item = &'a OldWorker>) -> Vec<ServerStatus> {
    let current = current
        .iter()
        .map(|server| (server.name.as_str(), status_of(server)));
    let mut by_name: BTreeMap<&str, ServerStatus> = current.collect();
    let old = old.flat_map(|worker| &worker.servers);
    for server in old.filter(|server| server.sessions > 0) {
        let removed = || ServerStatus {
            name: server.name.clone(),
            state: ServerState::Maint,
            up: false,
            rejects: false,
            sessions: 0,
        };
        let entry = by_name.entry(&server.name).or_insert_with(removed);
        entry.sessions = entry.sessions.saturating_add(server.sessions);
    }
    by_name.into_values().collect()
}

fn status_of(server: &RunningServer) -> ServerStatus {
    let (state, up) = match server.state {
        RunningState::Ready { up, .. } => (ServerState::Ready, up),
        // Clients with its cookie are still sent there, so it is not out of rotation.
        RunningState::Drain | RunningState::Rejects => (ServerState::Ready, true),
        RunningState::Maint => (ServerState::Maint, false),
    };
    ServerStatus {
        name: server.name.clone(),
        state,
        up,
        rejects: server.state == RunningState::Rejects,
        sessions: server.sessions,
    }
}
