//! The frames that wait for one client: bounded by bytes, shared by whoever delivers and the one session that writes.
//!
//! Invariants: the queue never holds more than the limit; after a close was asked for nothing is queued any more; the
//! first close that is asked for is the one that happens.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use futures::task::AtomicWaker;

use crate::frame::Violation;

/// What a queued frame costs on top of its bytes; bounds floods of empty messages too.
pub const FRAME_OVERHEAD_BYTES: usize = 64;
/// A queue that had to grow beyond this many frames gives its memory back when it is empty.
const KEPT_CAPACITY: usize = 16;

/// Why the server ends a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseRequest {
    /// Asked for by the operator or by SIGTERM: close code and reason are ready to send.
    Moved {
        /// The close code.
        code: u16,
        /// `shed;retry=MS` or `drain;retry=MS`.
        reason: String,
    },
    /// The client does not read fast enough.
    Slow,
    /// The client broke the protocol or a limit.
    Violation(Violation),
}

impl CloseRequest {
    /// The word for it in the metrics.
    pub fn why(&self) -> &'static str {
        match self {
            Self::Moved { .. } => "moved",
            Self::Slow => "slow",
            Self::Violation(Violation::TooLarge) => "too_large",
            Self::Violation(Violation::Utf8) => "utf8",
            Self::Violation(_) => "protocol",
        }
    }

    /// The code and the reason that the client is told.
    pub fn into_parts(self) -> (u16, String) {
        match self {
            Self::Moved { code, reason } => (code, reason),
            Self::Slow => (1013, "slow".to_owned()),
            Self::Violation(violation) => (violation.code(), violation.to_string()),
        }
    }
}

/// What the session has to write next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A complete frame, shared with others.
    Frame(Bytes),
    /// The last thing to write: everything that was queued before it has been handed out.
    Close(CloseRequest),
    /// Nothing now; the registered waker is called when that changes.
    Idle,
}

/// What became of a pushed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It waits for the client.
    Queued,
    /// It did not fit: the queue was dropped and the client will be closed as slow.
    Overflow,
    /// The connection is closing; the frame is not for it.
    Closed,
}

/// The queue of one client.
#[derive(Debug)]
pub struct Outbox {
    limit_bytes: usize,
    inner: Mutex<Inner>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Bytes>,
    bytes: usize,
    close: Close,
}

#[derive(Debug, Default)]
enum Close {
    #[default]
    No,
    Asked(CloseRequest),
    Taken,
}

