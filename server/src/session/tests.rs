//! Sessions on sockets that are not there, on a clock that is not real.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Sink, Stream};
use parking_lot::Mutex;
use wsc_contract::close::{Cause, CloseCode, Reason};

use super::*;
use crate::args::Args;
use crate::handshake::target::parse_target;
use crate::hub::shard::{self, SENDS_PER_TURN};
use crate::listener::Arrival;
use crate::outbox::Push;
use crate::server::Server;

/// What a socket does, seen and steered from outside.
#[derive(Debug, Default)]
struct Wire {
    incoming: VecDeque<Incoming>,
    /// Goes on when `incoming` is empty.
    flood: bool,
    stuck: bool,
    sent: Vec<Outgoing>,
}

struct Fake(Arc<Mutex<Wire>>);

impl Fake {
    fn ready(&self) -> Poll<Result<(), SocketError>> {
        if self.0.lock().stuck {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream for Fake {
    type Item = Result<Incoming, SocketError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut wire = self.0.lock();
        match wire.incoming.pop_front() {
            Some(incoming) => Poll::Ready(Some(Ok(incoming))),
            None if wire.flood => Poll::Ready(Some(Ok(Incoming::Pong))),
            None => Poll::Pending,
        }
    }
}

impl Sink<Outgoing> for Fake {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.ready()
    }

    fn start_send(self: Pin<&mut Self>, frame: Outgoing) -> Result<(), SocketError> {
        self.0.lock().sent.push(frame);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.ready()
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.ready()
    }
}

/// With one shard, whose wheel turns.
fn server() -> Arc<Server> {
    let args = ["wsc-server", "--broker", "memory", "--shards", "1"].map(Into::into);
    let server = Server::new(Args::read(args).expect("args").config().expect("config"));
    let turning = Arc::clone(&server);
    tokio::spawn(async move { turning.wheel(0).turn(|_| ()).await });
    server
}

fn join(server: &Arc<Server>) -> Connection {
    let slot = server.admission.capacity.reserve().expect("a slot");
    let target = parse_target("/ws", "/ws", None).expect("target");
    Connection::join(server, slot, target, None, Arrival::default())
}

/// Runs a session to its end; what happened, and how long that took.
async fn run_to_end(wire: &Arc<Mutex<Wire>>, server: &Arc<Server>, connection: Connection) -> Duration {
    let since = Instant::now();
    run(Fake(Arc::clone(wire)), connection).await;
    assert_eq!(
        (
            server.admission.capacity.taken(),
            server.drain.closed(),
            server.hub.len()
        ),
        (0, 1, 0)
    );
    since.elapsed()
}

fn close(code: u16, reason: &str) -> Outgoing {
    let reason = reason.to_owned();
    Outgoing::Close { code, reason }
}

fn size(outgoing: &Outgoing) -> usize {
    match outgoing {
        Outgoing::Frame(frame) => frame.len(),
        Outgoing::Ping | Outgoing::Close { .. } => 0,
    }
}

fn moved() -> CloseRequest {
    CloseRequest::Reconnect {
        code: CloseCode::SERVICE_RESTART,
        reason: Reason {
            cause: Cause::Shed,
            retry_milliseconds: 7,
        },
    }
}

#[tokio::test(start_paused = true)]
async fn silent_client_is_pinged_closed_then_dropped() {
    let (server, wire) = (server(), Arc::default());
    let connection = join(&server);
    let took = run_to_end(&wire, &server, connection).await;
    assert_eq!(took.as_secs(), 25 + 10 + 2);
    assert_eq!(wire.lock().sent, [Outgoing::Ping, close(1001, "no pong")]);
    assert_eq!(server.metrics.closed("heartbeat").get(), 1);
}

#[tokio::test(start_paused = true)]
async fn move_follows_queue_and_awaits_close() {
    let (server, wire) = (server(), Arc::<Mutex<Wire>>::default());
    let connection = join(&server);
    let frame = Bytes::from_static(b"last words");
    assert_eq!(connection.outbox.push(&frame), Push::Queued);
    connection.outbox.ask_close(moved());
    let took = run_to_end(&wire, &server, connection).await;
    assert!(
        (CLOSE_WAIT..=CLOSE_WAIT + TICK).contains(&took),
        "nobody answered: {took:?}"
    );
    assert_eq!(
        wire.lock().sent,
        [Outgoing::Frame(frame), close(1012, "shed;retry=7")]
    );
    assert_eq!(server.metrics.closed("reconnect").get(), 1);
}

#[tokio::test(start_paused = true)]
async fn answered_close_ends_at_once() {
    let (server, wire) = (server(), Arc::<Mutex<Wire>>::default());
    wire.lock().incoming.push_back(Incoming::Close);
    let connection = join(&server);
    assert_eq!(run_to_end(&wire, &server, connection).await, Duration::ZERO);
    assert_eq!(wire.lock().sent, [], "the socket answers by itself");
    assert_eq!(server.metrics.closed("client").get(), 1);
}

#[tokio::test(start_paused = true)]
async fn blocked_socket_ends_after_two_seconds() {
    for (request, why) in [(moved(), "reconnect"), (CloseRequest::Slow, "slow")] {
        let (server, wire) = (server(), Arc::<Mutex<Wire>>::default());
        wire.lock().stuck = true;
        let connection = join(&server);
        connection.outbox.ask_close(request);
        let took = run_to_end(&wire, &server, connection).await;
        assert!((CLOSE_WAIT..=CLOSE_WAIT + TICK).contains(&took), "{took:?}");
        assert_eq!((wire.lock().sent.len(), server.metrics.closed(why).get()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn one_poll_does_bounded_work() {
    for (bytes, header, per_poll) in [
        (0, 2, READS_PER_POLL),
        (BYTES_PER_POLL / 4, 4, 4),
        (BYTES_PER_POLL, 10, 1),
    ] {
        let (server, wire) = (server(), Arc::<Mutex<Wire>>::default());
        let message = Message::binary(vec![0; bytes].into());
        let (own, other) = (join(&server), join(&server));
        {
            let mut wire = wire.lock();
            wire.incoming = (0..100).map(|_| Incoming::Message(message.clone())).collect();
        }
        let session = run(Fake(Arc::clone(&wire)), own);
        let mut session = std::pin::pin!(session);
        assert!(futures::poll!(session.as_mut()).is_pending());
        assert_eq!(server.metrics.received.get(), per_poll as u64, "{bytes} bytes");
        // They come back by the broker, small ones joined.
        while server.hub.shard(0).turn(SENDS_PER_TURN, Instant::now()).next == shard::Next::Now {}
        assert!(futures::poll!(session.as_mut()).is_pending());
        let sent: usize = wire.lock().sent.iter().map(size).sum();
        assert_eq!(sent, per_poll * (bytes + header), "{bytes} bytes");
        drop(other);
    }
}

#[tokio::test(start_paused = true)]
async fn flood_does_not_delay_a_close() {
    let (server, wire) = (server(), Arc::<Mutex<Wire>>::default());
    wire.lock().flood = true;
    let connection = join(&server);
    connection.outbox.ask_close(moved());
    let session = run(Fake(Arc::clone(&wire)), connection);
    let mut session = std::pin::pin!(session);
    assert!(futures::poll!(session.as_mut()).is_pending());
    assert_eq!(wire.lock().sent, [close(1012, "shed;retry=7")]);
}
