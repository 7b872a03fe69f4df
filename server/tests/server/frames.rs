//! Frames that no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wsc_testing::server::Server;

use crate::{SOON, alone, connect};

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// The bit of a message's last frame.
pub(crate) const FIN: u8 = 0x80;
/// The bit of a frame with a mask, beside its length.
const MASKED: u8 = 0x80;

const HANDSHAKE: &str = "GET /ws/raw HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A frame as a client sends it; the mask is zero, so the payload is as it is.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match u16::try_from(payload.len()) {
        Ok(len) if len < 126 => out.push(MASKED | u8::try_from(len).unwrap()),
        Ok(len) => {
            out.push(MASKED | 0x7e);
            out.extend(len.to_be_bytes());
        }
        Err(_) => {
            out.push(MASKED | 0x7f);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(payload);
    out
}

/// A client that knows no rules.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn connect(server: &Server) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        stream.write_all(HANDSHAKE.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        // The answer to the key of RFC 6455's own example.
        assert!(
            head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{head}"
        );
        Self(stream)
    }

    /// For what is not frames.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.0
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // The server may have closed in the middle of it.
        let _ = self.0.write_all(bytes).await;
    }

    /// First byte and payload of the next frame; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let first = self.0.read_u8().await?;
            let len = match self.0.read_u8().await? {
                126 => self.0.read_u16().await?.into(),
                127 => self.0.read_u64().await?,
                len => len.into(),
            };
            let mut payload = vec![0; usize::try_from(len).unwrap()];
            self.0.read_exact(&mut payload).await?;
            std::io::Result::Ok((first, payload))
        };
        timeout(SOON, read).await.expect("a frame or the end").ok()
    }

    /// The code of the close frame that comes next; `None` if the stream just ends.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        while let Some((first, payload)) = self.next().await {
            if first == FIN | CLOSE {
                return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
        None
    }
}

/// The limit of messages that some of [`broken`] are over.
pub(crate) const SMALL: (&str, &str) = ("WSC_MAX_MESSAGE_BYTES", "1000");

/// What is sent, and the code that comes for it.
pub(crate) fn broken() -> [(&'static str, u16, Vec<u8>); 23] {
    let unmasked = vec![FIN | TEXT, 2, b'h', b'i'];
    let endless = [
        &[FIN | BINARY, MASKED | 0x7f][..],
        &(1_u64 << 62).to_be_bytes(),
        &[0; 4],
    ]
    .concat();
    let fragments = [frame(BINARY, &[7; 600]), frame(FIN, &[7; 600])].concat();
    let cut_text = [frame(TEXT, "ä".as_bytes().split_at(1).0), frame(FIN, b"x")].concat();
    let code = |code: u16, reason: &[u8]| frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason].concat());
    let long_form = [&[FIN | TEXT, MASKED | 0x7e, 0, 1, 0, 0, 0, 0][..], b"x"].concat();
    let negative = [&[FIN | BINARY, MASKED | 0x7f][..], &(1_u64 << 63).to_be_bytes()].concat();
    [
        ("unmasked", 1002, unmasked),
        ("first reserved bit", 1002, frame(FIN | 0x40 | TEXT, b"x")),
        ("second reserved bit", 1002, frame(FIN | 0x20 | TEXT, b"x")),
        ("third reserved bit", 1002, frame(FIN | 0x10 | TEXT, b"x")),
        ("reserved opcode", 1002, frame(FIN | 0x3, b"x")),
        ("reserved control opcode", 1002, frame(FIN | 0xb, b"x")),
        ("fragmented ping", 1002, frame(PING, b"x")),
        ("long ping", 1002, frame(FIN | PING, &[0; 126])),
        ("continuation of nothing", 1002, frame(FIN, b"x")),
        (
            "message within a message",
            1002,
            [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat(),
        ),
        ("text that is not utf-8", 1007, frame(FIN | TEXT, &[0xff, 0xfe])),
        ("text that ends in the middle of a letter", 1007, cut_text),
        ("a frame over the limit", 1009, frame(FIN | TEXT, &[b'x'; 1001])),
        ("fragments over the limit together", 1009, fragments),
        ("an endless frame", 1009, endless),
        ("a length with its first bit set", 1002, negative),
        ("a length in a longer form than it needs", 1002, long_form),
        ("a close of one byte", 1002, frame(FIN | CLOSE, b"x")),
        ("a close with code 999", 1002, code(999, b"")),
        ("a close with code 1005", 1002, code(1005, b"")),
        ("a close with code 1006", 1002, code(1006, b"")),
        ("a close with code 2999", 1002, code(2999, b"")),
        ("a close whose reason is not utf-8", 1007, code(1000, &[0xff])),
    ]
}

