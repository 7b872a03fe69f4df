//! Redis goes away, hangs and comes back: clients stay, and delivery is back soon after Redis is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wsc_testing::client::Client;
use wsc_testing::redis::Redis;
use wsc_testing::server::Server;

use crate::{SOON, beside, connect, pool};

/// The promise, counted from Redis's own word that it is ready.
const BACK: Duration = Duration::from_secs(5);

/// Sends until a message arrives, which has to be within the promise.
async fn delivery_is_back(sender: &Client, receiver: &Client) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let (since, before) = (Instant::now(), receiver.received());
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        sender.send_text(number.to_string()).await.unwrap();
        if receiver
            .wait_received(before + 1, Duration::from_millis(50))
            .await
        {
            return;
        }
        assert!(
            since.elapsed() < BACK,
            "no delivery {BACK:?} after redis was ready"
        );
    }
}

/// Nobody was cut off, and nobody got anything twice.
fn nothing_happened_to(clients: &[&Client]) {
    for client in clients {
        assert_eq!(client.ended(), None);
        let (mut texts, count) = (client.texts(), client.texts().len());
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), count, "doubled: {:?}", client.texts());
    }
}

async fn wait_up(server: &Server, up: bool) {
    let what = format!("broker.up is {up}");
    server
        .wait_stats(SOON, &what, |s| s["broker"]["up"] == up)
        .await
        .unwrap();
    let gauge = server.metric("wsc_server_broker_up").await.unwrap();
    assert_eq!(gauge, u64::from(up));
}

#[tokio::test]
async fn redis_restart_keeps_sockets_and_restores_delivery() {
    let mut redis = Redis::start().await.unwrap();
    let [first, second] = pool(&redis).await;
    let (sender, receiver) = (connect(&first, "/ws/r").await, connect(&second, "/ws/r").await);
    delivery_is_back(&sender, &receiver).await;
    for _ in 0..2 {
        redis.stop().await.unwrap();
        for server in [&first, &second] {
            wait_up(server, false).await;
            assert_eq!(
                server.control("/readyz").await.unwrap().status,
                200,
                "redis has no say any more"
            );
        }
        redis.restart().await.unwrap();
        delivery_is_back(&sender, &receiver).await;
        delivery_is_back(&receiver, &sender).await;
    }
    nothing_happened_to(&[&sender, &receiver]);
    // Who came while Redis was away is in the room as well.
    redis.stop().await.unwrap();
    wait_up(&second, false).await;
    let late = connect(&second, "/ws/late").await;
    let other = connect(&first, "/ws/late").await;
    redis.restart().await.unwrap();
    delivery_is_back(&other, &late).await;
    assert!(first.metric("wsc_server_broker_disconnects_total").await.unwrap() >= 3);
    nothing_happened_to(&[&sender, &receiver, &late, &other]);
}

#[tokio::test]
async fn message_without_redis_reaches_no_client() {
    let mut redis = Redis::start().await.unwrap();
    let [server] = pool(&redis).await;
    let (sender, neighbour) = (connect(&server, "/ws/r").await, connect(&server, "/ws/r").await);
    redis.stop().await.unwrap();
    wait_up(&server, false).await;
    sender.send_text("lost").await.unwrap();
    let expired = "wsc_server_messages_dropped_total{reason=\"expired\"}";
    server.wait_metric(expired, 1, SOON).await.unwrap();
    redis.restart().await.unwrap();
    delivery_is_back(&sender, &neighbour).await;
    assert!(!neighbour.texts().contains(&"lost".to_owned()));
    assert!(!sender.texts().contains(&"lost".to_owned()));
}

#[tokio::test]
async fn flood_without_redis_is_paced_and_counted() {
    const MESSAGES: u64 = 60;
    let mut redis = Redis::start().await.unwrap();
    let [server] = pool(&redis).await;
    let sender = connect(&server, "/ws/r").await;
    redis.stop().await.unwrap();
    wait_up(&server, false).await;
    // Four times what the queue of the process holds.
    for _ in 0..MESSAGES {
        sender.send_binary(vec![0; 64 << 10]).await.unwrap();
    }
    let dropped = async || {
        let mut sum = 0;
        for reason in ["expired", "queue_full", "failed"] {
            let name = format!("wsc_server_messages_dropped_total{{reason=\"{reason}\"}}");
            sum += server.metric(&name).await?;
        }
        anyhow::Ok(sum)
    };
    wsc_testing::cluster::eventually(SOON, "all are counted", async || {
        Ok((dropped().await? >= MESSAGES).then_some(()))
    })
    .await
    .unwrap();
    let received = server.metric("wsc_server_messages_received_total").await.unwrap();
    assert_eq!((dropped().await.unwrap(), received), (MESSAGES, MESSAGES));
    redis.restart().await.unwrap();
    delivery_is_back(&sender, &sender).await;
    nothing_happened_to(&[&sender]);
}

#[tokio::test]
async fn hanging_redis_is_detected_and_used_again() {
    let redis = Redis::start().await.unwrap();
    let [first, second] = pool(&redis).await;
    let (sender, receiver) = (connect(&first, "/ws/r").await, connect(&second, "/ws/r").await);
    delivery_is_back(&sender, &receiver).await;
    redis.pause().unwrap();
    for server in [&first, &second] {
        wait_up(server, false).await;
    }
    // A room that is new cannot be subscribed; its client is let in all the same.
    let newcomer = connect(&second, "/ws/new").await;
    redis.resume().unwrap();
    delivery_is_back(&sender, &receiver).await;
    let other = connect(&first, "/ws/new").await;
    delivery_is_back(&other, &newcomer).await;
    nothing_happened_to(&[&sender, &receiver, &newcomer, &other]);
}

#[tokio::test]
async fn disconnected_subscriber_reconnects() {
    let redis = Redis::start().await.unwrap();
    let [first, second] = pool(&redis).await;
    let (sender, receiver) = (connect(&first, "/ws/r").await, connect(&second, "/ws/r").await);
    for _ in 0..3 {
        delivery_is_back(&sender, &receiver).await;
        delivery_is_back(&receiver, &sender).await;
        let killed = redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
        assert_eq!(killed, "2", "one subscriber a process");
    }
    delivery_is_back(&sender, &receiver).await;
    nothing_happened_to(&[&sender, &receiver]);
}

#[tokio::test]
async fn first_redis_connection_makes_ready_for_good() {
    let mut redis = Redis::start().await.unwrap();
    redis.stop().await.unwrap();
    let server = beside(&redis, &[]).await;
    let answer = server.control("/readyz").await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.json().unwrap()["error"].as_str()),
        (503, Some("broker"))
    );
    let attempts = "wsc_server_broker_connect_attempts_total";
    server.wait_metric(attempts, 3, SOON).await.unwrap();
    assert_eq!(server.control("/readyz").await.unwrap().status, 503);
    assert_eq!(server.control("/livez").await.unwrap().status, 200);
    redis.restart().await.unwrap();
    server.wait_ready(BACK).await.unwrap();
    redis.stop().await.unwrap();
    wait_up(&server, false).await;
    for path in ["/readyz", "/livez"] {
        assert_eq!(server.control(path).await.unwrap().status, 200, "{path}");
    }
    let losses = server
        .metric("wsc_server_broker_disconnects_total")
        .await
        .unwrap();
    assert_eq!(losses, 1);
}
