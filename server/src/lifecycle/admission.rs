//! Admission control: whether a handshake is accepted, and how many were refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wsc_contract::control::Rejects;

use super::capacity::Capacity;
use super::memory::{Limit, Memory};
use crate::handshake::refusal::Refusal;

#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) capacity: Arc<Capacity>,
    pub(crate) memory: Memory,
    pub(crate) refused: Refused,
    cordoned: AtomicBool,
    terminating: AtomicBool,
}

/// Handshakes refused since the start, as `/stats` reports them.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// No free slot, or the memory limit is reached.
    pub(crate) full: AtomicU64,
    /// Cordoned or terminating.
    pub(crate) draining: AtomicU64,
    /// Addressed to another pod.
    pub(crate) wrong_pod: AtomicU64,
    /// Origin not allowed.
    pub(crate) origin: AtomicU64,
    /// Any other invalid request.
    pub(crate) bad_request: AtomicU64,
}

impl Admission {
    pub(crate) fn new(capacity: u64, memory_limit: Limit) -> Self {
        Self {
            capacity: Capacity::new(capacity),
            memory: Memory::new(memory_limit),
            refused: Refused::default(),
            cordoned: AtomicBool::new(false),
            terminating: AtomicBool::new(false),
        }
    }

    /// Whether new handshakes are accepted: neither cordoned nor terminating.
    pub(crate) fn admits(&self) -> bool {
        !self.is_cordoned() && !self.is_terminating()
    }

    /// Why the next handshake would be rejected.
    pub(crate) fn rejects(&self) -> Option<Rejects> {
        if self.is_terminating() {
            Some(Rejects::Terminating)
        } else if self.is_cordoned() {
            Some(Rejects::Cordoned)
        } else if self.memory.is_full() {
            Some(Rejects::Memory)
        } else if self.capacity.taken() >= self.capacity.max() {
            Some(Rejects::Full)
        } else {
            None
        }
    }

    pub(crate) fn is_cordoned(&self) -> bool {
        self.cordoned.load(Ordering::Relaxed)
    }

    pub(crate) fn set_cordoned(&self, cordoned: bool) {
        if self.cordoned.swap(cordoned, Ordering::Relaxed) != cordoned {
            tracing::info!(cordoned, "cordon changed");
        }
    }

    /// Whether SIGTERM was received.
    pub(crate) fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Relaxed)
    }

    /// Refuses every handshake from now on.
    pub(super) fn terminate(&self) {
        self.terminating.store(true, Ordering::Relaxed);
    }

    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Full | Refusal::Memory => &self.refused.full,
            Refusal::Draining => &self.refused.draining,
            Refusal::WrongPod => &self.refused.wrong_pod,
            Refusal::Origin => &self.refused.origin,
            Refusal::BadRequest(_) | Refusal::NotFound | Refusal::Method | Refusal::UpgradeRequired => {
                &self.refused.bad_request
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
