//! Real servers as processes, each as in a pod of its own.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::http::StatusCode;
use data_encoding::HEXLOWER;
use futures::future::try_join_all;
use serde_json::Value;
use wsc_contract::agent::ServerState;
use wsc_haproxy::Server;
use wsc_testing::client::{Client, Options};
use wsc_testing::cluster::eventually;
use wsc_testing::haproxy::{PodOptions, ProxyPod, Signal, program};
use wsc_testing::server;

/// For a state that a machine under load may take long for.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// One server process with room for so many clients.
pub(crate) struct Backend {
    name: String,
    process: server::Server,
}

impl Backend {
    pub(crate) async fn start(name: &str, max_connections: u32) -> Result<Self> {
        let program = program("WSC_BIN_SERVER", "wsc-server")?;
        let variables = [
            ("POD_NAME", name),
            ("WSC_BROKER", "memory"),
            ("WSC_ORIGINS", "*"),
            ("WSC_MAX_CONNECTIONS", &max_connections.to_string()),
        ];
        let process = server::Server::start(&program, &variables).await?;
        process.wait_ready(WAIT).await?;
        let name = name.to_owned();
        Ok(Self { name, process })
    }

    /// Its line in the published set.
    pub(crate) fn server(&self, state: ServerState) -> Server {
        Server {
            name: self.name.clone(),
            address: Ipv4Addr::LOCALHOST.into(),
            port: self.port(),
            cookie: self.cookie(),
            state,
        }
    }

    pub(crate) fn ready(&self) -> Server {
        self.server(ServerState::Ready)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.process.port()
    }

    /// The value of the sticky cookie.
    pub(crate) fn cookie(&self) -> String {
        HEXLOWER.encode(self.name.as_bytes())
    }

    /// Its own `/stats`.
    pub(crate) async fn stats(&self) -> Result<Value> {
        self.process.stats().await
    }

    /// A number in `/stats`, like `/connections` or `/refused/full`.
    pub(crate) async fn count(&self, pointer: &str) -> Result<u64> {
        let stats = self.stats().await?;
        stats
            .pointer(pointer)
            .and_then(Value::as_u64)
            .with_context(|| format!("{pointer} in {stats}"))
    }

    /// SIGKILL, as the kernel does it to who takes too much memory.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait_exit(WAIT).await.map(drop)
    }
}

/// `chat-0` to `chat-{count - 1}`, with room for 1000 clients each.
pub(crate) async fn pool(count: usize) -> Result<Vec<Backend>> {
    let names: Vec<String> = (0..count).map(|number| format!("chat-{number}")).collect();
    try_join_all(names.iter().map(|name| Backend::start(name, 1_000))).await
}

/// All of them in rotation.
pub(crate) fn ready(backends: &[Backend]) -> Vec<Server> {
    backends.iter().map(Backend::ready).collect()
}

/// A client that comes without a cookie.
pub(crate) async fn connect(pod: &ProxyPod) -> Result<Client> {
    Ok(Client::connect(&Options::new(pod.url())).await?)
}

/// A client that comes back with the cookie of this server.
pub(crate) async fn come_back(pod: &ProxyPod, backend: &Backend) -> Result<Client> {
    let cookie = format!("wsc={}", backend.cookie());
    Ok(Client::connect(&Options::new(pod.url()).cookie(&cookie)).await?)
}

/// Whether what the client says comes back to it, by the whole way.
pub(crate) async fn answers(client: &Client, word: &str) -> bool {
    let before = client.received();
    client.send_text(word).await.is_ok() && client.wait_received(before + 1, WAIT).await
}

/// The cookie that HAProxy gave to this client; `None` if it keeps the one that it came with.
pub(crate) fn given(client: &Client) -> Option<String> {
    let cookies = client.opened().cookies();
    cookies
        .iter()
        .find_map(|cookie| cookie.strip_prefix("wsc="))
        .map(str::to_owned)
}

/// Waits until the pod may get clients.
pub(crate) async fn is_ready(pod: &ProxyPod) -> Result<()> {
    eventually(WAIT, "a ready pod", || async {
        Ok((pod.admin("/readyz").await?.0 == StatusCode::OK).then_some(()))
    })
    .await
}

/// Fault proxies before both sockets of HAProxy.
pub(crate) fn with_faults() -> PodOptions {
    PodOptions {
        faults: true,
        ..PodOptions::default()
    }
}

/// Waits until the agent has asked HAProxy so many more times.
pub(crate) async fn tries(pod: &ProxyPod, count: u64) -> Result<()> {
    let faults = pod.runtime_faults()?;
    let before = faults.connections();
    eventually(WAIT, "tries of the agent", || async {
        Ok((faults.connections() >= before + count).then_some(()))
    })
    .await
}
