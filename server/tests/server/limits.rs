//! Messages that are too large, clients that are too slow.

use std::time::{Duration, Instant};

use wsc_testing::client::{Client, EndKind};
use wsc_testing::cluster::eventually;
use wsc_testing::http1;
use wsc_testing::sockets::send_queues;

use crate::{SOON, alone, connect, end_of, refusal};

#[tokio::test]
async fn too_large_message_closes_its_sender_alone() {
    let server = alone(&[]).await;
    let (sender, neighbour) = (connect(&server, "/ws").await, connect(&server, "/ws").await);
    sender.send_binary(vec![1; 64 << 10]).await.unwrap();
    assert!(
        neighbour.wait_received(1, SOON).await,
        "the limit itself is allowed"
    );
    sender.send_binary(vec![2; (64 << 10) + 1]).await.unwrap();
    let end = end_of(&sender).await;
    assert_eq!(
        (end.kind, end.code, end.reason.as_str()),
        (EndKind::Unasked, Some(1009), "message too large")
    );
    let other = connect(&server, "/ws").await;
    other.send_text("after").await.unwrap();
    assert!(neighbour.wait_received(2, SOON).await);
    assert_eq!(neighbour.texts()[1], "after");
    // The connection is kept a little longer, so that the reason can be read.
    let closed = "wsc_server_closed_total{reason=\"too_large\"}";
    assert!(server.wait_metric(closed, 1, SOON).await.unwrap() < 2);
}

#[tokio::test]
async fn unread_client_is_closed_others_lose_nothing() {
    const MESSAGES: u64 = 400;
    let server = alone(&[]).await;
    let (slow, fast) = (connect(&server, "/ws/r").await, connect(&server, "/ws/r").await);
    let sender = connect(&server, "/ws/r?echo=0").await;
    slow.set_reading(false).await.unwrap();
    // Far more than outbox and kernel hold together; never more on its way than the fast one can
    // have.
    for n in 1..=MESSAGES {
        let mut message = vec![0; 64 << 10];
        message[..8].copy_from_slice(&n.to_be_bytes());
        sender.send_binary(message).await.unwrap();
        if n % 2 == 0 {
            assert!(fast.wait_received(n, SOON).await, "{:?}", fast.ended());
        }
    }
    server
        .wait_metric("wsc_server_overflows_total", 1, SOON)
        .await
        .unwrap();
    server.wait_connections(2, SOON).await.unwrap();
    let closed = server
        .metric("wsc_server_closed_total{reason=\"slow\"}")
        .await
        .unwrap();
    assert_eq!(closed, 1);
    let numbers = fast.with_frames(|frames| {
        let number = |f: &wsc_testing::client::Frame| u64::from_be_bytes(*f.payload.first_chunk().unwrap());
        frames.iter().map(number).collect::<Vec<_>>()
    });
    assert_eq!(numbers, (1..=MESSAGES).collect::<Vec<_>>());
    assert_eq!((fast.ended(), sender.ended()), (None, None));
    // What reached the slow one before is the beginning, without a hole.
    slow.set_reading(true).await.unwrap();
    assert_eq!(end_of(&slow).await.kind, EndKind::Unasked);
    assert!(slow.received() < MESSAGES);
    let first = slow.with_frames(|frames| frames.iter().map(|f| f.payload.clone()).collect::<Vec<_>>());
    assert!(fast.with_frames(|frames| frames.iter().zip(&first).all(|(f, s)| f.payload == *s)));
}

#[tokio::test]
async fn waking_slow_client_receives_its_close() {
    let server = alone(&[("WSC_OUTBOUND_QUEUE_BYTES", "70000")]).await;
    let (slow, sender) = (
        connect(&server, "/ws/r").await,
        connect(&server, "/ws/r?echo=0").await,
    );
    slow.set_reading(false).await.unwrap();
    let mut sent = 0;
    while server.metric("wsc_server_overflows_total").await.unwrap() < 1 {
        for _ in 0..16 {
            sender.send_binary(vec![0; 60_000]).await.unwrap();
        }
        sent += 16;
        assert!(sent < 4000, "nothing overflows");
    }
    slow.set_reading(true).await.unwrap();
    let end = end_of(&slow).await;
    assert_eq!(
        (end.kind, end.code, end.reason.as_str()),
        (EndKind::Unasked, Some(1013), "slow")
    );
}

/// Where it is counted and bounded; the kernel would take megabytes for each.
#[tokio::test]
async fn unread_messages_wait_in_the_server() {
    const MESSAGE: usize = 60_000;
    let server = alone(&[("WSC_OUTBOUND_QUEUE_BYTES", "67108864")]).await;
    let (slow, sender) = (
        connect(&server, "/ws/r").await,
        connect(&server, "/ws/r?echo=0").await,
    );
    slow.set_reading(false).await.unwrap();
    let waits = async || server.metric("wsc_server_outbound_queue_bytes").await.unwrap();
    let mut sent = 0;
    // More than the client's kernel takes for itself, since it does so to the end.
    while waits().await < 8 << 20 {
        for _ in 0..8 {
            sender.send_binary(vec![0; MESSAGE]).await.unwrap();
        }
        sent += 8;
        assert!(sent < 1000, "nothing waits");
    }
    let queues = send_queues(server.port()).unwrap();
    assert_eq!(queues.len(), 2, "{queues:?}");
    let kernel = queues.into_iter().max().unwrap();
    // 16 KiB, and the end of the write that passed them.
    assert!(
        (1..256 << 10).contains(&kernel),
        "{kernel} bytes wait in the kernel"
    );
    slow.set_reading(true).await.unwrap();
    assert!(slow.wait_received(sent, SOON).await, "{:?}", slow.ended());
    eventually(SOON, "nothing waits any more", async || {
        Ok((waits().await == 0).then_some(()))
    })
    .await
    .unwrap();
}

