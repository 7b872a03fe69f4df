//! At the edges: messages of exactly the limit and one byte more, peers that half leave or leave in
//! the middle of something.

use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::AsyncWriteExt;
use wsc_testing::server::Server;

use crate::frames::{BINARY, FIN, PING, Raw, frame};
use crate::{SOON, alone, connect};

/// The default of `--max-message-bytes`.
const LIMIT: usize = 64 << 10;

async fn closed(server: &Server, reason: &str) -> u64 {
    let name = format!("wsc_server_closed_total{{reason=\"{reason}\"}}");
    server.wait_metric(&name, 1, SOON).await.unwrap()
}

#[tokio::test]
async fn one_byte_over_the_limit_is_rejected() {
    let server = alone(&[]).await;
    let neighbour = connect(&server, "/ws/raw").await;
    let in_many = |bytes: usize| {
        let payload = vec![7; bytes];
        let mut pieces = payload.chunks(4096);
        let mut sent = frame(BINARY, pieces.next().unwrap());
        pieces.for_each(|piece| sent.extend(frame(0, piece)));
        sent.extend(frame(FIN, b""));
        sent
    };
    let in_one = |bytes: usize| frame(FIN | BINARY, &vec![7; bytes]);
    let whole = (FIN | BINARY, vec![7; LIMIT]);
    for (fits, over) in [
        (in_one(LIMIT), in_one(LIMIT + 1)),
        (in_many(LIMIT), in_many(LIMIT + 1)),
    ] {
        let mut raw = Raw::connect(&server).await;
        raw.send(&fits).await;
        assert_eq!(raw.next().await.as_ref(), Some(&whole));
        raw.send(&over).await;
        assert_eq!(raw.close_code().await, Some(1009));
    }
    assert!(neighbour.wait_received(2, SOON).await);
    assert_eq!((neighbour.received(), neighbour.ended()), (2, None));
    server.wait_connections(1, SOON).await.unwrap();
    assert_eq!(closed(&server, "too_large").await, 2);
}

/// Beginnings of frames and of messages.
pub(crate) fn cuts() -> [Vec<u8>; 5] {
    let whole = frame(FIN | BINARY, &[7; 1000]);
    let fragment = frame(BINARY, &[7; 1000]);
    let until = |end: usize| whole[..end].to_vec();
    [until(1), until(7), until(500), until(whole.len() - 1), fragment]
}

/// Not to linger is to reset.
pub(crate) fn reset(mut raw: Raw) {
    set_socket_linger(raw.stream(), Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn reset_inside_a_frame_spares_others() {
    let server = alone(&[]).await;
    let neighbour = connect(&server, "/ws/raw").await;
    for bytes in cuts() {
        let mut raw = Raw::connect(&server).await;
        raw.send(&bytes).await;
        server.wait_connections(2, SOON).await.unwrap();
        reset(raw);
        server.wait_connections(1, SOON).await.unwrap();
    }
    assert_eq!(closed(&server, "lost").await, cuts().len() as u64);
    neighbour.send_text("well").await.unwrap();
    assert!(neighbour.wait_received(1, SOON).await);
    assert_eq!(
        (neighbour.texts(), neighbour.ended()),
        (vec!["well".to_owned()], None)
    );
}

#[tokio::test]
async fn half_closed_client_is_removed() {
    let server = alone(&[]).await;
    let neighbour = connect(&server, "/ws/raw").await;
    let mut raw = Raw::connect(&server).await;
    raw.send(&frame(FIN | BINARY, b"last")).await;
    assert_eq!(raw.next().await, Some((FIN | BINARY, b"last".to_vec())));
    raw.stream().shutdown().await.unwrap();
    assert_eq!(raw.next().await, None, "the other half ends too");
    server.wait_connections(1, SOON).await.unwrap();
    assert_eq!(closed(&server, "lost").await, 1);
    assert!(neighbour.wait_received(1, SOON).await, "the message is delivered");
    assert_eq!((neighbour.received(), neighbour.ended()), (1, None));
}

/// The window of its socket is zero soon, then the server's answers wait, then nothing is read of
/// it, and its silence is its end.
#[tokio::test]
async fn flooding_client_that_never_reads_is_dropped() {
    let server = alone(&[("WSC_HEARTBEAT_SECONDS", "1")]).await;
    // In another room: what is said here would be too much for who does not read.
    let neighbour = connect(&server, "/ws").await;
    let mut raw = Raw::connect(&server).await;
    let flood = frame(FIN | PING, &[7; 125]).repeat(1000);
    let sent = async {
        let mut sent = 0;
        while raw.stream().write_all(&flood).await.is_ok() {
            sent += flood.len();
        }
        sent
    };
    let talk = async {
        let mut said = 0;
        // It is pinged after 1 s, and has 10 s to answer and 2 s to go.
        while server.stats().await.unwrap()["connections"] == 2 {
            neighbour.send_text("well").await.unwrap();
            said += 1;
            assert!(neighbour.wait_received(said, SOON).await);
        }
    };
    let (sent, ()) = tokio::time::timeout(SOON * 3, async { tokio::join!(sent, talk) })
        .await
        .expect("an end");
    assert!(sent < 64 << 20, "{sent} bytes were read of it");
    assert_eq!(closed(&server, "heartbeat").await, 1);
    assert_eq!(neighbour.ended(), None);
}
