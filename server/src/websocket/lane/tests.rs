//! Lanes on streams that are pipes.

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::protocol::Message;
use crate::websocket::Violation;

const LIMIT: usize = 1 << 20;

/// A masked frame of a client; the mask is zero, so that the payload reads as it is.
fn sent(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

fn pair(pipe: usize) -> (Lane<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(pipe);
    (Lane::new(ours, &[], LIMIT), theirs)
}

async fn message(lane: &mut Lane<DuplexStream>) -> Message {
    match lane.next().await {
        Some(Ok(Incoming::Message(message))) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bytes_read_ahead_by_http_come_first() {
    let (ours, mut theirs) = duplex(1024);
    let frame = sent(0x81, b"early");
    let mut lane = Lane::new(ours, &frame[..4], LIMIT);
    theirs.write_all(&frame[4..]).await.unwrap();
    theirs.write_all(&sent(0x82, b"late")).await.unwrap();
    assert_eq!(message(&mut lane).await, Message::text("early".into()));
    assert_eq!(message(&mut lane).await, Message::binary("late".into()));
    drop(theirs);
    assert!(lane.next().await.is_none());
}

#[tokio::test]
async fn an_idle_lane_holds_no_buffer() {
    let (mut lane, mut theirs) = pair(1 << 16);
    let many: Vec<u8> = (0..100).flat_map(|_| sent(0x81, b"hello")).collect();
    theirs.write_all(&many).await.unwrap();
    for left in (0..100).rev() {
        message(&mut lane).await;
        assert_eq!(lane.unread.is_empty(), left == 0);
    }
    lane.send(Outgoing::Frame(Bytes::from_static(b"frame")))
        .await
        .unwrap();
    assert_eq!(lane.unread.capacity(), 0);
    assert!(lane.front.is_empty() && lane.behind.capacity() == 0 && lane.decoder.is_idle());
    assert_eq!(lane.waiting, 0);
}

#[tokio::test]
async fn client_that_reads_no_pong_is_paused() {
    let (mut lane, mut theirs) = pair(256);
    let mut answered = 0;
    let one = sent(0x89, &[b'p'; 125]);
    let flood = async {
        loop {
            theirs.write_all(&one).await.unwrap();
        }
    };
    let listen = async {
        while let Some(Ok(Incoming::Ping)) = lane.next().await {
            answered += 1;
            let _ = futures::poll!(lane.flush());
        }
    };
    let both = tokio::time::timeout(
        std::time::Duration::from_millis(100),
        futures::future::join(flood, listen),
    );
    assert!(both.await.is_err(), "both stand still");
    let most = HIGH_WATER_BYTES / 127 + 4;
    assert!((2..=most).contains(&answered), "{answered} pings");
    let mut answer = vec![0; 127];
    theirs.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..2], [0x8a, 125]);
}

#[tokio::test]
async fn close_is_answered_once_with_its_code() {
    let (mut lane, mut theirs) = pair(1024);
    theirs.write_all(&sent(0x88, b"\x0b\xb8bye")).await.unwrap();
    assert!(matches!(lane.next().await, Some(Ok(Incoming::Close))));
    let second = Outgoing::Close {
        code: 1012,
        reason: String::new(),
    };
    lane.send(second).await.unwrap();
    drop(lane);
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, [0x88, 2, 0x0b, 0xb8]);
}

#[tokio::test]
async fn answer_to_own_close_gets_none() {
    let (mut lane, mut theirs) = pair(1024);
    let close = Outgoing::Close {
        code: 1012,
        reason: "go".to_owned(),
    };
    lane.send(close).await.unwrap();
    theirs.write_all(&sent(0x89, b"")).await.unwrap();
    theirs.write_all(&sent(0x88, b"\x03\xf4")).await.unwrap();
    assert!(matches!(lane.next().await, Some(Ok(Incoming::Ping))));
    assert!(matches!(lane.next().await, Some(Ok(Incoming::Close))));
    lane.flush().await.unwrap();
    drop(lane);
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, [0x88, 4, 0x03, 0xf4, b'g', b'o']);
}

#[tokio::test]
async fn nothing_is_decoded_after_a_violation() {
    let (mut lane, mut theirs) = pair(1024);
    theirs.write_all(&sent(0xc1, b"x")).await.unwrap();
    theirs.write_all(&sent(0x81, b"fine")).await.unwrap();
    match lane.next().await {
        Some(Err(SocketError::Violation(Violation::ReservedBits))) => {}
        other => panic!("{other:?}"),
    }
    assert!(futures::poll!(lane.next()).is_pending());
    let close = Outgoing::Close {
        code: 1002,
        reason: "reserved bits are set".to_owned(),
    };
    lane.send(close).await.unwrap();
    lane.close().await.unwrap();
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).await.unwrap();
    assert_eq!(all[..4], [0x88, 23, 0x03, 0xea]);
    drop(theirs);
    assert!(lane.next().await.is_none());
}

#[tokio::test]
async fn narrow_pipe_keeps_frames_whole_and_ordered() {
    let (mut lane, mut theirs) = pair(7);
    let frames: Vec<Bytes> = (1..100_u8)
        .map(|n| Bytes::from(vec![n; usize::from(n)]))
        .collect();
    let wanted: Vec<u8> = frames.iter().flatten().copied().collect();
    let write = async {
        for frame in frames {
            lane.feed(Outgoing::Frame(frame)).await.unwrap();
        }
        lane.flush().await.unwrap();
        drop(lane);
    };
    let mut all = Vec::new();
    let ((), read) = tokio::join!(write, theirs.read_to_end(&mut all));
    read.unwrap();
    assert_eq!(all, wanted);
}
