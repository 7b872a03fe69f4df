//! The outbound queue of one client: bounded by bytes, filled by fan-outs, emptied by the one
//! session that writes.
//!
//! While nothing waits, a fan-out writes to the client's socket directly, on the thread of the
//! client's shard, so that frames are never interleaved. The queue never holds more than its limit;
//! the first requested close happens, and nothing is queued after it. One [`Budget`] pays for all.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use bytes::Bytes;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use wsc_contract::close::{self, CloseCode, Reason};

use crate::websocket::Violation;

/// What a queued frame costs on top of its bytes; bounds floods of empty messages too.
pub(crate) const FRAME_OVERHEAD_BYTES: usize = 64;

/// Why the server ends a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CloseRequest {
    /// Request to reconnect, by the operator or by SIGTERM.
    Reconnect {
        /// The close code.
        code: CloseCode,
        /// `shed;retry=MS` or `drain;retry=MS`.
        reason: Reason,
    },
    /// The client does not read fast enough.
    Slow,
    /// The client broke the protocol or a limit.
    Violation(Violation),
}

impl CloseRequest {
    /// The label in the metrics.
    pub(crate) fn why(&self) -> &'static str {
        match self {
            Self::Reconnect { .. } => "reconnect",
            Self::Slow => "slow",
            Self::Violation(Violation::TooLarge) => "too_large",
            Self::Violation(Violation::Utf8) => "utf8",
            Self::Violation(_) => "protocol",
        }
    }

    /// Code and reason of the close frame.
    pub(crate) fn into_parts(self) -> (u16, String) {
        match self {
            Self::Reconnect { code, reason } => (code.get(), reason.to_string()),
            Self::Slow => (close::SLOW.code, close::SLOW.reason.to_owned()),
            Self::Violation(violation) => (violation.code(), violation.to_string()),
        }
    }
}

/// What the session has to write next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A complete frame, shared with others.
    Frame(Bytes),
    /// The last thing to write: everything that was queued before it has been handed out.
    Close(CloseRequest),
    /// Nothing now; the registered waker is called when that changes.
    Idle,
}

/// What became of a pushed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Push {
    /// It is on its way.
    Written,
    /// It waits for the client.
    Queued,
    /// It did not fit: the queue was dropped and the client will be closed as slow.
    Overflow,
    /// The connection is closing; the frame is not for it.
    Closed,
}

/// What all outboxes of a process may hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    limit_bytes: usize,
    used: AtomicUsize,
}

impl Budget {
    /// Nothing is used of it.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            used: AtomicUsize::new(0),
        }
    }

    /// Bytes in all queues, overhead included.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many bytes have to go so that a tenth is free again; 0 while the limit is kept.
    pub(crate) fn excess(&self) -> usize {
        let used = self.used();
        if used <= self.limit_bytes {
            return 0;
        }
        used - self.limit_bytes / 10 * 9
    }

    fn charge(&self, before: usize, after: usize) {
        // Two steps: what is given back was charged before.
        self.used.fetch_add(after, Ordering::Relaxed);
        self.used.fetch_sub(before, Ordering::Relaxed);
    }
}

/// A socket that takes bytes without a wait.
pub(crate) trait Direct: std::fmt::Debug + Send + Sync {
    /// Writes what goes in now.
    ///
    /// # Errors
    /// `WouldBlock` for nothing at all; otherwise the client is gone.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// The queue of one client.
#[derive(Debug)]
pub(crate) struct Outbox {
    limit_bytes: usize,
    budget: Arc<Budget>,
    inner: Mutex<Inner>,
    direct: OnceLock<Arc<dyn Direct>>,
    waker: AtomicWaker,
}

/// Mostly at most one frame waits, which needs no memory of its own.
#[derive(Debug, Default)]
struct Inner {
    first: Option<Bytes>,
    rest: VecDeque<Bytes>,
    bytes: usize,
    close: Close,
    /// The first one is the end of what was begun: whatever happens, it has to be written.
    begun: bool,
    /// The session has frames that are not written yet.
    held: bool,
}

#[derive(Debug, Default)]
enum Close {
    #[default]
    No,
    Asked(CloseRequest),
    Taken,
}

impl Outbox {
    /// An empty queue that holds at most `limit_bytes`, overhead included, and is charged to the
    /// budget.
    pub(crate) fn new(limit_bytes: usize, budget: Arc<Budget>) -> Self {
        Self {
            limit_bytes,
            budget,
            inner: Mutex::default(),
            direct: OnceLock::new(),
            waker: AtomicWaker::new(),
        }
    }

    /// From now on frames are written to this socket while nothing waits.
    pub(crate) fn connect(&self, socket: Arc<dyn Direct>) {
        // A client has one socket.
        let _ = self.direct.set(socket);
    }

