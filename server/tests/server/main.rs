//! The real `wsc-server` with real clients and, where messages travel between processes, a real
//! Redis.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic, in its helpers too"
)]

mod autobahn;
mod broadcast;
mod capacity;
mod command_line;
mod control;
mod corpus;
mod drain;
mod edges;
mod frames;
mod fuzz;
mod handshake;
#[cfg(target_os = "linux")]
mod leaks;
mod limits;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod paced;
mod redis_access;
mod redis_faults;
mod refused;

use std::path::Path;
use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;
use wsc_testing::client::{Client, Ended, Refused};
use wsc_testing::redis::Redis;
use wsc_testing::server::Server;

/// For what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(20);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_wsc-server"))
}

/// A server by itself.
async fn alone(variables: &[(&str, &str)]) -> Server {
    let variables = [&[("WSC_BROKER", "memory")], variables].concat();
    Server::start(program(), &variables).await.unwrap()
}

/// A server that looks for this Redis, perhaps in vain.
async fn beside(redis: &Redis, variables: &[(&str, &str)]) -> Server {
    let url = redis.url();
    let variables = [
        &[("WSC_BROKER", "redis"), ("WSC_REDIS_URL", url.as_str())],
        variables,
    ]
    .concat();
    Server::start(program(), &variables).await.unwrap()
}

/// Servers on one Redis, ready.
async fn pool<const N: usize>(redis: &Redis) -> [Server; N] {
    let mut servers = Vec::new();
    for _ in 0..N {
        let server = beside(redis, &[]).await;
        server.wait_ready(SOON).await.unwrap();
        servers.push(server);
    }
    servers.try_into().unwrap()
}

async fn connect(server: &Server, path: &str) -> Client {
    server.connect(path).await.unwrap()
}

async fn crowd(server: &Server, path: &str, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(connect(server, path).await);
    }
    clients
}

/// What a client that gets no WebSocket is answered.
async fn refusal(server: &Server, path: &str) -> (u16, HeaderMap, Value) {
    match server.connect(path).await.expect_err("a refusal") {
        Refused::Status {
            status,
            headers,
            body,
        } => (
            status.as_u16(),
            *headers,
            serde_json::from_str(&body).expect("a body in JSON"),
        ),
        other @ Refused::Network(_) => panic!("{other}"),
    }
}

async fn end_of(client: &Client) -> Ended {
    client.wait_end(SOON).await.expect("the connection ends")
}

fn ended(clients: &[Client]) -> Vec<Ended> {
    clients.iter().filter_map(Client::ended).collect()
}