#[tokio::test]
async fn broken_frames_end_with_their_code() {
    let server = alone(&[SMALL]).await;
    let neighbour = connect(&server, "/ws/raw").await;
    for (what, code, bytes) in broken() {
        let mut raw = Raw::connect(&server).await;
        raw.send(&bytes).await;
        assert_eq!(raw.close_code().await, Some(code), "{what}");
        drop(raw);
        server.wait_connections(1, SOON).await.unwrap();
    }
    for (reason, count) in [("protocol", 17), ("utf8", 3), ("too_large", 3)] {
        let closed = format!("wsc_server_closed_total{{reason=\"{reason}\"}}");
        assert_eq!(server.metric(&closed).await.unwrap(), count, "{reason}");
    }
    neighbour.send_text("last").await.unwrap();
    assert!(neighbour.wait_received(1, SOON).await);
    assert_eq!(
        (neighbour.texts(), neighbour.ended()),
        (vec!["last".to_owned()], None)
    );
}

/// What came before the violation is answered before the close.
#[tokio::test]
async fn a_violation_takes_nothing_back() {
    let server = alone(&[]).await;
    let mut raw = Raw::connect(&server).await;
    let bytes = [frame(FIN | TEXT, b"good"), frame(FIN | 0x3, b"bad")].concat();
    raw.send(&bytes).await;
    assert_eq!(raw.next().await, Some((FIN | TEXT, b"good".to_vec())));
    let (first, payload) = raw.next().await.unwrap();
    assert_eq!((first, &payload[2..]), (FIN | CLOSE, &b"reserved opcode"[..]));
    assert_eq!(raw.next().await, None, "the server ends the stream");
}

#[tokio::test]
async fn data_after_a_close_reaches_nobody() {
    let server = alone(&[]).await;
    let neighbour = connect(&server, "/ws/raw").await;
    let mut raw = Raw::connect(&server).await;
    let close = frame(FIN | CLOSE, &1000_u16.to_be_bytes());
    raw.send(&[close, frame(FIN | TEXT, b"late")].concat()).await;
    assert_eq!(raw.close_code().await, Some(1000));
    server.wait_connections(1, SOON).await.unwrap();
    neighbour.send_text("next").await.unwrap();
    assert!(neighbour.wait_received(1, SOON).await);
    assert_eq!(neighbour.texts(), ["next"]);
}

#[tokio::test]
async fn tiny_fragments_join_or_are_too_large() {
    let server = alone(&[]).await;
    let pieces = |count: usize| {
        let mut bytes = frame(BINARY, b"x");
        for _ in 1..count {
            bytes.extend(frame(0, b"x"));
        }
        bytes.extend(frame(FIN, b""));
        bytes
    };
    let mut raw = Raw::connect(&server).await;
    raw.send(&pieces(64 << 10)).await;
    let (first, payload) = raw.next().await.unwrap();
    assert_eq!((first, payload.len()), (FIN | BINARY, 64 << 10));
    let mut raw = Raw::connect(&server).await;
    raw.send(&pieces(1_000_000)).await;
    assert_eq!(raw.close_code().await, Some(1009));
    server.wait_connections(1, SOON).await.unwrap();
}

