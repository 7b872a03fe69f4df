//! SIGTERM: everybody is asked to move, spread over the drain time, and the process ends well.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use wsc_testing::client::{EndKind, Refused};
use wsc_testing::cluster::eventually;
use wsc_testing::http1;

use crate::{SOON, alone, crowd, end_of, ended};

#[tokio::test]
async fn drain_spreads_closes_over_its_time() {
    const CLIENTS: usize = 30;
    let mut server = alone(&[("WSC_DRAIN_SECONDS", "3"), ("WSC_CLOSE_JITTER_SECONDS", "2")]).await;
    let clients = crowd(&server, "/ws", CLIENTS).await;
    server.signal(Signal::TERM).unwrap();
    end_of(&clients[0]).await;
    // In the middle of it the server serves those who are left, and takes nobody new.
    let answer = server.control("/readyz").await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.json().unwrap()["error"].as_str()),
        (503, Some("terminating"))
    );
    assert_eq!(server.control("/livez").await.unwrap().status, 200);
    assert_eq!(server.stats().await.unwrap()["terminating"], true);
    assert_eq!(http1::get(server.port(), "/wsc/lb").await.unwrap().status, 404);
    let refused = server.connect("/ws").await.expect_err("draining");
    assert!(
        matches!(&refused, Refused::Status { status, headers, .. }
        if *status == 503 && headers.contains_key("retry-after")),
        "{refused}"
    );
    let last = &clients[CLIENTS - 1];
    last.send_text("still served").await.unwrap();
    assert!(last.wait_received(1, SOON).await, "{:?}", last.ended());
    let mut ends = Vec::new();
    for client in &clients {
        let end = end_of(client).await;
        assert_eq!((end.kind, end.code), (EndKind::Asked, Some(1012)), "{end}");
        let hint = end.retry_ms().expect("a hint");
        assert_eq!(end.reason, format!("drain;retry={hint}"));
        assert!(hint <= 2000, "{end}");
        ends.push(end.at);
    }
    assert!(server.wait_exit(SOON).await.unwrap().success());
    assert!(ends.is_sorted(), "the oldest first");
    // 100 ms between two: six in a half second, and room for a machine that stood still for almost
    // a second.
    let most = ends.iter().map(|start| {
        ends.iter()
            .filter(|end| (*start..*start + Duration::from_millis(500)).contains(*end))
            .count()
    });
    let most = most.max().unwrap();
    assert!(most <= CLIENTS / 2, "{most} of {CLIENTS} in one half second");
    assert!(ends[CLIENTS - 1] - ends[0] >= Duration::from_secs(2));
}

#[tokio::test]
async fn an_empty_server_ends_at_once() {
    let mut server = alone(&[("WSC_DRAIN_SECONDS", "600")]).await;
    server.signal(Signal::TERM).unwrap();
    assert!(server.wait_exit(SOON).await.unwrap().success());
}

#[tokio::test]
async fn process_ends_with_its_last_client() {
    let mut server = alone(&[("WSC_DRAIN_SECONDS", "600")]).await;
    let clients = crowd(&server, "/ws", 3).await;
    server.signal(Signal::TERM).unwrap();
    end_of(&clients[0]).await;
    for client in &clients[1..] {
        client.close(1000, "").await.unwrap();
    }
    assert!(server.wait_exit(SOON).await.unwrap().success());
    assert_eq!(
        ended(&clients[1..])
            .iter()
            .filter(|e| e.kind == EndKind::Own)
            .count(),
        2
    );
}

#[tokio::test]
async fn silent_clients_do_not_keep_the_process() {
    let mut server = alone(&[("WSC_DRAIN_SECONDS", "1")]).await;
    let clients = crowd(&server, "/ws", 5).await;
    for client in &clients {
        client.set_reading(false).await.unwrap();
    }
    let since = Instant::now();
    server.signal(Signal::TERM).unwrap();
    assert!(server.wait_exit(SOON).await.unwrap().success());
    assert!(
        since.elapsed() >= Duration::from_millis(800),
        "the last is asked at four fifths of the drain time"
    );
}

#[tokio::test]
async fn a_second_signal_ends_it_without_goodbyes() {
    let mut server = alone(&[("WSC_DRAIN_SECONDS", "600")]).await;
    let clients = crowd(&server, "/ws", 2).await;
    // A connection that the drain finds in its handshake is closed at once, without a place in the
    // order.
    let registered = eventually(SOON, "both connections are registered", async || {
        Ok((server.stats().await?["via"]["direct"] == 2).then_some(()))
    });
    registered.await.unwrap();
    server.signal(Signal::INT).unwrap();
    end_of(&clients[0]).await;
    assert_eq!(clients[1].ended(), None);
    server.signal(Signal::TERM).unwrap();
    server.wait_exit(SOON).await.unwrap();
    assert_eq!(end_of(&clients[1]).await.kind, EndKind::Unasked);
}

#[tokio::test]
async fn drain_replaces_a_running_shed() {
    let mut server = alone(&[("WSC_DRAIN_SECONDS", "1")]).await;
    let clients = crowd(&server, "/ws", 6).await;
    let boot_id = server.stats().await.unwrap()["boot_id"].clone();
    let body = serde_json::json!({"boot_id": boot_id, "total": 6, "per_second": 0.01}).to_string();
    server.ask(http::Method::PUT, "/shed", &body).await.unwrap();
    assert!(end_of(&clients[0]).await.reason.starts_with("shed;"));
    server.signal(Signal::TERM).unwrap();
    for client in &clients[1..] {
        let end = end_of(client).await;
        assert!(
            end.kind == EndKind::Asked && end.reason.starts_with("drain;"),
            "{end}"
        );
    }
    assert!(server.wait_exit(SOON).await.unwrap().success());
}
