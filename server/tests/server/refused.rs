//! Handshakes that get no WebSocket, straight to the server and through HAProxy with the
//! configuration that we ship: the status that the client gets, which program counts it, and that
//! no other client is affected.

pub(crate) mod cases;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wsc_contract::agent::ServerState;
use wsc_haproxy::Server as Backend;
use wsc_testing::client::{Client, Options};
use wsc_testing::cluster::eventually;
use wsc_testing::haproxy::{PodOptions, ProxyPod};
use wsc_testing::server::Server;

use self::cases::{Case, GOOD, Gets, HTTP2, MOST_HEADERS, cases, good, many_headers, version_8};
use crate::frames::{FIN, TEXT, frame};
use crate::{SOON, alone};

/// The server and HAProxy wait so long for a head.
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// The status that comes back, 0 if the connection just ends.
pub(crate) async fn status(port: u16, request: &[u8]) -> u16 {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    // Who refuses early may not read to the end.
    let _ = stream.write_all(request).await;
    status_of(&mut stream).await
}

async fn status_of(stream: &mut TcpStream) -> u16 {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match timeout(SOON, stream.read_u8())
            .await
            .expect("an answer or the end")
        {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

/// How many handshakes the server counts for each reason.
async fn counted(server: &Server) -> BTreeMap<String, u64> {
    let page = server.control("/metrics").await.unwrap().body;
    let lines = page.lines().filter_map(|line| {
        line.strip_prefix("wsc_server_refused_total{reason=\"")?
            .split_once("\"} ")
    });
    lines
        .map(|(reason, count)| (reason.to_owned(), count.parse().unwrap()))
        .collect()
}

/// The same, as soon as it is this, or as it stays: a connection is counted as broken when its
/// answer is out.
async fn count_of(server: &Server, expected: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let same = || async { Ok((counted(server).await == *expected).then_some(())) };
    // Who is not counted is found by the comparison.
    let _ = eventually(Duration::from_secs(2), "a count", same).await;
    counted(server).await
}

/// Files that the server has open: sockets, above all.
pub(crate) fn files(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .count()
}

/// Somebody who is connected all the time, and what has to hold for it.
struct Neighbour<'a> {
    server: &'a Server,
    client: Client,
    said: u64,
    files: usize,
}

impl<'a> Neighbour<'a> {
    async fn connect(server: &'a Server, port: u16) -> Self {
        let url = format!("ws://127.0.0.1:{port}/ws/refused");
        let client = Client::connect(&Options::new(url)).await.unwrap();
        server.wait_connections(1, SOON).await.unwrap();
        let files = files(server);
        Self {
            server,
            client,
            said: 0,
            files,
        }
    }

    /// Nothing has come to it but what it says, and it is alone again.
    async fn check(&mut self, what: &str) {
        self.client.send_text("well").await.unwrap();
        self.said += 1;
        assert!(
            self.client.wait_received(self.said, SOON).await,
            "{what}: {:?}",
            self.client.ended()
        );
        assert!(self.client.texts().iter().all(|text| text == "well"), "{what}");
        self.server.wait_connections(1, SOON).await.expect(what);
    }

    /// The server has given back what the others had.
    async fn check_files(&self) {
        let back = || async { Ok((files(self.server) <= self.files).then_some(())) };
        eventually(SOON, "files closed", back).await.unwrap();
    }

    /// Sends the requests one after the other; what was not as it should be is told together.
    async fn play(&mut self, port: u16, gets: fn(&Case) -> Gets) {
        let mut wrong = Vec::new();
        for case in cases() {
            let mut expected = counted(self.server).await;
            let (wanted, reason) = gets(&case);
            let got = status(port, &case.request).await;
            if let Some(reason) = reason {
                *expected.get_mut(reason).unwrap() += 1;
            }
            let counted = count_of(self.server, &expected).await;
            // Where no reason counts, the request did not come as far as that.
            if (got, &counted) != (wanted, &expected) {
                wrong.push(format!("{}: {got} and not {wanted}, {counted:?}", case.what));
            }
            self.check(case.what).await;
        }
        for (what, request) in good() {
            let got = status(port, request.as_bytes()).await;
            if got != 101 {
                wrong.push(format!("{what}: {got}"));
            }
            self.check(what).await;
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Who is refused has nothing to say, also in the same packet.
    async fn smuggle(&mut self, port: u16) {
        let request = [version_8().as_bytes(), &frame(FIN | TEXT, b"smuggled")].concat();
        assert_eq!(status(port, &request).await, 426);
        self.check("frames behind a bad handshake").await;
    }
}

/// The server in a pod, and HAProxy before it.
async fn behind_haproxy() -> (Server, ProxyPod) {
    let server = alone(&[("POD_NAME", "chat-0"), ("WSC_SHARDS", "1")]).await;
    let backend = Backend {
        name: "chat-0".to_owned(),
        address: Ipv4Addr::LOCALHOST.into(),
        port: server.port(),
        cookie: "c0".to_owned(),
        state: ServerState::Ready,
    };
    let pod = ProxyPod::start(PodOptions::default(), &[backend]).await.unwrap();
    (server, pod)
}

/// Answers with a 4xx that HAProxy gave to clients: its own and those of servers.
async fn refusals(pod: &ProxyPod) -> usize {
    let csv = pod.runtime("show stat").await.unwrap();
    let (names, rows) = csv.split_once('\n').unwrap();
    let column = names.split(',').position(|name| name == "hrsp_4xx").unwrap();
    let frontend = rows.lines().find(|row| row.starts_with("ws,FRONTEND,")).unwrap();
    frontend.split(',').nth(column).unwrap().parse().unwrap()
}

#[tokio::test]
async fn bad_handshake_status_counts_once() {
    let server = alone(&[]).await;
    let mut neighbour = Neighbour::connect(&server, server.port()).await;
    neighbour.play(server.port(), |case| case.direct).await;
    // The HTTP library knows what this is, and hangs up.
    let http = "wsc_server_refused_total{reason=\"http\"}";
    let before = server.metric(http).await.unwrap();
    assert_eq!(status(server.port(), HTTP2).await, 0, "HTTP/2");
    server.wait_metric(http, before + 1, SOON).await.unwrap();
    neighbour.check("HTTP/2").await;
    assert_eq!(
        status(server.port(), many_headers(MOST_HEADERS).as_bytes()).await,
        101
    );
    neighbour.check("64 headers").await;
    neighbour.smuggle(server.port()).await;
    neighbour.check_files().await;
}

#[tokio::test]
async fn bad_handshakes_get_the_same_through_haproxy() {
    let (server, pod) = behind_haproxy().await;
    let mut neighbour = Neighbour::connect(&server, pod.port()).await;
    neighbour.play(pod.port(), |case| case.proxied).await;
    let wanted = cases().len();
    let counted = || async { Ok((refusals(&pod).await == wanted).then_some(())) };
    eventually(SOON, "HAProxy counts each", counted).await.unwrap();
    neighbour.smuggle(pod.port()).await;
    neighbour.check_files().await;
}

/// HAProxy speaks it with a client that begins with it, and HTTP/1.1 with the server, which says
/// what it wants.
#[tokio::test]
async fn http2_through_haproxy_is_told_to_upgrade() {
    let (server, pod) = behind_haproxy().await;
    let mut neighbour = Neighbour::connect(&server, pod.port()).await;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, pod.port()))
        .await
        .unwrap();
    stream.write_all(HTTP2).await.unwrap();
    let mut back = Vec::new();
    while !back.windows(3).any(|bytes| bytes == b"426") {
        let read = timeout(SOON, stream.read_buf(&mut back))
            .await
            .expect("an answer")
            .unwrap();
        assert!(read > 0, "{}", back.escape_ascii());
    }
    assert_eq!(back[3], 4, "first of all, SETTINGS: {}", back.escape_ascii());
    assert_eq!(counted(&server).await["upgrade_required"], 1);
    neighbour.check("HTTP/2").await;
}

#[tokio::test]
async fn frames_after_handshake_pass_haproxy() {
    let (_server, pod) = behind_haproxy().await;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, pod.port()))
        .await
        .unwrap();
    stream
        .write_all(&[GOOD.as_bytes(), &frame(FIN | TEXT, b"early")].concat())
        .await
        .unwrap();
    assert_eq!(status_of(&mut stream).await, 101);
    let mut back = [0; 7];
    timeout(SOON, stream.read_exact(&mut back))
        .await
        .expect("an echo")
        .unwrap();
    assert_eq!(&back, b"\x81\x05early");
}

