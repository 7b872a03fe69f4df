//! What all clients of the demo write into together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::checker::MOVED;
use super::record::{self, Close, Connection, How, Message};
use wsc_testing::client::{Client, EndKind, Ended};

/// The record while it is written, and the numbers of the live screen.
#[derive(Debug)]
pub struct Book {
    began: Instant,
    cookie_name: String,
    talking: AtomicBool,
    next_message: AtomicU64,
    sent: AtomicU64,
    refused: AtomicU64,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    clients: Vec<record::Client>,
    messages: Vec<Message>,
    open: BTreeMap<usize, Arc<Client>>,
    /// The cookie that each client holds.
    cookies: BTreeMap<usize, String>,
    /// When a connection first landed on the pod with this cookie.
    first_landed: BTreeMap<String, Instant>,
    landings: Vec<Landing>,
    /// Messages received on connections that are over.
    received: u64,
    asked: u64,
    unasked: u64,
    last_refusal: Option<String>,
}

/// A client came back with a cookie on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// The cookie that it showed.
    pub held: String,
    /// The cookie of the pod that it came to.
    pub landed: String,
}

/// The clients at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// Open connections.
    pub open: usize,
    /// Messages sent.
    pub sent: u64,
    /// Messages received, by all clients together.
    pub received: u64,
    /// Closes with the code that asks to move.
    pub asked: u64,
    /// Other closes by the server, and broken connections.
    pub unasked: u64,
    /// Handshakes that were answered with an error, or not at all; the client tried again.
    pub refused: u64,
    /// What the last of these was told.
    pub last_refusal: Option<String>,
}

impl Book {
    /// An empty one. Times in it are since `began`.
    pub fn new(began: Instant, cookie_name: &str) -> Self {
        Self {
            began,
            cookie_name: cookie_name.to_owned(),
            talking: AtomicBool::new(true),
            next_message: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            pages: Mutex::default(),
        }
    }

    /// May clients publish?
    pub fn is_talking(&self) -> bool {
        self.talking.load(Ordering::Relaxed)
    }

    /// From now on nobody publishes.
    pub fn hush(&self) {
        self.talking.store(false, Ordering::Relaxed);
    }

    /// The numbers so far.
    pub fn glance(&self) -> Glance {
        let pages = self.pages();
        Glance {
            open: pages.open.len(),
            sent: self.sent.load(Ordering::Relaxed),
            received: pages.received + pages.open.values().map(|client| client.received()).sum::<u64>(),
            asked: pages.asked,
            unasked: pages.unasked,
            refused: self.refused.load(Ordering::Relaxed),
            last_refusal: pages.last_refusal.clone(),
        }
    }

