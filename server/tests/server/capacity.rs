//! A full server says so before the upgrade, and to the proxy.

use std::path::Path;

use tokio::process::Command;
use wsc_testing::http1;
use wsc_testing::server::Server;

use crate::{SOON, alone, connect, crowd, program, refusal};

async fn check(server: &Server) -> u16 {
    http1::get(server.port(), "/wsc/lb")
        .await
        .unwrap()
        .status
        .as_u16()
}

#[tokio::test]
async fn client_over_capacity_gets_503_with_retry() {
    let server = alone(&[("WSC_MAX_CONNECTIONS", "2")]).await;
    let clients = crowd(&server, "/ws", 2).await;
    let (code, headers, body) = refusal(&server, "/ws").await;
    assert_eq!((code, &body["error"]), (503, &"full".into()));
    assert_eq!(headers["retry-after"], "2");
    let stats = server.stats().await.unwrap();
    assert_eq!(
        (
            &stats["connections"],
            &stats["capacity"],
            &stats["refused"]["full"]
        ),
        (&2.into(), &2.into(), &1.into())
    );
    let refused = server
        .metric("wsc_server_refused_total{reason=\"full\"}")
        .await
        .unwrap();
    assert_eq!(refused, 1);
    clients[0].close(1000, "").await.unwrap();
    server.wait_connections(1, SOON).await.unwrap();
    connect(&server, "/ws").await;
    assert_eq!(clients[1].ended(), None);
}

#[tokio::test]
async fn full_server_is_unready_until_97_percent() {
    let server = alone(&[("WSC_MAX_CONNECTIONS", "100")]).await;
    let mut clients = crowd(&server, "/ws", 99).await;
    assert_eq!(check(&server).await, 200);
    clients.push(connect(&server, "/ws").await);
    assert_eq!(check(&server).await, 404);
    for (left, status) in [(99, 404), (98, 404), (97, 200)] {
        clients.pop();
        server.wait_connections(left, SOON).await.unwrap();
        assert_eq!(check(&server).await, status, "{left} connections");
    }
    clients.push(connect(&server, "/ws").await);
    assert_eq!(
        check(&server).await,
        200,
        "on the way up it stays until it is full"
    );
}

#[tokio::test]
async fn a_refused_handshake_takes_no_slot() {
    let server = alone(&[("WSC_MAX_CONNECTIONS", "1")]).await;
    for _ in 0..5 {
        server.connect("/nowhere").await.expect_err("404");
    }
    let stats = server.stats().await.unwrap();
    assert_eq!(
        (&stats["connections"], &stats["accepted_total"]),
        (&0.into(), &0.into())
    );
    connect(&server, "/ws").await;
}

/// The server under a shell that sets limits for it.
async fn limited(limits: &str) -> Server {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        &format!("{limits} && exec \"$0\" --broker memory --port 0 --control-port 0 --log-format json"),
    ]);
    command.arg(program() as &Path).env_remove("POD_NAME");
    Server::spawn(command).await.unwrap()
}

#[tokio::test]
async fn open_file_limit_bounds_the_capacity() {
    let server = limited("ulimit -n 300").await;
    assert_eq!(server.stats().await.unwrap()["capacity"], 44);
    let line = server.log().into_iter().find(|l| l.contains("capacity lowered"));
    assert!(line.is_some_and(|l| l.contains("\"requested\":10000") && l.contains("\"open_files\":300")));
    assert_eq!(
        server.metric("wsc_server_capacity").await.unwrap().to_string(),
        "44"
    );
}

#[tokio::test]
async fn soft_file_limit_becomes_the_hard_one() {
    let server = limited("ulimit -Sn 300 && ulimit -Hn 1256").await;
    assert_eq!(server.stats().await.unwrap()["capacity"], 1000);
}