#[tokio::test]
async fn ping_flood_is_paced_by_its_reader() {
    const PINGS: usize = 20_000;
    let server = alone(&[]).await;
    let neighbour = connect(&server, "/ws/raw").await;
    let mut raw = Raw::connect(&server).await;
    let (mut read, mut write) = raw.0.split();
    let flood = frame(FIN | PING, &[7; 125]).repeat(PINGS);
    let mut answers = vec![0; (2 + 125) * PINGS];
    let (written, answered) = tokio::join!(write.write_all(&flood), read.read_exact(&mut answers));
    written.unwrap();
    answered.unwrap();
    assert!(
        answers
            .chunks(2 + 125)
            .all(|pong| pong[..2] == [FIN | PONG, 125] && pong[2..] == [7; 125])
    );
    neighbour.send_text("undisturbed").await.unwrap();
    assert!(neighbour.wait_received(1, SOON).await);
}

#[tokio::test]
async fn pings_may_interrupt_fragments() {
    let server = alone(&[]).await;
    let neighbour = connect(&server, "/ws/raw").await;
    let mut raw = Raw::connect(&server).await;
    let sent = [
        frame(TEXT, "grü".as_bytes().split_at(3).0),
        frame(FIN | PING, b"are you there"),
        frame(0, "grü".as_bytes().split_at(3).1),
        frame(FIN, b""),
    ];
    raw.send(&sent.concat()).await;
    assert_eq!(raw.next().await, Some((FIN | PONG, b"are you there".to_vec())));
    assert_eq!(raw.next().await, Some((FIN | TEXT, "grü".as_bytes().to_vec())));
    assert!(neighbour.wait_received(1, SOON).await);
    assert_eq!(neighbour.texts(), ["grü"]);
}

#[tokio::test]
async fn answered_close_frees_the_slot() {
    let server = alone(&[]).await;
    let mut raw = Raw::connect(&server).await;
    raw.send(&frame(
        FIN | CLOSE,
        &[&1000_u16.to_be_bytes()[..], b"bye"].concat(),
    ))
    .await;
    assert_eq!(raw.close_code().await, Some(1000));
    assert_eq!(raw.next().await, None, "the server ends the stream");
    let stats = server.wait_connections(0, SOON).await.unwrap();
    assert_eq!(
        (&stats["accepted_total"], &stats["closed_total"]),
        (&1.into(), &1.into())
    );
    let client = server
        .metric("wsc_server_closed_total{reason=\"client\"}")
        .await
        .unwrap();
    assert_eq!(client, 1);
}

#[tokio::test]
async fn bytes_after_the_handshake_are_read() {
    let server = alone(&[]).await;
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    let bytes = [HANDSHAKE.as_bytes(), &frame(FIN | TEXT, b"early")].concat();
    stream.write_all(&bytes).await.unwrap();
    let mut back = Vec::new();
    while !back.ends_with(b"early") {
        let read = timeout(SOON, stream.read_buf(&mut back))
            .await
            .expect("an echo")
            .unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&back));
    }
}

#[tokio::test]
async fn dead_client_is_pinged_and_removed() {
    let server = alone(&[("WSC_HEARTBEAT_SECONDS", "1")]).await;
    let alive = connect(&server, "/ws").await;
    let mut dead = Raw::connect(&server).await;
    let mut half = Raw::connect(&server).await;
    assert_eq!(dead.next().await, Some((FIN | PING, Vec::new())));
    // A word of any kind counts as life.
    assert_eq!(half.next().await, Some((FIN | PING, Vec::new())));
    half.send(&frame(FIN | PONG, b"")).await;
    assert_eq!(
        half.next().await,
        Some((FIN | PING, Vec::new())),
        "pinged again after the answer"
    );
    half.send(&frame(FIN | TEXT, b"x")).await;
    assert_eq!(dead.close_code().await, Some(1001));
    let closed = "wsc_server_closed_total{reason=\"heartbeat\"}";
    server.wait_metric(closed, 1, SOON).await.unwrap();
    assert_eq!(alive.ended(), None);
}

#[tokio::test]
async fn cut_connection_frees_its_slot() {
    let server = alone(&[]).await;
    let raw = Raw::connect(&server).await;
    server.wait_connections(1, Duration::from_secs(20)).await.unwrap();
    drop(raw);
    server.wait_connections(0, Duration::from_secs(20)).await.unwrap();
    let lost = server
        .metric("wsc_server_closed_total{reason=\"lost\"}")
        .await
        .unwrap();
    assert_eq!(lost, 1);
}