/// Neither the heartbeat nor its outbox ends it here: the kernel does, which would wait a quarter
/// of an hour by itself.
#[tokio::test]
async fn client_full_for_30_seconds_is_removed() {
    let server = alone(&[
        ("WSC_OUTBOUND_QUEUE_BYTES", "67108864"),
        ("WSC_HEARTBEAT_SECONDS", "3600"),
    ])
    .await;
    let (slow, sender) = (
        connect(&server, "/ws/r").await,
        connect(&server, "/ws/r?echo=0").await,
    );
    slow.set_reading(false).await.unwrap();
    while server.metric("wsc_server_outbound_queue_bytes").await.unwrap() < 1 << 20 {
        sender.send_binary(vec![0; 60_000]).await.unwrap();
    }
    let began = Instant::now();
    server.wait_connections(1, SOON * 3).await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(25), "{:?}", began.elapsed());
    let lost = "wsc_server_closed_total{reason=\"lost\"}";
    assert_eq!(server.wait_metric(lost, 1, SOON).await.unwrap(), 1);
    assert_eq!(sender.ended(), None);
}

/// Each of them could wait for much more; together they may not.
#[tokio::test]
async fn shared_limit_spares_clients_that_read() {
    let server = alone(&[
        ("WSC_OUTBOUND_QUEUE_BYTES", "67108864"),
        ("WSC_OUTBOUND_TOTAL_BYTES", "2097152"),
    ])
    .await;
    let fast = connect(&server, "/ws/r").await;
    let sender = connect(&server, "/ws/r?echo=0").await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let client = connect(&server, "/ws/r").await;
        client.set_reading(false).await.unwrap();
        slow.push(client);
    }
    let mut sent = 0;
    while server.metric("wsc_server_overflows_total").await.unwrap() == 0 {
        for _ in 0..4 {
            sender.send_binary(vec![0; 60_000]).await.unwrap();
        }
        sent += 4;
        assert!(fast.wait_received(sent, SOON).await, "{:?}", fast.ended());
        assert!(sent < 4000, "nothing overflows");
    }
    for client in &slow {
        client.set_reading(true).await.unwrap();
    }
    let ended = async |client: &Client| client.wait_end(Duration::from_secs(5)).await;
    let mut closed = 0;
    for client in &slow {
        if let Some(end) = ended(client).await {
            assert_eq!((end.code, end.reason.as_str()), (Some(1013), "slow"));
            closed += 1;
        }
    }
    assert!(
        (1..4).contains(&closed),
        "{closed} of 4 were closed, for a tenth of room"
    );
    assert_eq!(fast.ended(), None);
}

/// The kernel would end the process with all its clients; instead nobody new comes in.
#[tokio::test]
async fn memory_shortage_rejects_new_and_cuts_none() {
    // The memory limit is reached long before the queue's: the server reads its memory twice a
    // second.
    let server = alone(&[
        ("WSC_OUTBOUND_QUEUE_BYTES", "67108864"),
        ("WSC_OUTBOUND_TOTAL_BYTES", "1073741824"),
        ("WSC_MEMORY_LIMIT_BYTES", "50331648"),
    ])
    .await;
    let (slow, sender) = (
        connect(&server, "/ws/r").await,
        connect(&server, "/ws/r?echo=0").await,
    );
    slow.set_reading(false).await.unwrap();
    let lb = async || {
        http1::get(server.port(), "/wsc/lb")
            .await
            .unwrap()
            .status
            .as_u16()
    };
    assert_eq!(lb().await, 200);
    let mut sent = 0;
    while server.metric("wsc_server_outbound_queue_bytes").await.unwrap() < 42 << 20 {
        for _ in 0..16 {
            sender.send_binary(vec![0; 60_000]).await.unwrap();
        }
        sent += 16;
        assert!(sent < 4000, "the queue does not grow");
    }
    let full = eventually(SOON, "memory is short", async || {
        Ok((lb().await == 404).then_some(()))
    });
    full.await.unwrap();
    let (code, headers, body) = refusal(&server, "/ws").await;
    assert_eq!((code, &body["error"]), (503, &"memory".into()));
    assert!(headers.contains_key("retry-after"), "{headers:?}");
    assert_eq!((slow.ended(), sender.ended()), (None, None));
    slow.set_reading(true).await.unwrap();
    assert!(slow.wait_received(sent, SOON).await, "{:?}", slow.ended());
    let back = eventually(SOON, "there is memory again", async || {
        Ok((lb().await == 200).then_some(()))
    });
    back.await.unwrap();
    connect(&server, "/ws").await;
}