    /// Since the demo began.
    pub fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began)
    }

    /// A new client; the answer is its place.
    pub fn register(&self, in_room: bool, steady: bool) -> usize {
        let mut pages = self.pages();
        pages.clients.push(record::Client {
            in_room,
            steady,
            ..record::Client::default()
        });
        pages.clients.len() - 1
    }

    /// A client is connected. Its cookie is the one that it was given, or else the one that it holds.
    pub fn opened(&self, index: usize, client: Client) -> Arc<Client> {
        let (opened, client) = (self.since(client.opened().at), Arc::new(client));
        let prefix = format!("{}=", self.cookie_name);
        let mut given = client.opened().cookies().into_iter();
        let given = given.find_map(|cookie| cookie.strip_prefix(&prefix).map(str::to_owned));
        let mut pages = self.pages();
        if let Some(cookie) = given {
            pages.cookies.insert(index, cookie);
        }
        if let Some(cookie) = pages.cookies.get(&index).cloned() {
            pages.first_landed.entry(cookie).or_insert(client.opened().at);
        }
        pages.clients[index].connections.push(Connection {
            opened,
            ..Connection::default()
        });
        pages.open.insert(index, Arc::clone(&client));
        client
    }

    /// A connection is over.
    pub fn ended(&self, index: usize, client: &Client, begun: Instant, how: How) {
        let (delivered, garbled) = client.with_frames(|frames| {
            let numbers = frames.iter().map(|frame| number(&frame.payload));
            let (good, bad): (Vec<_>, Vec<_>) = numbers.partition(Option::is_some);
            (good.into_iter().flatten().collect(), bad.len() as u64)
        });
        let close = Close {
            begun: self.since(begun),
            how,
        };
        let mut pages = self.pages();
        match &close.how {
            How::Own => {}
            How::Server {
                code: Some(MOVED), ..
            } => pages.asked += 1,
            How::Server { .. } => pages.unasked += 1,
        }
        pages.open.remove(&index);
        pages.received += client.received();
        if let Some(connection) = pages.clients[index].connections.last_mut() {
            connection.close = Some(close);
            connection.delivered = delivered;
            connection.garbled = garbled;
        }
    }

    /// A client is gone for good.
    pub fn left(&self, index: usize, at: Instant) {
        let at = self.since(at);
        self.pages().clients[index].left = Some(at);
    }

    /// A handshake failed.
    pub fn refused(&self, why: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.pages().last_refusal = Some(why);
    }

    /// The cookie that a client holds, as a header has it.
    pub fn cookie(&self, index: usize) -> Option<String> {
        let pages = self.pages();
        pages
            .cookies
            .get(&index)
            .map(|value| format!("{}={value}", self.cookie_name))
    }

    /// Open clients that hold this cookie.
    pub fn holders(&self, cookie: &str) -> Vec<usize> {
        let pages = self.pages();
        let holders = pages
            .cookies
            .iter()
            .filter(|(index, held)| *held == cookie && pages.open.contains_key(index));
        holders.map(|(index, _)| *index).collect()
    }

    /// A client came back with the cookie `held`.
    pub fn landed(&self, index: usize, held: &str) {
        let mut pages = self.pages();
        let held = held
            .trim_start_matches(&format!("{}=", self.cookie_name))
            .to_owned();
        let landed = pages.cookies.get(&index).cloned().unwrap_or_default();
        pages.landings.push(Landing { held, landed });
    }

    /// Who came back so far.
    pub fn landings(&self) -> Vec<Landing> {
        self.pages().landings.clone()
    }

    /// When a connection first landed on the pod with this cookie.
    pub fn first_landed(&self, cookie: &str) -> Option<Instant> {
        self.pages().first_landed.get(cookie).copied()
    }

    /// The number of the next message.
    pub fn next_message(&self) -> u64 {
        self.next_message.fetch_add(1, Ordering::Relaxed)
    }

    /// A message went out on the newest connection of its client.
    pub fn sent(&self, id: u64, client: usize, at: Instant) {
        let sent = self.since(at);
        let mut pages = self.pages();
        let connection = pages.clients[client].connections.len().saturating_sub(1);
        pages.messages.push(Message {
            id,
            client,
            connection,
            sent,
        });
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// The record of all clients and messages.
    pub fn close(&self) -> (Vec<record::Client>, Vec<Message>) {
        let pages = self.pages();
        (pages.clients.clone(), pages.messages.clone())
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By whose will a connection ended. A goodbye that crossed the server's request to move was asked for as well.
pub fn how(ended: &Ended) -> How {
    if ended.kind == EndKind::Own && ended.code != Some(MOVED) {
        return How::Own;
    }
    How::Server {
        code: ended.code,
        reason: ended.reason.clone(),
    }
}

/// What a client says to the room.
pub fn text(id: u64, client: usize) -> String {
    format!("{id} hello from client {client}")
}

/// The number of such a text.
fn number(payload: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(payload).ok()?;
    let (id, rest) = text.split_once(' ')?;
    rest.starts_with("hello from client ").then_some(())?;
    id.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(kind: EndKind, code: Option<u16>) -> Ended {
        Ended {
            at: Instant::now(),
            kind,
            code,
            reason: String::new(),
        }
    }

    #[test]
    fn a_text_says_its_number_and_nothing_else_does() {
        assert_eq!(number(text(17, 3).as_bytes()), Some(17));
        for other in [
            "",
            "17",
            "17 hello",
            "x hello from client 3",
            "-1 hello from client 3",
        ] {
            assert_eq!(number(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn an_own_goodbye_is_own_unless_the_server_asked_at_the_same_moment() {
        assert_eq!(how(&ended(EndKind::Own, Some(1000))), How::Own);
        assert_eq!(how(&ended(EndKind::Own, None)), How::Own);
        let by_server =
            |kind, code| matches!(how(&ended(kind, code)), How::Server { code: c, .. } if c == code);
        assert!(by_server(EndKind::Own, Some(1012)));
        assert!(by_server(EndKind::Asked, Some(1012)));
        assert!(by_server(EndKind::Unasked, Some(1001)));
        assert!(by_server(EndKind::Unasked, None));
    }

    #[test]
    fn the_book_hands_out_places_and_numbers_and_keeps_both() {
        let book = Book::new(Instant::now(), "wsc");
        assert_eq!((book.register(true, true), book.register(false, false)), (0, 1));
        assert_eq!((book.next_message(), book.next_message()), (0, 1));
        book.sent(1, 0, Instant::now());
        book.left(1, Instant::now());
        book.refused("503".to_owned());
        let (clients, messages) = book.close();
        assert!(clients[0].steady && clients[0].left.is_none() && clients[1].left.is_some());
        assert_eq!((messages.len(), messages[0].id, messages[0].client), (1, 1, 0));
        let glance = book.glance();
        assert_eq!(
            (glance.sent, glance.refused, glance.last_refusal.as_deref()),
            (1, 1, Some("503"))
        );
    }
}
