//! Closes are paced: thousands of clients are asked to reconnect evenly over half a minute, each
//! with its hint, and none is reset. Raw sockets in one thread, not `wsc_testing::clients`: a task
//! per client would blur the times of 9,000 closes.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::Method;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::process::Signal;
use serde_json::json;
use wsc_testing::client::Refused;
use wsc_testing::epoll::wait;
use wsc_testing::frames;

use crate::memory::sockets;
use crate::{SOON, alone};

const CLIENTS: usize = 9_000;
/// The time for all of them, and the rate that it takes.
const SECONDS: u32 = 30;
const RATE: u32 = 300;
/// No second has more closes than this many fifths of the mean.
const MOST_FIFTHS: usize = 6;
/// The default of `--close-jitter-seconds`.
const JITTER_MS: u64 = 30_000;
/// For the last goodbye, on a machine that is busy.
const DEADLINE: Duration = Duration::from_mins(2);

const PING: [u8; 2] = [0x89, 0];
const CLOSE: u8 = 0x88;

/// Clients in one thread that mostly sleeps, so that it sees a close when it comes, and without
/// buffers, since they are many.
struct Crowd {
    epoll: OwnedFd,
    clients: Vec<Client>,
}

struct Client {
    /// None after the end.
    socket: Option<TcpStream>,
    unread: Vec<u8>,
    close: Option<Close>,
}

/// A close frame of the server.
#[derive(Debug, Clone)]
struct Close {
    at: Instant,
    code: u16,
    reason: String,
}

impl Crowd {
    fn connect(port: u16) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let clients = (0..CLIENTS).map(|index| {
            let socket = frames::connect(port, "/ws/paced").unwrap();
            socket.set_nonblocking(true).unwrap();
            epoll::add(&epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN).unwrap();
            Client {
                socket: Some(socket),
                unread: Vec::new(),
                close: None,
            }
        });
        let clients = clients.collect();
        Self { epoll, clients }
    }

    /// Answers until all have ended well; the closes in the order of their arrival.
    fn watch(mut self) -> Vec<Close> {
        let (deadline, mut open) = (Instant::now() + DEADLINE, CLIENTS);
        let mut events = Vec::with_capacity(1024);
        while open > 0 {
            assert!(Instant::now() < deadline, "{open} clients were not closed");
            wait(&self.epoll, &mut events, Some(Duration::from_secs(1))).unwrap();
            for event in &events {
                let client = &mut self.clients[usize::try_from(event.data.u64()).unwrap()];
                if client.hear() {
                    // Closing is not enough: a process that another test starts has it too, for an
                    // instant.
                    let socket = client.socket.take().unwrap();
                    epoll::delete(&self.epoll, &socket).unwrap();
                    open -= 1;
                }
            }
        }
        let mut closes: Vec<Close> = self
            .clients
            .into_iter()
            .filter_map(|client| client.close)
            .collect();
        closes.sort_by_key(|close| close.at);
        closes
    }
}

impl Client {
    /// Whether it has ended.
    fn hear(&mut self) -> bool {
        let socket = self.socket.as_mut().unwrap();
        let mut bytes = [0; 256];
        match socket.read(&mut bytes) {
            Ok(0) => {
                assert!(self.close.is_some(), "the end without a close");
                return true;
            }
            Ok(read) => self.unread.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error} after {:?}", self.close),
        }
        while let [first, length, rest @ ..] = &self.unread[..] {
            let Some(payload) = rest.get(..usize::from(*length)) else {
                break;
            };
            if [*first, *length] == PING {
                socket.write_all(&frames::PONG).unwrap();
            } else {
                assert_eq!(
                    (*first, &self.close.as_ref().map(|close| close.code)),
                    (CLOSE, &None)
                );
                let (code, reason) = payload.split_first_chunk().unwrap();
                self.close = Some(Close {
                    at: Instant::now(),
                    code: u16::from_be_bytes(*code),
                    reason: String::from_utf8(reason.to_vec()).unwrap(),
                });
                socket
                    .write_all(&[&[CLOSE, 0x82, 0, 0, 0, 0], &code[..]].concat())
                    .unwrap();
            }
            let taken = 2 + payload.len();
            self.unread.drain(..taken);
        }
        false
    }
}

