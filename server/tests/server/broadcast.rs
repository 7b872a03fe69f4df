//! What one client says, all others of its room hear: once, in one order, as it was said.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use wsc_testing::client::{Client, Options};
use wsc_testing::redis::Redis;

use crate::{SOON, alone, connect, pool};

/// Less than the time after which a handshake does not wait for its room any more.
const PAUSE: Duration = Duration::from_secs(1);

async fn wait_for(clients: &[&Client], count: u64) {
    for client in clients {
        assert!(
            client.wait_received(count, SOON).await,
            "{} of {count}: {:?}",
            client.received(),
            client.ended()
        );
    }
}

/// Both send `count` texts at the same time.
async fn both_send(pair: [&Client; 2], room: &str, count: usize) {
    let send = async |who: usize, client: &Client| {
        for n in 0..count {
            client.send_text(format!("{room}-{who}-{n}")).await.unwrap();
        }
    };
    tokio::join!(send(0, pair[0]), send(1, pair[1]));
}

#[tokio::test]
async fn two_processes_receive_one_order_per_room() {
    const EACH: usize = 200;
    let redis = Redis::start().await.unwrap();
    let [first, second] = pool(&redis).await;
    let rooms = ["a", "b"];
    let members = join_all(rooms.map(|room| {
        let path = format!("/ws/{room}");
        let on = [&first, &second, &first, &second];
        join_all(on.map(|server| {
            let path = path.clone();
            async move { connect(server, &path).await }
        }))
    }))
    .await;
    join_all((0..2).map(|r| both_send([&members[r][0], &members[r][1]], rooms[r], EACH))).await;
    for (room, members) in rooms.iter().zip(&members) {
        wait_for(&members.iter().collect::<Vec<_>>(), 2 * EACH as u64).await;
        let order = members[0].texts();
        for member in members {
            assert_eq!(member.texts(), order, "one order for all of {room}");
        }
        for who in 0..2 {
            let own: Vec<String> = (0..EACH).map(|n| format!("{room}-{who}-{n}")).collect();
            let heard = order.iter().filter(|t| t.starts_with(&format!("{room}-{who}-")));
            assert!(
                heard.eq(own.iter()),
                "each sender's own order, each message once: {order:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_path_alone_is_room_main() {
    let server = alone(&[]).await;
    let (short, long, other) = (
        connect(&server, "/ws").await,
        connect(&server, "/ws/main").await,
        connect(&server, "/ws/Main").await,
    );
    short.send_text("to main").await.unwrap();
    other.send_text("to Main").await.unwrap();
    wait_for(&[&short, &long, &other], 1).await;
    assert_eq!(
        (long.texts(), other.texts()),
        (vec!["to main".into()], vec!["to Main".to_owned()])
    );
}

/// With `?echo=0` the sender does not receive its own messages; all other members do.
async fn check_echo(quiet: &Client, loud: &Client, listener: &Client) {
    quiet.send_text("1 of quiet").await.unwrap();
    wait_for(&[loud, listener], 1).await;
    loud.send_text("2 of loud").await.unwrap();
    wait_for(&[loud, listener], 2).await;
    quiet.send_text("3 of quiet").await.unwrap();
    wait_for(&[loud, listener], 3).await;
    loud.send_text("4 of loud").await.unwrap();
    wait_for(&[loud, listener], 4).await;
    wait_for(&[quiet], 2).await;
    let all = ["1 of quiet", "2 of loud", "3 of quiet", "4 of loud"];
    assert_eq!(quiet.texts(), ["2 of loud", "4 of loud"]);
    assert_eq!(
        (loud.texts(), listener.texts()),
        (all.map(String::from).into(), all.map(String::from).into())
    );
}

#[tokio::test]
async fn echo_0_spares_the_sender_alone() {
    let redis = Redis::start().await.unwrap();
    let [first, second] = pool(&redis).await;
    let quiet = connect(&first, "/ws/r?echo=0").await;
    let loud = connect(&first, "/ws/r").await;
    let listener = connect(&second, "/ws/r?echo=0").await;
    check_echo(&quiet, &loud, &listener).await;
}

#[tokio::test]
async fn echo_works_without_redis_too() {
    let server = alone(&[]).await;
    let quiet = connect(&server, "/ws/r?echo=0").await;
    let loud = connect(&server, "/ws/r?echo=1").await;
    let listener = connect(&server, "/ws/r").await;
    check_echo(&quiet, &loud, &listener).await;
}

#[tokio::test]
async fn text_and_bytes_arrive_unchanged() {
    let redis = Redis::start().await.unwrap();
    let [first, second] = pool(&redis).await;
    let (sender, receiver) = (connect(&first, "/ws/r").await, connect(&second, "/ws/r").await);
    let every_byte: Vec<u8> = (0..=255).collect();
    let largest = vec![0xfe; 64 << 10];
    let sent: Vec<(bool, Bytes)> = vec![
        (true, Bytes::from_static("grüße, 世界 \u{0}\r\n".as_bytes())),
        (false, every_byte.into()),
        (true, Bytes::new()),
        (false, Bytes::new()),
        (false, largest.into()),
    ];
    for (text, payload) in &sent {
        if *text {
            sender.send_text(String::from_utf8_lossy(payload)).await.unwrap();
        } else {
            sender.send_binary(payload.clone()).await.unwrap();
        }
    }
    wait_for(&[&sender, &receiver], 5).await;
    for client in [&sender, &receiver] {
        let got: Vec<_> = client.with_frames(|f| f.iter().map(|f| (f.text, f.payload.clone())).collect());
        assert_eq!(got, sent);
    }
}

#[tokio::test]
async fn nothing_is_missed_after_the_handshake() {
    let redis = Redis::start().await.unwrap();
    let [first, second] = pool(&redis).await;
    for n in 0..40 {
        let path = format!("/ws/room-{n}");
        // The room is new to the second process: it has to be subscribed before the upgrade is
        // answered.
        let sender = connect(&first, &path).await;
        let receiver = connect(&second, &path).await;
        sender.send_text(path.clone()).await.unwrap();
        wait_for(&[&receiver], 1).await;
        assert_eq!(receiver.texts(), [path]);
    }
}

#[tokio::test]
async fn handshake_waits_for_the_room_subscription() {
    let redis = Redis::start().await.unwrap();
    let [server] = pool(&redis).await;
    let known = connect(&server, "/ws/known").await;
    // It cannot answer now; soon enough that it is not given up, it goes on.
    redis.pause().unwrap();
    let options = Options::new(server.url("/ws/new"));
    let newcomer = tokio::spawn(async move { Client::connect(&options).await });
    server.wait_connections(2, SOON).await.unwrap();
    // Who comes to a known room has not to wait; a moment after its answer it is counted.
    let third = connect(&server, "/ws/known").await;
    let opened = |stats: &serde_json::Value| stats["accepted_total"] == 2;
    server
        .wait_stats(PAUSE, "two are accepted", opened)
        .await
        .unwrap();
    assert!(!newcomer.is_finished(), "it was answered without its room");
    redis.resume().unwrap();
    let newcomer = newcomer.await.unwrap().unwrap();
    newcomer.send_text("in").await.unwrap();
    wait_for(&[&newcomer], 1).await;
    assert_eq!((known.ended(), third.ended()), (None, None));
}

#[tokio::test]
async fn abandoned_room_works_again() {
    let redis = Redis::start().await.unwrap();
    let [first, second] = pool(&redis).await;
    for n in 0..20 {
        let (sender, receiver) = (connect(&first, "/ws/r").await, connect(&second, "/ws/r").await);
        sender.send_text(n.to_string()).await.unwrap();
        wait_for(&[&sender, &receiver], 1).await;
        assert_eq!(receiver.texts(), [n.to_string()]);
        sender.close(1000, "").await.unwrap();
        receiver.close(1000, "").await.unwrap();
    }
    second.wait_connections(0, SOON).await.unwrap();
    first.wait_connections(0, SOON).await.unwrap();
    assert_eq!(first.metric("wsc_server_rooms").await.unwrap(), 0);
    wsc_testing::cluster::eventually(SOON, "the room has no subscriber", async || {
        let channels = redis.cli(&["PUBSUB", "CHANNELS", "wsc:room:*"]).await?;
        Ok(channels.is_empty().then_some(()))
    })
    .await
    .unwrap();
}
