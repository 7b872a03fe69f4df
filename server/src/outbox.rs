//! The messages that wait for one client: bounded by bytes, shared by whoever delivers and the one session that writes.
//!
//! Invariants: the queue never holds more than the limit; after a close was asked for nothing is queued any more; the
//! first close that is asked for is the one that happens.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures::task::AtomicWaker;

use crate::protocol::Message;

/// What a queued message costs on top of its payload, in bytes; bounds floods of empty messages too.
pub const MESSAGE_OVERHEAD_BYTES: usize = 64;
/// A queue that had to grow beyond this many messages gives its memory back when it is empty.
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
}

impl CloseRequest {
    /// The word for it in the metrics.
    pub fn why(&self) -> &'static str {
        match self {
            Self::Moved { .. } => "moved",
            Self::Slow => "slow",
        }
    }
}

/// What the session has to write next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A message.
    Message(Message),
    /// The last thing to write: everything that was queued before it has been handed out.
    Close(CloseRequest),
    /// Nothing now; the registered waker is called when that changes.
    Idle,
}

/// What became of a pushed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It waits for the client.
    Queued,
    /// It did not fit: the queue was dropped and the client will be closed as slow.
    Overflow,
    /// The connection is closing; the message is not for it.
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
    queue: VecDeque<Message>,
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

    /// Queues a message, or gives the client up as slow.
    pub fn push(&self, message: &Message) -> Push {
        let mut inner = self.lock();
        if !matches!(inner.close, Close::No) {
            return Push::Closed;
        }
        let bytes = inner.bytes + message.payload.len() + MESSAGE_OVERHEAD_BYTES;
        let outcome = if bytes > self.limit_bytes {
            *inner = Inner {
                close: Close::Asked(CloseRequest::Slow),
                ..Inner::default()
            };
            Push::Overflow
        } else {
            inner.bytes = bytes;
            inner.queue.push_back(message.clone());
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
        if let Some(message) = inner.queue.pop_front() {
            inner.bytes -= message.payload.len() + MESSAGE_OVERHEAD_BYTES;
            return Next::Message(message);
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
    use crate::protocol::Opcode;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn message(len: usize, tag: u8) -> Message {
        Message {
            opcode: Opcode::Binary,
            payload: Bytes::from(vec![tag; len]),
        }
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
        assert_eq!(outbox.push(&message(1, 7)), Push::Queued);
        assert!(outbox.ask_close(moved()));
        assert!(!outbox.ask_close(moved()), "the second is refused");
        assert_eq!(outbox.push(&message(1, 8)), Push::Closed);
        assert_eq!(outbox.next(), Next::Message(message(1, 7)));
        assert_eq!(outbox.next(), Next::Close(moved()));
        assert_eq!(outbox.next(), Next::Idle);
        assert!(!outbox.ask_close(moved()));
    }

    #[test]
    fn a_slow_client_loses_its_queue_and_is_closed() {
        let outbox = Outbox::new(2 * MESSAGE_OVERHEAD_BYTES + 10);
        assert_eq!(outbox.push(&message(5, 1)), Push::Queued);
        assert_eq!(outbox.push(&message(5, 2)), Push::Queued);
        assert_eq!(outbox.push(&message(0, 3)), Push::Overflow);
        assert_eq!(outbox.next(), Next::Close(CloseRequest::Slow));
        assert_eq!(outbox.next(), Next::Idle);
    }

    #[test]
    fn finish_ends_everything() {
        let outbox = Outbox::new(1000);
        outbox.push(&message(1, 1));
        assert!(outbox.finish());
        assert!(!outbox.finish() && !outbox.ask_close(moved()));
        assert_eq!(
            (outbox.next(), outbox.push(&message(1, 2))),
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
                let pushed = step.map(|len| (len, outbox.push(&message(len, tag))));
                match pushed {
                    None => prop_assert_eq!(outbox.next(), model.pop_front().map_or(Next::Idle, Next::Message)),
                    Some((len, Push::Queued)) => model.push_back(message(len, tag)),
                    Some((_, Push::Overflow)) => {
                        prop_assert_eq!(outbox.next(), Next::Close(CloseRequest::Slow));
                        return Ok(());
                    }
                    Some((_, Push::Closed)) => prop_assert!(false, "nobody closed it"),
                }
                let held = outbox.lock().queue.iter().map(|m| m.payload.len() + MESSAGE_OVERHEAD_BYTES).sum::<usize>();
                prop_assert!(held <= limit);
                prop_assert_eq!(held, outbox.lock().bytes);
            }
        }
    }
}
