//! What running programs answer: `/stats` of a server, `/status` of an agent, and `--help`.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use wsc_contract::agent::ServerState;
use wsc_haproxy::{BackendSet, Server as Backend, ServerOptions, structure_of};
use wsc_testing::client::{Client, Options};
use wsc_testing::haproxy::{PodOptions, ProxyPod, Signal};
use wsc_testing::redis::Redis;
use wsc_testing::server::Server;

use super::folder::{Folder, variable};
use super::normalise::Normaliser;

const WAIT: Duration = Duration::from_mins(1);
/// Time enough to read `/stats` while the server drains.
const DRAIN_SECONDS: &str = "60";
const CLIENTS: u64 = 8;

/// Commands whose help is kept, by the variable that names the program.
const HELP: [(&str, &str, &[&str]); 6] = [
    ("wsc-operator", "WSC_BIN_OPERATOR", &[]),
    ("wsc-operator-run", "WSC_BIN_OPERATOR", &["run"]),
    ("wsc-proxy-agent", "WSC_BIN_PROXY_AGENT", &[]),
    ("wsc-proxy-agent-init", "WSC_BIN_PROXY_AGENT", &["init"]),
    ("wsc-proxy-agent-run", "WSC_BIN_PROXY_AGENT", &["run"]),
    ("wsc-server", "WSC_BIN_SERVER", &[]),
];

pub(super) async fn write(folder: &Folder) -> Result<()> {
    for (name, program, words) in HELP {
        folder.write(&format!("help/{name}.txt"), &help(&variable(program)?, words)?)?;
    }
    let program: OsString = variable("WSC_BIN_SERVER")?;
    let program = Path::new(&program);
    server(folder, program).await?;
    server_alone(folder, program).await?;
    agent(folder, program).await
}

/// The text of `--help`, in an environment without variables, whose values it would show.
fn help(program: &OsString, words: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    let output = command.args(words).arg("--help").env_clear().output();
    let output = output.with_context(|| format!("starting {}", program.to_string_lossy()))?;
    ensure!(
        output.status.success(),
        "{} --help failed",
        program.to_string_lossy()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A server pod: with clients, after a shed, cordoned, draining.
async fn server(folder: &Folder, program: &Path) -> Result<()> {
    let redis = Redis::start().await?;
    let url = redis.url();
    let variables = [
        ("POD_NAME", "chat-0"),
        ("WSC_BROKER", "redis"),
        ("WSC_REDIS_URL", url.as_str()),
        ("WSC_REDIS_PREFIX", "wsc:ns:chat:"),
        ("WSC_DRAIN_SECONDS", DRAIN_SECONDS),
    ];
    let server = Server::start(program, &variables).await?;
    server.wait_ready(WAIT).await?;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut options = Options::new(server.url("/ws"));
        if number % 2 == 0 {
            options = options.header("x-wsc-via", "chat-proxy-0");
        }
        clients.push(Client::connect(&options).await?);
    }
    let is_open = |stats: &Value| stats["accepted_total"] == CLIENTS && stats["connections"] == CLIENTS;
    let stats = server
        .wait_stats(WAIT, "all clients are connected", is_open)
        .await?;
    keep(folder, "stats", stats.clone())?;

    let shed = json!({"boot_id": stats["boot_id"], "total": 1, "per_second": 50.0, "via": null});
    server.ask(Method::PUT, "/shed", &shed.to_string()).await?;
    let is_shed = |stats: &Value| stats["shed_total"] == 1 && stats["closed_total"] == 1;
    let stats = server.wait_stats(WAIT, "one client is shed", is_shed).await?;
    keep(folder, "stats-shed", stats)?;

    let other = json!({"boot_id": "other", "total": 1, "per_second": 50.0});
    let refused = server.ask(Method::PUT, "/shed", &other.to_string()).await?;
    ensure!(
        refused.status.as_u16() == 409,
        "another boot_id: {}",
        refused.status
    );
    keep(folder, "shed-conflict", refused.json()?)?;

    let cordoned = server.ask(Method::PUT, "/cordon", "").await?;
    keep(folder, "stats-cordoned", cordoned.json()?)?;

    server.signal(Signal::TERM)?;
    let is_terminating = |stats: &Value| stats["terminating"] == true && stats["closed_total"] == 2;
    let stats = server
        .wait_stats(WAIT, "the first client of the drain", is_terminating)
        .await?;
    keep(folder, "stats-leaving", stats)
}

/// A server without pod and Redis.
async fn server_alone(folder: &Folder, program: &Path) -> Result<()> {
    let server = Server::start(program, &[("WSC_BROKER", "memory")]).await?;
    server.wait_ready(WAIT).await?;
    keep(folder, "stats-memory", server.stats().await?)
}

/// A proxy pod: serving, with a refused configuration, and before HAProxy answers.
async fn agent(folder: &Folder, program: &Path) -> Result<()> {
    let server = Server::start(program, &[("POD_NAME", "chat-0"), ("WSC_BROKER", "memory")]).await?;
    server.wait_ready(WAIT).await?;
    let backend = |name: &str, state| Backend {
        name: name.to_owned(),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        port: server.port(),
        cookie: "0011223344556677".to_owned(),
        state,
    };
    let servers = [
        backend("chat-0", ServerState::Ready),
        backend("chat-1", ServerState::Maint),
    ];
    let mut pod = ProxyPod::start(PodOptions::default(), &servers).await?;
    let client = Client::connect(&Options::new(pod.url())).await?;
    let found = pod.wait("one client", |status| {
        status.connections == 1 && status.server("chat-0").is_some_and(|s| s.up)
    });
    found.await?;
    keep(folder, "status", status(&pod).await?)?;
    drop(client);

    let (text, json) = broken(&pod)?;
    pod.publish_text(&text, &json)?;
    let refused = pod.wait("a refused configuration", |status| {
        status.refusal.is_some() && status.connections == 0
    });
    refused.await?;
    keep(folder, "status-refused", status(&pod).await?)?;

    let mut early = ProxyPod::prepare(PodOptions::default())?;
    early.publish(&servers)?;
    early.start_agent()?;
    let waits = early.wait("an agent without HAProxy", |status| {
        !status.wanted_hash.is_empty()
    });
    waits.await?;
    keep(folder, "status-without-haproxy", status(&early).await?)
}

/// The published pair with a line that HAProxy refuses, and a hash that fits.
fn broken(pod: &ProxyPod) -> Result<(String, String)> {
    let (text, json) = pod.published()?;
    let set = BackendSet::from_json(&json)?;
    let text = text.replacen("balance leastconn", "balance nonsense", 1);
    let structure = structure_of(&text);
    let text = text.replace(&set.structure, &structure);
    let set = BackendSet::new(structure, ServerOptions::default(), set.servers);
    Ok((text, set.to_json()))
}

async fn status(pod: &ProxyPod) -> Result<Value> {
    let (_, text) = pod.admin("/status").await?;
    serde_json::from_str(&text).with_context(|| format!("/status: {text}"))
}

fn keep(folder: &Folder, name: &str, mut document: Value) -> Result<()> {
    Normaliser::default().apply(&mut document);
    let text = serde_json::to_string_pretty(&document).context("a document as JSON")?;
    folder.write(&format!("documents/{name}.json"), &format!("{text}\n"))
}
