//! The frames that wait for one client: bounded by bytes, shared by whoever delivers and the one session that writes.
//!
//! While nothing waits, here or in the session, who delivers writes to the client's socket at once and wakes nobody. Both do so on the
//! one thread of the client's shard, so that no frame comes into the middle of another one.
//!
//! Invariants: the queue never holds more than the limit; after a close was asked for nothing is queued any more; the
//! first close that is asked for is the one that happens. All queues together are charged to one [`Budget`].

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use futures::task::AtomicWaker;

use crate::frame::Violation;

/// What a queued frame costs on top of its bytes; bounds floods of empty messages too.
pub const FRAME_OVERHEAD_BYTES: usize = 64;

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
pub struct Budget {
    limit_bytes: usize,
    used: AtomicUsize,
}

impl Budget {
    /// Nothing is used of it.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            used: AtomicUsize::new(0),
        }
    }

    /// Bytes in all queues, overhead included.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many bytes have to go so that a tenth is free again; 0 while the limit is kept.
    pub fn excess(&self) -> usize {
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
pub trait Direct: std::fmt::Debug + Send + Sync {
    /// Writes what goes in now.
    ///
    /// # Errors
    /// `WouldBlock` for nothing at all; otherwise the client is gone.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// The queue of one client.
#[derive(Debug)]
pub struct Outbox {
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
    /// An empty queue that holds at most `limit_bytes`, overhead included, and is charged to the budget.
    pub fn new(limit_bytes: usize, budget: Arc<Budget>) -> Self {
        Self {
            limit_bytes,
            budget,
            inner: Mutex::default(),
            direct: OnceLock::new(),
            waker: AtomicWaker::new(),
        }
    }

    /// From now on frames are written to this socket while nothing waits.
    pub fn connect(&self, socket: Arc<dyn Direct>) {
        // A client has one socket.
        let _ = self.direct.set(socket);
    }

    /// The session has frames that are not written yet, or has none any more.
    pub fn hold(&self, held: bool) {
        self.lock().held = held;
    }

    /// Writes whole frames or queues them, or gives the client up as slow. Only on the thread of the client's session.
    pub fn push(&self, frame: &Bytes) -> Push {
        let mut inner = self.lock();
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

    /// Gives the client up as slow, because all queues together are too long. False if it is closing already.
    pub fn give_up(&self) -> bool {
        let mut inner = self.lock();
        if !matches!(inner.close, Close::No) {
            return false;
        }
        self.replace(&mut inner, Close::Asked(CloseRequest::Slow));
        drop(inner);
        self.waker.wake();
        true
    }

    /// Bytes in the queue, overhead included.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
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

    /// What comes before everything else: the end of what was begun; and why the connection is to end, once that was asked for and
    /// before [`Outbox::next`] has handed it out.
    pub fn urgent(&self) -> (Option<Bytes>, Option<&'static str>) {
        let mut inner = self.lock();
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
    pub fn next(&self) -> Next {
        let mut inner = self.lock();
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
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Who is woken by the next push or close; call it before [`Outbox::next`].
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.budget.charge(bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Outbox {
        /// Why the connection is to end.
        pub fn asked_close(&self) -> Option<&'static str> {
            self.urgent().1
        }

        fn frames(&self) -> Vec<Bytes> {
            let inner = self.lock();
            inner.first.iter().chain(&inner.rest).cloned().collect()
        }
    }

    fn outbox(limit_bytes: usize) -> Outbox {
        Outbox::new(limit_bytes, Arc::new(Budget::new(usize::MAX)))
    }

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
        let outbox = outbox(1000);
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
        let outbox = outbox(2 * FRAME_OVERHEAD_BYTES + 10);
        assert_eq!(outbox.push(&frame(5, 1)), Push::Queued);
        assert_eq!(outbox.push(&frame(5, 2)), Push::Queued);
        assert_eq!(outbox.push(&frame(0, 3)), Push::Overflow);
        assert_eq!(outbox.next(), Next::Close(CloseRequest::Slow));
        assert_eq!(outbox.next(), Next::Idle);
    }

    #[test]
    fn finish_ends_everything() {
        let outbox = outbox(1000);
        outbox.push(&frame(1, 1));
        assert!(outbox.finish());
        assert!(!outbox.finish() && !outbox.ask_close(moved()));
        assert_eq!(
            (outbox.next(), outbox.push(&frame(1, 2))),
            (Next::Idle, Push::Closed)
        );
    }

    #[test]
    fn whatever_becomes_of_a_queue_its_bytes_are_given_back() {
        let budget = Arc::new(Budget::new(1000));
        let new = || Outbox::new(1000, Arc::clone(&budget));
        let boxes: Vec<_> = (0..5).map(|_| new()).collect();
        for outbox in &boxes {
            outbox.push(&frame(300 - FRAME_OVERHEAD_BYTES, 0));
        }
        assert_eq!((budget.used(), budget.excess()), (1500, 600));
        assert!(matches!(boxes[0].next(), Next::Frame(_)));
        boxes[1].finish();
        assert!(boxes[2].give_up() && !boxes[2].give_up());
        assert_eq!(boxes[2].next(), Next::Close(CloseRequest::Slow));
        assert_eq!(boxes[3].push(&frame(1000, 0)), Push::Overflow);
        assert_eq!((budget.used(), budget.excess()), (300, 0));
        drop(boxes);
        assert_eq!(budget.used(), 0);
    }

    /// A socket that takes so many bytes at each try, and nothing after that.
    #[derive(Debug, Default)]
    struct Socket {
        room: Mutex<VecDeque<usize>>,
        bytes: Mutex<Vec<u8>>,
    }

    impl Direct for Socket {
        fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.room.lock().expect("room").pop_front().unwrap_or(0);
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = &bytes[..room.min(bytes.len())];
            self.bytes.lock().expect("bytes").extend_from_slice(taken);
            Ok(taken.len())
        }
    }

    fn connected(limit_bytes: usize, room: &[usize]) -> (Outbox, Arc<Socket>) {
        let outbox = outbox(limit_bytes);
        let socket = Arc::<Socket>::default();
        socket.room.lock().expect("room").extend(room);
        outbox.connect(Arc::clone(&socket) as Arc<dyn Direct>);
        (outbox, socket)
    }

    #[test]
    fn a_frame_is_written_at_once_while_nothing_waits() {
        let (outbox, socket) = connected(1000, &[5, 5, 0, 5]);
        assert_eq!(outbox.push(&frame(5, 1)), Push::Written);
        outbox.hold(true);
        assert_eq!(
            outbox.push(&frame(5, 2)),
            Push::Queued,
            "the session has something"
        );
        outbox.hold(false);
        assert_eq!(outbox.push(&frame(5, 3)), Push::Queued, "something waits here");
        assert_eq!(outbox.next(), Next::Frame(frame(5, 2)));
        assert_eq!(outbox.next(), Next::Frame(frame(5, 3)));
        assert_eq!(outbox.push(&frame(5, 4)), Push::Written);
        assert_eq!(outbox.push(&frame(5, 5)), Push::Queued, "nothing goes in");
        outbox.ask_close(moved());
        assert_eq!(outbox.push(&frame(5, 6)), Push::Closed);
        assert_eq!(*socket.bytes.lock().expect("bytes"), [[1; 5], [4; 5]].concat());
    }

    #[test]
    fn what_was_begun_comes_to_its_end_even_if_the_client_is_given_up() {
        for give_up in [true, false] {
            let (outbox, socket) = connected(2 * FRAME_OVERHEAD_BYTES + 10, &[2]);
            assert_eq!(outbox.push(&frame(5, 1)), Push::Queued);
            assert_eq!(outbox.push(&frame(5, 2)), Push::Queued);
            if give_up {
                assert!(outbox.give_up());
            } else {
                assert_eq!(outbox.push(&frame(5, 3)), Push::Overflow);
            }
            assert_eq!(outbox.bytes(), FRAME_OVERHEAD_BYTES + 3);
            assert_eq!(outbox.urgent(), (Some(frame(3, 1)), Some("slow")));
            assert_eq!(outbox.urgent(), (None, Some("slow")));
            assert_eq!(
                (outbox.next(), outbox.bytes()),
                (Next::Close(CloseRequest::Slow), 0)
            );
            assert_eq!(*socket.bytes.lock().expect("bytes"), [1; 2]);
        }
    }

    proptest! {
        /// A session that takes over whenever it is its turn, and who delivers, write every byte once and in order.
        #[test]
        fn two_who_write_make_one_stream(
            steps in prop::collection::vec((1_usize..200, 0_usize..300, any::<bool>()), 1..100),
        ) {
            let (outbox, socket) = connected(1 << 20, &[]);
            let mut expected = Vec::new();
            for (index, (length, room, session)) in steps.into_iter().enumerate() {
                let tag = u8::try_from(index % 251).expect("small");
                socket.room.lock().expect("room").push_back(room);
                outbox.push(&frame(length, tag));
                expected.extend_from_slice(&frame(length, tag));
                socket.room.lock().expect("room").clear();
                if session {
                    let begun = outbox.urgent().0;
                    let rest = std::iter::from_fn(|| match outbox.next() {
                        Next::Frame(frame) => Some(frame),
                        _ => None,
                    });
                    for frame in begun.into_iter().chain(rest) {
                        socket.bytes.lock().expect("bytes").extend_from_slice(&frame);
                    }
                    prop_assert_eq!(&*socket.bytes.lock().expect("bytes"), &expected);
                }
            }
            let written = socket.bytes.lock().expect("bytes").clone();
            prop_assert!(expected.starts_with(&written));
            let waiting = outbox.frames().iter().map(Bytes::len).sum::<usize>();
            prop_assert_eq!(written.len() + waiting, expected.len());
        }

        #[test]
        fn never_beyond_its_bound_and_in_order(
            limit in 64_usize..4096,
            steps in prop::collection::vec(prop::option::of(0_usize..600), 1..200),
        ) {
            let outbox = outbox(limit);
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
                    Some((_, Push::Written | Push::Closed)) => prop_assert!(false, "it has no socket, and nobody closed it"),
                }
                let held = outbox.frames().iter().map(|frame| frame.len() + FRAME_OVERHEAD_BYTES).sum::<usize>();
                prop_assert!(held <= limit);
                prop_assert_eq!((held, held), (outbox.bytes(), outbox.budget.used()));
            }
        }
    }
}
