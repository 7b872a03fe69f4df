//! What all clients of a pool write into together.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use wsc_contract::close::CloseCode;

use super::record::{ClientRecord, Close, ClosedBy, Connection, Message, Record};
use crate::client::{Client, EndKind, Ended};

/// Ends that are described one by one.
const MOST_DESCRIBED: usize = 100;

/// The record while it is written.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    /// Distinguishes the messages of this pool from those of others.
    name: String,
    cookie_name: String,
    publishing: AtomicBool,
    next_message: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clients: Vec<Tracked>,
    messages: Vec<Message>,
    refused: u64,
    last_refusal: Option<String>,
}

#[derive(Debug, Default)]
struct Tracked {
    in_room: bool,
    steady: bool,
    connections: Vec<TrackedConnection>,
    left: Option<Instant>,
}

#[derive(Debug)]
struct TrackedConnection {
    client: Arc<Client>,
    /// The cookie that the client holds: the one that the handshake set, or else the one that it
    /// sent.
    cookie: Option<String>,
    /// When the client began to close.
    closing: Option<Instant>,
}

/// A client reconnected with its cookie after a close of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// The cookie that it sent.
    pub held: String,
    /// The cookie of the pod that it reached.
    pub landed: String,
}

/// The numbers of all clients at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Open connections.
    pub open: usize,
    /// Messages sent.
    pub sent: usize,
    /// Messages received, by all clients together.
    pub received: u64,
    /// Closes with the request to reconnect.
    pub asked: u64,
    /// Other closes by the server, and broken connections.
    pub unasked: u64,
    /// Handshakes that were answered with an error, or not at all; the client tried again.
    pub refused: u64,
    /// The last of these answers.
    pub last_refusal: Option<String>,
}