impl Outbox {
    /// An empty queue that holds at most `limit_bytes`, overhead included.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            inner: Mutex::default(),
            waker: AtomicWaker::new(),
        }
    }

    /// Queues a frame, or gives the client up as slow.
    pub fn push(&self, frame: &Bytes) -> Push {
        let mut inner = self.lock();
        if !matches!(inner.close, Close::No) {
            return Push::Closed;
        }
        let bytes = inner.bytes + frame.len() + FRAME_OVERHEAD_BYTES;
        let outcome = if bytes > self.limit_bytes {
            *inner = Inner {
                close: Close::Asked(CloseRequest::Slow),
                ..Inner::default()
            };
            Push::Overflow
        } else {
            inner.bytes = bytes;
            inner.queue.push_back(frame.clone());
            Push::Queued
        };
        drop(inner);
        self.waker.wake();
        outcome
    }

    /// Asks the session to close after what is queued. False if the connection is closing already.
    pub fn ask_close(&self, request: CloseRequest) -> bool {
        let mut inner = self.lock();
        if !matches!(inner.close, Close::No) {
            return false;
        }
        inner.close = Close::Asked(request);
        drop(inner);
        self.waker.wake();
        true
    }

    /// The session ends the connection for a reason of its own: nothing is queued or asked for any more.
    /// False if a close was asked for before.
    pub fn finish(&self) -> bool {
        let mut inner = self.lock();
        let first = matches!(inner.close, Close::No);
        *inner = Inner {
            close: Close::Taken,
            ..Inner::default()
        };
        first
    }

    /// Why the connection is to end, once that was asked for and before [`Outbox::next`] has handed it out.
    pub fn asked_close(&self) -> Option<&'static str> {
        match &self.lock().close {
            Close::Asked(request) => Some(request.why()),
            Close::No | Close::Taken => None,
        }
    }

    /// Takes what has to be written next.
    pub fn next(&self) -> Next {
        let mut inner = self.lock();
        if let Some(frame) = inner.queue.pop_front() {
            inner.bytes -= frame.len() + FRAME_OVERHEAD_BYTES;
            return Next::Frame(frame);
        }
        if inner.queue.capacity() > KEPT_CAPACITY {
            inner.queue = VecDeque::new();
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

    /// Who is woken by the next push or close; call it before [`Outbox::next`].
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(len: usize, tag: u8) -> Bytes {
        Bytes::from(vec![tag; len])
    }

    fn moved() -> CloseRequest {
        CloseRequest::Moved {
            code: 1012,
            reason: "shed;retry=1".into(),
        }
    }

    #[test]
    fn a_close_comes_after_what_was_queued_and_once() {
        let outbox = Outbox::new(1000);
        assert_eq!(outbox.push(&frame(1, 7)), Push::Queued);
        assert!(outbox.ask_close(moved()));
        assert!(!outbox.ask_close(moved()), "the second is refused");
        assert_eq!(outbox.push(&frame(1, 8)), Push::Closed);
        assert_eq!(outbox.next(), Next::Frame(frame(1, 7)));
        assert_eq!(outbox.next(), Next::Close(moved()));
        assert_eq!(outbox.next(), Next::Idle);
        assert!(!outbox.ask_close(moved()));
    }

    #[test]
    fn a_slow_client_loses_its_queue_and_is_closed() {
        let outbox = Outbox::new(2 * FRAME_OVERHEAD_BYTES + 10);
        assert_eq!(outbox.push(&frame(5, 1)), Push::Queued);
        assert_eq!(outbox.push(&frame(5, 2)), Push::Queued);
        assert_eq!(outbox.push(&frame(0, 3)), Push::Overflow);
        assert_eq!(outbox.next(), Next::Close(CloseRequest::Slow));
        assert_eq!(outbox.next(), Next::Idle);
    }

    #[test]
    fn finish_ends_everything() {
        let outbox = Outbox::new(1000);
        outbox.push(&frame(1, 1));
        assert!(outbox.finish());
        assert!(!outbox.finish() && !outbox.ask_close(moved()));
        assert_eq!(
            (outbox.next(), outbox.push(&frame(1, 2))),
            (Next::Idle, Push::Closed)
        );
    }

    proptest! {
        #[test]
        fn never_beyond_its_bound_and_in_order(
            limit in 64_usize..4096,
            steps in prop::collection::vec(prop::option::of(0_usize..600), 1..200),
        ) {
            let outbox = Outbox::new(limit);
            let mut model = VecDeque::new();
            for (index, step) in steps.into_iter().enumerate() {
                let tag = u8::try_from(index % 251).expect("small");
                let pushed = step.map(|len| (len, outbox.push(&frame(len, tag))));
                match pushed {
                    None => prop_assert_eq!(outbox.next(), model.pop_front().map_or(Next::Idle, Next::Frame)),
                    Some((len, Push::Queued)) => model.push_back(frame(len, tag)),
                    Some((_, Push::Overflow)) => {
                        prop_assert_eq!(outbox.next(), Next::Close(CloseRequest::Slow));
                        return Ok(());
                    }
                    Some((_, Push::Closed)) => prop_assert!(false, "nobody closed it"),
                }
                let held = outbox.lock().queue.iter().map(|frame| frame.len() + FRAME_OVERHEAD_BYTES).sum::<usize>();
                prop_assert!(held <= limit);
                prop_assert_eq!(held, outbox.lock().bytes);
            }
        }
    }
}
