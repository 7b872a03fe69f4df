//! One client from its upgrade to its end, on any stream and sink of frames.
//!
//! One task, polled by hand: it reads, writes, pings and closes, and each poll does a bounded
//! amount of each.

pub(crate) mod connection;
pub(crate) mod tcp;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;
use wsc_contract::close::NO_PONG;

use self::connection::Connection;
use crate::broker::publisher::Reservation;
use crate::lifecycle::wheel::TICK;
use crate::outbox::{CloseRequest, Next};
use crate::protocol::{Message, envelope};
use crate::websocket::Violation;
use crate::websocket::socket::{Incoming, Outgoing, Socket, SocketError};

/// From the request to close to the hard end: for what is queued, the close frame and the client's
/// answer.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// The most frames that one poll reads, so that one client cannot hold a shard.
const READS_PER_POLL: usize = 16;
/// The most that it writes: what has piled up goes out together.
const WRITES_PER_POLL: usize = 64;
/// The same for large messages: after this many bytes of payload the session yields.
const BYTES_PER_POLL: usize = 64 << 10;

/// The connection until its end: a future by itself and not an `async fn`, which would hold its
/// arguments twice.
pub(crate) fn run<S: Socket>(socket: S, mut connection: Connection) -> Session<S> {
    connection.open();
    let now = Instant::now();
    let deadline = now + connection.server.config.limits.heartbeat;
    Session {
        socket,
        woken: connection.wake_at(deadline),
        connection,
        deadline,
        last_heard: now,
        pinged: None,
        ping_due: false,
        unflushed: false,
        held: false,
        input: Input::Open,
        pending: None,
        closing: None,
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Session<S> {
    socket: S,
    connection: Connection,
    /// When the next timeout is due, and when the timing wheel wakes the session for it.
    deadline: Instant,
    woken: Instant,
    last_heard: Instant,
    pinged: Option<Instant>,
    ping_due: bool,
    unflushed: bool,
    /// Whether the outbox knows that something is unflushed.
    held: bool,
    input: Input,
    // Both are rare, so they are not in every session.
    pending: Option<Box<Pending>>,
    closing: Option<Box<Closing>>,
}

/// What may come from the client.
#[derive(Debug)]
enum Input {
    /// Anything; after a violation was reported, only the end.
    Open,
    /// Nothing until the close for this is on its way.
    Broken(Violation),
    /// Nothing: it has sent a close frame.
    Ended,
}

/// A message that waits for room in the publish queue; the client is not read meanwhile.
struct Pending {
    message: Message,
    room: Pin<Box<dyn Future<Output = Option<Reservation>> + Send>>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Closing {
    why: &'static str,
    frame: Option<(u16, String)>,
    sent: bool,
    answered: bool,
    /// The client's answer could not be understood: after our close nothing is written, which the
    /// client sees.
    last_words: bool,
}

/// Ready with the reason of the end, a label of the metrics.
type Ended = Poll<&'static str>;

impl<S: Socket> Future for Session<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let session = self.get_mut();
        let ended = ready!(session.step(cx));
        session.connection.server.metrics.closed(ended).inc();
        Poll::Ready(())
    }
}

impl<S: Socket> Session<S> {
    fn step(&mut self, cx: &mut Context<'_>) -> Ended {
        let now = Instant::now();
        self.connection.outbox.register(cx.waker());
        let (begun, asked) = self.connection.outbox.urgent();
        if let Some(frame) = begun {
            self.unflushed = true;
            if Pin::new(&mut self.socket)
                .start_send(Outgoing::Frame(frame))
                .is_err()
            {
                return Poll::Ready(self.why("lost"));
            }
        }
        if let Some(why) = asked {
            // Its frame comes out of the outbox, after what is queued there.
            self.begin_close(why, None);
        }
        if let Input::Broken(violation) = self.input {
            self.input = Input::Open;
            self.close_for(violation);
        }
        if let Poll::Ready(ended) = self.poll_read(cx, now) {
            return Poll::Ready(ended);
        }
        if let Poll::Ready(ended) = self.check_time(now) {
            return Poll::Ready(ended);
        }
        let ended = self.poll_write(cx);
        if self.held != self.unflushed {
            self.held = self.unflushed;
            self.connection.outbox.hold(self.held);
        }
        if self.woken <= now || self.deadline + TICK < self.woken {
            self.woken = self.connection.wake_at(self.deadline);
        }
        ended
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Ended {
        let (mut frames, mut bytes) = (0, 0);
        while frames < READS_PER_POLL && bytes < BYTES_PER_POLL {
            if !self.poll_pending(cx) || matches!(self.input, Input::Ended) {
                return Poll::Pending;
            }
            let incoming = match ready!(self.socket.poll_next_unpin(cx)) {
                Some(Ok(incoming)) => incoming,
                Some(Err(SocketError::Lost)) | None => return Poll::Ready(self.why("lost")),
                Some(Err(SocketError::Violation(violation))) => {
                    // What came before may be on its way back by now: the walker has its turn
                    // first.
                    self.input = Input::Broken(violation);
                    break;
                }
            };
            self.last_heard = now;
            self.connection.server.metrics.frames_received.inc();
            self.pinged = None;
            frames += 1;
            match incoming {
                Incoming::Message(message) => {
                    bytes += message.payload.len();
                    self.receive(message);
                }
                Incoming::Ping => self.unflushed = true,
                Incoming::Pong => {}
                Incoming::Close => self.receive_close(),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The close comes after what is queued.
    fn close_for(&mut self, violation: Violation) {
        let request = CloseRequest::Violation(violation);
        let why = request.why();
        self.connection.outbox.ask_close(request);
        self.begin_close(why, None);
        if let Some(closing) = &mut self.closing {
            closing.last_words = true;
        }
    }

    /// A close after ours is the answer; otherwise the socket answers it by itself and only the
    /// flush is left.
    fn receive_close(&mut self) {
        self.input = Input::Ended;
        self.begin_close("client", None);
        self.connection.finish();
        self.unflushed = true;
        if let Some(closing) = &mut self.closing {
            closing.sent = true;
            closing.answered = true;
        }
    }

    fn receive(&mut self, message: Message) {
        let server = &self.connection.server;
        server.metrics.received.inc();
        server.metrics.received_bytes.inc_by(message.payload.len() as u64);
        if let Some(reservation) = server.broker.try_reserve(message.payload.len()) {
            self.publish(reservation, &message);
        } else {
            let room = Box::pin(server.broker.reserve(message.payload.len()));
            self.pending = Some(Box::new(Pending { message, room }));
        }
    }

    /// Whether the next frame may be read.
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(pending) = &mut self.pending else {
            return true;
        };
        let Poll::Ready(reservation) = pending.room.as_mut().poll(cx) else {
            return false;
        };
        if let Some(pending) = self.pending.take() {
            match reservation {
                Some(reservation) => self.publish(reservation, &pending.message),
                None => {
                    self.connection.server.metrics.dropped("queue_full").inc();
                }
            }
        }
        true
    }

    fn publish(&self, reservation: Reservation, message: &Message) {
        let envelope = envelope::encode(self.connection.sender(), message.opcode, &message.payload);
        self.connection
            .server
            .broker
            .publish(reservation, self.connection.room(), envelope);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Ended {
        let (mut frames, mut bytes) = (0, 0);
        while frames < WRITES_PER_POLL && bytes < BYTES_PER_POLL {
            if self.closing.as_ref().is_some_and(|c| c.sent) {
                return self.poll_flushed(cx);
            }
            if ready!(Pin::new(&mut self.socket).poll_ready(cx)).is_err() {
                return Poll::Ready(self.why("lost"));
            }
            let Some(frame) = self.next_frame() else {
                return self.poll_flushed(cx);
            };
            if let (Outgoing::Close { .. }, Some(closing)) = (&frame, &mut self.closing) {
                closing.sent = true;
            }
            frames += 1;
            if let Outgoing::Frame(frame) = &frame {
                bytes += frame.len();
            }
            self.unflushed = true;
            if Pin::new(&mut self.socket).start_send(frame).is_err() {
                return Poll::Ready(self.why("lost"));
            }
        }
        cx.waker().wake_by_ref();
        self.poll_flushed(cx)
    }

    fn next_frame(&mut self) -> Option<Outgoing> {
        if let Some((code, reason)) = self.closing.as_mut().and_then(|c| c.frame.take()) {
            return Some(Outgoing::Close { code, reason });
        }
        if std::mem::take(&mut self.ping_due) {
            return Some(Outgoing::Ping);
        }
        match self.connection.outbox.next() {
            Next::Frame(frame) => Some(Outgoing::Frame(frame)),
            Next::Idle => None,
            Next::Close(request) => {
                self.begin_close(request.why(), None);
                let (code, reason) = request.into_parts();
                Some(Outgoing::Close { code, reason })
            }
        }
    }

    /// Flushes; after both closes are through, or ours is and nothing can be read, the connection
    /// is over.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Ended {
        if self.unflushed {
            match ready!(Pin::new(&mut self.socket).poll_flush(cx)) {
                Ok(()) => self.unflushed = false,
                Err(_) => return Poll::Ready(self.why("lost")),
            }
        }
        match &self.closing {
            Some(closing) if closing.answered => Poll::Ready(closing.why),
            Some(closing) if closing.sent && closing.last_words => {
                // The end is the client's, or the timer's.
                let _ = Pin::new(&mut self.socket).poll_close(cx);
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    }

    fn check_time(&mut self, now: Instant) -> Ended {
        while now >= self.deadline {
            if self.closing.is_some() {
                return Poll::Ready(self.why("lost"));
            }
            let limits = self.connection.server.config.limits;
            self.deadline = match self.pinged {
                Some(at) if now >= at + limits.pong_wait => {
                    self.begin_close("heartbeat", Some((NO_PONG.code, NO_PONG.reason.to_owned())));
                    continue;
                }
                Some(at) => at + limits.pong_wait,
                None if now >= self.last_heard + limits.heartbeat => {
                    self.pinged = Some(now);
                    self.ping_due = true;
                    now + limits.pong_wait
                }
                None => self.last_heard + limits.heartbeat,
            };
        }
        Poll::Pending
    }

    /// The first reason is the one that counts. With a frame the outbound queue is no longer used.
    fn begin_close(&mut self, why: &'static str, frame: Option<(u16, String)>) {
        if self.closing.is_some() {
            return;
        }
        if frame.is_some() {
            self.connection.finish();
        }
        self.closing = Some(Box::new(Closing {
            why,
            frame,
            sent: false,
            answered: false,
            last_words: false,
        }));
        self.deadline = Instant::now() + CLOSE_WAIT;
    }

    fn why(&self, otherwise: &'static str) -> &'static str {
        self.closing.as_ref().map_or(otherwise, |c| c.why)
    }
}

#[cfg(test)]
mod tests;