impl Recorder {
    /// An empty one for the pool of this name. Times in it are since `began`.
    pub fn new(began: Instant, name: &str, cookie_name: &str) -> Self {
        Self {
            began,
            name: name.to_owned(),
            cookie_name: cookie_name.to_owned(),
            publishing: AtomicBool::new(true),
            next_message: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// From now on no client publishes.
    pub fn stop_publishing(&self) {
        self.publishing.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_publishing(&self) -> bool {
        self.publishing.load(Ordering::Relaxed)
    }

    /// Since the record began.
    pub fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began)
    }

    /// The numbers so far.
    pub fn totals(&self) -> Totals {
        let state = self.state();
        let mut totals = Totals {
            sent: state.messages.len(),
            refused: state.refused,
            last_refusal: state.last_refusal.clone(),
            ..Totals::default()
        };
        for connection in state.clients.iter().flat_map(|client| &client.connections) {
            totals.received += connection.client.received();
            match connection.ended().map(|(_, by)| by) {
                None => totals.open += 1,
                Some(ClosedBy::Client) => {}
                Some(ClosedBy::Move) => totals.asked += 1,
                Some(ClosedBy::Server { .. }) => totals.unasked += 1,
            }
        }
        totals
    }

    /// The record until now, also of open connections.
    pub fn record(&self) -> Record {
        let state = self.state();
        let clients = state.clients.iter().map(|client| ClientRecord {
            in_room: client.in_room,
            steady: client.steady,
            connections: client
                .connections
                .iter()
                .map(|connection| self.connection(connection))
                .collect(),
            left: client.left.map(|at| self.since(at)),
        });
        Record {
            clients: clients.collect(),
            messages: state.messages.clone(),
            until: self.since(Instant::now()),
        }
    }

    /// Totals, ends by the server and gaps, for the reader of a failed run.
    pub fn describe(&self) -> String {
        let mut text = format!("== clients of {}\n{:?}\n", self.name, self.totals());
        let record = self.record();
        let ends = record.clients.iter().enumerate().flat_map(|(index, client)| {
            let connections = client.connections.iter();
            connections
                .filter_map(move |connection| Some((index, connection.opened, connection.close.as_ref()?)))
        });
        for (index, opened, close) in ends
            .filter(|(_, _, close)| close.by != ClosedBy::Client)
            .take(MOST_DESCRIBED)
        {
            let (opened, begun, by) = (opened.as_secs_f64(), close.begun.as_secs_f64(), &close.by);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "client {index}: connected at {opened:.3} s, closed at {begun:.3} s: {by:?}"
            );
        }
        let gap = record
            .clients
            .iter()
            .map(ClientRecord::longest_gap)
            .max()
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "longest time without a connection: {:.3} s",
            gap.as_secs_f64()
        );
        text
    }

    /// A new client; the answer is its place.
    pub(super) fn register(&self, in_room: bool, steady: bool) -> usize {
        let mut state = self.state();
        state.clients.push(Tracked {
            in_room,
            steady,
            ..Tracked::default()
        });
        state.clients.len() - 1
    }

    /// A client is connected.
    pub(super) fn opened(&self, index: usize, client: Client) -> Arc<Client> {
        let client = Arc::new(client);
        let prefix = format!("{}=", self.cookie_name);
        let cookies = client.opened().cookies();
        let set = cookies.iter().find_map(|cookie| cookie.strip_prefix(&prefix));
        let held = self.cookie(index);
        self.state().clients[index].connections.push(TrackedConnection {
            client: Arc::clone(&client),
            cookie: set.map(str::to_owned).or(held),
            closing: None,
        });
        client
    }

    /// A client begins to close its newest connection; the answer is when.
    pub(super) fn closing(&self, index: usize) -> Instant {
        let now = Instant::now();
        if let Some(connection) = self.state().clients[index].connections.last_mut() {
            connection.closing = Some(now);
        }
        now
    }

    /// A client closed for the last time.
    pub(super) fn left(&self, index: usize, at: Instant) {
        self.state().clients[index].left = Some(at);
    }

    /// A handshake failed.
    pub(super) fn refused(&self, why: &dyn std::error::Error) {
        let mut state = self.state();
        state.refused += 1;
        state.last_refusal = Some(why.to_string());
    }

    /// The newest connection of a client, open or over.
    pub(super) fn newest(&self, index: usize) -> Option<Arc<Client>> {
        let state = self.state();
        let newest = state.clients[index].connections.last()?;
        Some(Arc::clone(&newest.client))
    }

    /// The value of the cookie that a client holds.
    pub(super) fn cookie(&self, index: usize) -> Option<String> {
        self.state().clients[index].connections.last()?.cookie.clone()
    }

    /// The same as a header has it.
    pub(super) fn cookie_header(&self, index: usize) -> Option<String> {
        self.cookie(index)
            .map(|value| format!("{}={value}", self.cookie_name))
    }

    /// Connected clients that hold this cookie.
    pub fn holders(&self, cookie: &str) -> Vec<usize> {
        let state = self.state();
        let newest = state.clients.iter().map(|client| client.connections.last());
        let holders = newest.enumerate().filter(|(_, newest)| {
            newest.is_some_and(|newest| newest.cookie.as_deref() == Some(cookie) && newest.ended().is_none())
        });
        holders.map(|(index, _)| index).collect()
    }

    /// The reconnects after an own close so far.
    pub fn landings(&self) -> Vec<Landing> {
        let state = self.state();
        let pairs = state
            .clients
            .iter()
            .flat_map(|client| client.connections.windows(2));
        let landings = pairs
            .filter(|pair| pair[0].closing.is_some())
            .map(|pair| Landing {
                held: pair[0].cookie.clone().unwrap_or_default(),
                landed: pair[1].cookie.clone().unwrap_or_default(),
            });
        landings.collect()
    }

    /// When a connection first reached the pod with this cookie.
    pub fn first_landed(&self, cookie: &str) -> Option<Instant> {
        let state = self.state();
        let connections = state.clients.iter().flat_map(|client| &client.connections);
        let landed = connections.filter(|connection| connection.cookie.as_deref() == Some(cookie));
        landed.map(|connection| connection.client.opened().at).min()
    }

    /// Sends the next message on the newest connection of a client; the answer is its number. The
    /// record has no message that could not be sent because the connection was over.
    pub(super) async fn publish(&self, index: usize, client: &Client) -> Option<u64> {
        let id = self.next_message.fetch_add(1, Ordering::Relaxed);
        let at = client.send_text(self.text(id, index)).await.ok()?;
        let mut state = self.state();
        let connection = state.clients[index].connections.len().saturating_sub(1);
        state.messages.push(Message {
            id,
            client: index,
            connection,
            sent: self.since(at),
        });
        Some(id)
    }

    fn text(&self, id: u64, client: usize) -> String {
        format!("{id} from client {client} of {}", self.name)
    }

    /// The number of a text of this pool.
    fn number(&self, payload: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(payload).ok()?;
        let (id, rest) = text.split_once(" from client ")?;
        let (_, name) = rest.split_once(" of ")?;
        (name == self.name).then_some(())?;
        id.parse().ok()
    }

    /// How often a connection received a message.
    pub(super) fn deliveries(&self, client: &Client, id: u64) -> usize {
        client.with_frames(|frames| {
            frames
                .iter()
                .filter(|frame| self.number(&frame.payload) == Some(id))
                .count()
        })
    }

    fn connection(&self, tracked: &TrackedConnection) -> Connection {
        let (delivered, foreign) = tracked.client.with_frames(|frames| {
            let numbers = frames.iter().map(|frame| self.number(&frame.payload));
            let (own, foreign): (Vec<_>, Vec<_>) = numbers.partition(Option::is_some);
            (own.into_iter().flatten().collect(), foreign.len() as u64)
        });
        Connection {
            opened: self.since(tracked.client.opened().at),
            close: tracked.ended().map(|(at, by)| Close {
                begun: self.since(at),
                by,
            }),
            delivered,
            foreign,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl TrackedConnection {
    /// When and by which side it was closed.
    fn ended(&self) -> Option<(Instant, ClosedBy)> {
        match (self.client.ended(), self.closing) {
            (Some(ended), closing) => {
                Some((closing.map_or(ended.at, |at| at.min(ended.at)), closed_by(ended)))
            }
            (None, closing) => closing.map(|at| (at, ClosedBy::Client)),
        }
    }
}

/// A close of the client that crossed the server's request to reconnect was requested as well.
fn closed_by(ended: Ended) -> ClosedBy {
    let restart = ended.code == Some(CloseCode::SERVICE_RESTART.get());
    match ended.kind {
        EndKind::Asked => ClosedBy::Move,
        EndKind::Own if restart => ClosedBy::Move,
        EndKind::Own => ClosedBy::Client,
        EndKind::Unasked => ClosedBy::Server {
            code: ended.code,
            reason: ended.reason,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(kind: EndKind, code: Option<u16>) -> ClosedBy {
        closed_by(Ended {
            at: Instant::now(),
            kind,
            code,
            reason: String::new(),
        })
    }

    #[test]
    fn only_texts_of_the_pool_have_numbers() {
        let recorder = Recorder::new(Instant::now(), "chat", "wsc");
        assert_eq!(recorder.number(recorder.text(17, 3).as_bytes()), Some(17));
        for other in [
            "",
            "17",
            "17 from client 3",
            "17 from client 3 of game",
            "x from client 3 of chat",
            "-1 from client 3 of chat",
        ] {
            assert_eq!(recorder.number(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn close_crossing_a_request_is_requested() {
        assert_eq!(by(EndKind::Own, Some(1000)), ClosedBy::Client);
        assert_eq!(by(EndKind::Own, None), ClosedBy::Client);
        assert_eq!(by(EndKind::Own, Some(1012)), ClosedBy::Move);
        assert_eq!(by(EndKind::Asked, Some(1012)), ClosedBy::Move);
        for code in [Some(1001), Some(1012), None] {
            assert!(matches!(by(EndKind::Unasked, code), ClosedBy::Server { code: c, .. } if c == code));
        }
    }
}
