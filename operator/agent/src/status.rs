//! The agent's status, shared between the reconciler and the admin port.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;
use wsc_contract::agent::AgentStatus;

/// HAProxy counts as responsive for this long after its last reply: three intervals of the
/// reconciler.
const REPLY_AGE: Duration = Duration::from_secs(6);
/// A reconciler without progress for this long hangs: its longest wait is far shorter.
const PROGRESS_AGE: Duration = Duration::from_mins(2);

/// Why a probe fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ProbeError {
    #[error("the pod terminates")]
    Terminating,
    #[error("haproxy does not reply; see /status")]
    NoReply,
    #[error("haproxy does not run the published servers yet; see /status")]
    NotServed,
    #[error("the reconciler makes no progress")]
    NoProgress,
}

/// The status document with the state of both probes.
#[derive(Debug)]
pub(crate) struct SharedStatus {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    status: AgentStatus,
    last_reply: Option<Instant>,
    /// When what the status says of HAProxy was read.
    observed_at: Option<Instant>,
    last_progress: Instant,
    served: bool,
    draining: bool,
}

impl Default for SharedStatus {
    fn default() -> Self {
        let status = AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..AgentStatus::default()
        };
        Self {
            inner: Mutex::new(Inner {
                status,
                last_reply: None,
                observed_at: None,
                last_progress: Instant::now(),
                served: false,
                draining: false,
            }),
        }
    }
}

impl SharedStatus {
    /// The current document.
    pub(crate) fn get(&self) -> AgentStatus {
        let inner = self.inner.lock();
        let age = |at: Instant| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        AgentStatus {
            observed_ms_ago: inner.observed_at.map(age),
            ..inner.status.clone()
        }
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut AgentStatus)) {
        change(&mut self.inner.lock().status);
    }

    /// Takes in what was read from HAProxy at this time.
    pub(crate) fn update_observed(&self, at: Instant, change: impl FnOnce(&mut AgentStatus)) {
        let mut inner = self.inner.lock();
        change(&mut inner.status);
        inner.observed_at = Some(at);
    }

    /// HAProxy replied.
    pub(crate) fn record_reply(&self) {
        self.inner.lock().last_reply = Some(Instant::now());
    }

    /// The reconciler finished a step.
    pub(crate) fn record_progress(&self) {
        self.inner.lock().last_progress = Instant::now();
    }

    /// HAProxy ran all published servers once: from now on only its replies count for readiness.
    pub(crate) fn record_served(&self) {
        self.inner.lock().served = true;
    }

    /// The pod terminates: it receives no new clients.
    pub(crate) fn start_drain(&self) {
        self.inner.lock().draining = true;
    }

    /// `GET /readyz`. A refused configuration or an empty pool does not fail it: one bad
    /// configuration would remove every proxy.
    pub(crate) fn readiness(&self) -> Result<(), ProbeError> {
        let inner = self.inner.lock();
        if inner.draining {
            Err(ProbeError::Terminating)
        } else if inner.last_reply.is_none_or(|at| at.elapsed() >= REPLY_AGE) {
            Err(ProbeError::NoReply)
        } else if !inner.served {
            Err(ProbeError::NotServed)
        } else {
            Ok(())
        }
    }

    /// `GET /livez`.
    pub(crate) fn liveness(&self) -> Result<(), ProbeError> {
        if self.inner.lock().last_progress.elapsed() < PROGRESS_AGE {
            Ok(())
        } else {
            Err(ProbeError::NoProgress)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_needs_a_reply_and_served_servers() {
        let status = SharedStatus::default();
        assert_eq!(status.readiness(), Err(ProbeError::NoReply));
        status.record_reply();
        assert_eq!(status.readiness(), Err(ProbeError::NotServed));
        status.record_served();
        assert_eq!((status.readiness(), status.liveness()), (Ok(()), Ok(())));
        status.start_drain();
        assert_eq!(
            (status.readiness(), status.liveness()),
            (Err(ProbeError::Terminating), Ok(()))
        );
    }
}