    /// The session has frames that are not written yet, or has none any more.
    pub(crate) fn hold(&self, held: bool) {
        self.inner.lock().held = held;
    }

    /// Writes whole frames or queues them, or closes the client as slow. Only on the thread of the
    /// client's session.
    pub(crate) fn push(&self, frame: &Bytes) -> Push {
        let mut inner = self.inner.lock();
        if !matches!(inner.close, Close::No) {
            return Push::Closed;
        }
        let written = if inner.first.is_none() && !inner.held {
            // The session finds out itself what is wrong with a socket.
            let direct = self.direct.get();
            direct.map_or(0, |socket| socket.try_write(frame).unwrap_or_default())
        } else {
            0
        };
        if written > 0 && written == frame.len() {
            return Push::Written;
        }
        inner.begun |= written > 0;
        let frame = frame.slice(written..);
        let bytes = inner.bytes + frame.len() + FRAME_OVERHEAD_BYTES;
        let outcome = if bytes > self.limit_bytes && written == 0 {
            self.replace(&mut inner, Close::Asked(CloseRequest::Slow));
            Push::Overflow
        } else {
            self.budget.charge(inner.bytes, bytes);
            inner.bytes = bytes;
            if inner.first.is_none() {
                inner.first = Some(frame);
            } else {
                inner.rest.push_back(frame);
            }
            Push::Queued
        };
        drop(inner);
        self.waker.wake();
        outcome
    }

    /// Gives the client up as slow, because all queues together are too long. False if it is
    /// closing already.
    pub(crate) fn give_up(&self) -> bool {
        let mut inner = self.inner.lock();
        if !matches!(inner.close, Close::No) {
            return false;
        }
        self.replace(&mut inner, Close::Asked(CloseRequest::Slow));
        drop(inner);
        self.waker.wake();
        true
    }

    /// Bytes in the queue, overhead included.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Asks the session to close after what is queued. False if the connection is closing already.
    pub(crate) fn ask_close(&self, request: CloseRequest) -> bool {
        let mut inner = self.inner.lock();
        if !matches!(inner.close, Close::No) {
            return false;
        }
        inner.close = Close::Asked(request);
        drop(inner);
        self.waker.wake();
        true
    }

    /// The session ends the connection for a reason of its own: nothing is queued or asked for any
    /// more. False if a close was asked for before.
    pub(crate) fn finish(&self) -> bool {
        let mut inner = self.inner.lock();
        let first = matches!(inner.close, Close::No);
        self.replace(&mut inner, Close::Taken);
        first
    }

    /// Drops what is queued, but for the end of what was begun.
    fn replace(&self, inner: &mut Inner, close: Close) {
        let first = inner.first.take().filter(|_| inner.begun);
        let bytes = first
            .as_ref()
            .map_or(0, |frame| frame.len() + FRAME_OVERHEAD_BYTES);
        self.budget.charge(inner.bytes, bytes);
        *inner = Inner {
            first,
            bytes,
            close,
            begun: inner.begun,
            held: inner.held,
            ..Inner::default()
        };
    }

    /// What comes before everything else: the end of what was begun; and why the connection is to
    /// end, once that was asked for and before [`Outbox::next`] has handed it out.
    pub(crate) fn urgent(&self) -> (Option<Bytes>, Option<&'static str>) {
        let mut inner = self.inner.lock();
        let why = match &inner.close {
            Close::Asked(request) => Some(request.why()),
            Close::No | Close::Taken => None,
        };
        let begun = if inner.begun {
            self.take_first(&mut inner)
        } else {
            None
        };
        (begun, why)
    }

    /// Takes what has to be written next.
    pub(crate) fn next(&self) -> Next {
        let mut inner = self.inner.lock();
        if let Some(frame) = self.take_first(&mut inner) {
            return Next::Frame(frame);
        }
        match std::mem::replace(&mut inner.close, Close::Taken) {
            Close::No => {
                inner.close = Close::No;
                Next::Idle
            }
            Close::Asked(request) => Next::Close(request),
            Close::Taken => Next::Idle,
        }
    }

    fn take_first(&self, inner: &mut Inner) -> Option<Bytes> {
        let frame = inner.first.take()?;
        inner.begun = false;
        inner.first = inner.rest.pop_front();
        if inner.first.is_none() {
            inner.rest = VecDeque::new();
        }
        let bytes = inner.bytes - (frame.len() + FRAME_OVERHEAD_BYTES);
        self.budget.charge(inner.bytes, bytes);
        inner.bytes = bytes;
        Some(frame)
    }

    /// Wakes the session.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Sets the waker of the next push or close; call it before [`Outbox::next`].
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let bytes = self.inner.lock().bytes;
        self.budget.charge(bytes, 0);
    }
}

#[cfg(test)]
mod tests;
