//! What the agent tells the operator, and what its loop writes for that.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// HAProxy counts as answering this long after its last answer: three rounds of the loop.
const ANSWER_AGE: Duration = Duration::from_secs(6);
/// A loop that finished nothing for this long hangs: its longest wait is far below.
const PROGRESS_AGE: Duration = Duration::from_mins(2);

/// `GET /status`; docs/contracts.md is the contract.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub haproxy_version: String,
    /// Of the current worker.
    pub pid: u32,
    pub wanted_hash: String,
    /// Hash of the set that the running HAProxy was last seen equal to.
    pub applied_hash: String,
    pub wanted_structure: String,
    pub applied_structure: String,
    pub refusal: Option<Refusal>,
    /// HAProxy answers and runs exactly what is wanted.
    pub synced: bool,
    /// Reloads by this agent that HAProxy took.
    pub reloads: u64,
    /// How often another worker was found, after a reload or a crash.
    pub pid_changes: u64,
    pub old_workers: usize,
    /// Of clients, over all workers.
    pub connections: u64,
    pub servers: Vec<ServerStatus>,
}

/// One server, over all workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    pub name: String,
    /// `Ready` or `Maint`: whether the current worker may send new clients there.
    pub state: &'static str,
    /// HAProxy's check finds it up; a full one is.
    pub up: bool,
    pub sessions: u64,
}

/// A configuration that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    pub structure: String,
    pub message: String,
}

/// Shared between the loop and the admin port.
#[derive(Debug)]
pub struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    status: Status,
    answered: Option<Instant>,
    progressed: Instant,
    served: bool,
    leaving: bool,
}

impl Default for Shared {
    fn default() -> Self {
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            ..Status::default()
        };
        Self {
            inner: Mutex::new(Inner {
                status,
                answered: None,
                progressed: Instant::now(),
                served: false,
                leaving: false,
            }),
        }
    }
}

impl Shared {
    pub fn status(&self) -> Status {
        self.lock().status.clone()
    }

    /// Changes what is told.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock().status);
    }

    /// HAProxy answered.
    pub fn answered(&self) {
        self.lock().answered = Some(Instant::now());
    }

    /// The loop goes on.
    pub fn progressed(&self) {
        self.lock().progressed = Instant::now();
    }

    /// HAProxy served all wanted servers once: from now on only its answers count.
    pub fn served(&self) {
        self.lock().served = true;
    }

    /// The pod is about to end: no new clients, please.
    pub fn leave(&self) {
        self.lock().leaving = true;
    }

    /// `GET /readyz`. A wanted or refused configuration or an empty pool never turns it false: one bad configuration would take
    /// every proxy away.
    pub fn is_ready(&self) -> bool {
        let inner = self.lock();
        inner.served && !inner.leaving && inner.answered.is_some_and(|at| at.elapsed() < ANSWER_AGE)
    }

    /// `GET /livez`.
    pub fn is_alive(&self) -> bool {
        self.lock().progressed.elapsed() < PROGRESS_AGE
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