async fn crowd(port: u16) -> Crowd {
    tokio::task::spawn_blocking(move || Crowd::connect(port))
        .await
        .unwrap()
}

async fn watch(crowd: Crowd) -> Vec<Close> {
    tokio::task::spawn_blocking(|| crowd.watch()).await.unwrap()
}

/// Each with its code and its hint, and no second with many more than the others.
fn check(closes: &[Close], word: &str) {
    assert_eq!(closes.len(), CLIENTS);
    let mut hints = 0;
    for close in closes {
        let hint = close
            .reason
            .strip_prefix(word)
            .and_then(|rest| rest.strip_prefix(";retry="));
        let hint: u64 = hint.and_then(|ms| ms.parse().ok()).unwrap_or(u64::MAX);
        assert!(close.code == 1012 && hint <= JITTER_MS, "{close:?}");
        hints += hint;
    }
    let mean = hints / CLIENTS as u64;
    assert!(
        (JITTER_MS / 5 * 2..=JITTER_MS / 5 * 3).contains(&mean),
        "the mean hint is {mean} ms"
    );
    let first = closes[0].at;
    let mut seconds = Vec::new();
    for close in closes {
        let second = usize::try_from((close.at - first).as_secs()).unwrap();
        seconds.resize(seconds.len().max(second + 1), 0);
        seconds[second] += 1;
    }
    let took = (closes[CLIENTS - 1].at - first).as_millis();
    assert!(took > u128::from(SECONDS) * 950, "{took} ms: {seconds:?}");
    let most = *seconds.iter().max().unwrap();
    // CLIENTS over the time is the mean.
    let mean = CLIENTS * 1000 / usize::try_from(took).unwrap();
    assert!(
        most * 5 <= mean * MOST_FIFTHS,
        "{most} in one second, {mean} on average: {seconds:?}"
    );
}

#[tokio::test]
async fn sigterm_spreads_nine_thousand_closes_evenly() {
    let _sockets = sockets(CLIENTS).await;
    let mut server = alone(&[("WSC_DRAIN_SECONDS", &SECONDS.to_string())]).await;
    let crowd = crowd(server.port()).await;
    server.signal(Signal::TERM).unwrap();
    let closes = watch(crowd).await;
    check(&closes, "drain");
    assert!(server.wait_exit(SOON).await.unwrap().success());
}

#[tokio::test]
async fn shed_closes_nine_thousand_at_its_rate() {
    let _sockets = sockets(CLIENTS).await;
    let server = alone(&[("WSC_MAX_SHEDS_PER_SECOND", &RATE.to_string())]).await;
    let crowd = crowd(server.port()).await;
    let answer = server.ask(Method::PUT, "/cordon", "").await.unwrap();
    let stats = answer.json().unwrap();
    assert_eq!(
        (&stats["cordoned"], &stats["connections"]),
        (&true.into(), &CLIENTS.into())
    );
    // Faster than the server allows.
    let body = json!({"boot_id": stats["boot_id"], "total": CLIENTS, "per_second": RATE * 10});
    let answer = server.ask(Method::PUT, "/shed", &body.to_string()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let refused = server.connect("/ws").await.expect_err("cordoned");
    assert!(
        matches!(&refused, Refused::Status { status, .. } if *status == 503),
        "{refused}"
    );
    let closes = watch(crowd).await;
    check(&closes, "shed");
    let stats = server.wait_connections(0, SOON).await.unwrap();
    assert_eq!(
        (
            &stats["shed_total"],
            &stats["closed_total"],
            &stats["accepted_total"]
        ),
        (&CLIENTS.into(), &CLIENTS.into(), &CLIENTS.into())
    );
    server.ask(Method::DELETE, "/cordon", "").await.unwrap();
    server.connect("/ws").await.unwrap();
}