/// A byte now and then is no progress: what counts is the end of the head.
async fn trickle(port: u16) -> (u16, Duration) {
    let began = Instant::now();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let (mut read, mut write) = stream.split();
    let drip = async {
        for byte in GOOD.bytes() {
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let mut back = [0; 12];
    let answer = async {
        match read.read_exact(&mut back).await {
            Ok(_) => String::from_utf8_lossy(&back[9..]).parse().unwrap(),
            Err(_) => 0,
        }
    };
    // The drops would fall for a minute and more.
    let status = tokio::select! {
        status = answer => status,
        () = drip => u16::MAX,
    };
    (status, began.elapsed())
}

/// So many at once.
const SLOW: u64 = 20;

async fn slow_heads(server: &Server, port: u16, status: u16) {
    let mut neighbour = Neighbour::connect(server, port).await;
    let all = join_all((0..SLOW).map(|_| trickle(port))).await;
    for (got, took) in all {
        assert_eq!(got, status, "after {took:?}");
        assert!(took >= HEADER_WAIT / 10 * 9, "{took:?}");
    }
    neighbour.check("slow heads").await;
    neighbour.check_files().await;
}

#[tokio::test]
async fn heads_that_trickle_are_cut_off() {
    let server = alone(&[]).await;
    slow_heads(&server, server.port(), 0).await;
    let http = "wsc_server_refused_total{reason=\"http\"}";
    assert_eq!(server.wait_metric(http, SLOW, SOON).await.unwrap(), SLOW);
}

#[tokio::test]
async fn trickling_heads_stop_at_haproxy() {
    let (server, pod) = behind_haproxy().await;
    slow_heads(&server, pod.port(), 408).await;
}
