//! Who is measured: our program as it is shipped, and the peers in `tests/bench/peers`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::helper::{Helper, pinned};
use super::{CLIENT_CPU, SERVER_CPU};
use wsc_testing::redis::Redis;
use wsc_testing::server::Server;

const READY_LIMIT: Duration = Duration::from_secs(10);
/// Where clients are who do not say otherwise.
const ROOM: &str = "/ws/bench";

/// Our program: limits, origin check and heartbeat on.
#[derive(Debug)]
pub(crate) struct Ours {
    server: Server,
}

impl Ours {
    /// On the servers' CPU, with these variables beside the usual ones.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start(broker: Broker<'_>, more: &[(&str, &str)]) -> Result<Self> {
        Self::start_on(&[SERVER_CPU], broker, more).await
    }

    /// On other CPUs.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start_on(cpus: &[u32], broker: Broker<'_>, more: &[(&str, &str)]) -> Result<Self> {
        let mut command = command(cpus, broker)?;
        command.envs(more.iter().copied());
        let server = Server::spawn(command).await?;
        server.wait_ready(READY_LIMIT).await?;
        Ok(Self { server })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Where its clients connect.
    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    /// So many clients in one room.
    ///
    /// # Errors
    /// When one is refused.
    pub(crate) fn crowd(&self, clients: usize) -> Result<Helper> {
        crowd(self.port(), clients, ROOM)
    }
}

/// How messages of ours travel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Broker<'a> {
    /// Through Redis.
    Redis(&'a Redis),
    /// Within the process.
    Memory,
}

/// Our program on these CPUs, not started.
///
/// # Errors
/// When nobody says where it is.
pub(crate) fn command(cpus: &[u32], broker: Broker<'_>) -> Result<tokio::process::Command> {
    let mut command = tokio::process::Command::from(pinned(cpus, program()?.as_os_str()));
    command.env_remove("POD_NAME").envs([
        ("WSC_PORT", "0"),
        ("WSC_CONTROL_PORT", "0"),
        ("WSC_MAX_CONNECTIONS", "19500"),
        ("WSC_LOG_FORMAT", "json"),
    ]);
    match broker {
        Broker::Redis(redis) => command
            .env("WSC_BROKER", "redis")
            .env("WSC_REDIS_URL", redis.url()),
        Broker::Memory => command.env("WSC_BROKER", "memory"),
    };
    Ok(command)
}

/// Where our program is.
///
/// # Errors
/// When nobody says.
pub(crate) fn program() -> Result<PathBuf> {
    Ok(variable("WSC_BIN_SERVER")?.into())
}

fn variable(name: &str) -> Result<OsString> {
    std::env::var_os(name).with_context(|| format!("{name} is not set: run `cargo xtask bench server`"))
}

/// So many clients at once, on the clients' CPU.
///
/// # Errors
/// When one is refused.
pub(crate) fn crowd(port: u16, clients: usize, path: &str) -> Result<Helper> {
    let mut crowd = crowd_that_comes(port, clients, path)?;
    crowd.done()?;
    Ok(crowd)
}

/// The same, without waiting until they are there.
///
/// # Errors
/// When it does not start.
pub(crate) fn crowd_that_comes(port: u16, clients: usize, path: &str) -> Result<Helper> {
    Helper::start(
        &[CLIENT_CPU],
        &["crowd", &port.to_string(), &clients.to_string(), path],
    )
}

/// What others would take instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// axum's WebSockets as they come.
    AxumDefaults,
    /// The same with buffers of 512 bytes.
    AxumSmall,
    /// `ws` on Node, with `redis` where there is one.
    Node,
    /// The Go library under Centrifugo, with its Redis broker where there is a Redis.
    Centrifuge,
}

impl Kind {
    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AxumDefaults => "axum ws, defaults",
            Self::AxumSmall => "axum ws, 512 B buffers",
            Self::Node => "Node ws",
            Self::Centrifuge => "centrifuge",
        }
    }

    /// Where its clients connect.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Centrifuge => "/connection/websocket",
            _ => ROOM,
        }
    }

    fn command(self, cpus: &[u32]) -> Result<Command> {
        Ok(match self {
            Self::AxumDefaults => pinned(cpus, &variable("WSC_PEER_AXUM")?),
            Self::AxumSmall => {
                let mut command = pinned(cpus, &variable("WSC_PEER_AXUM")?);
                command.arg("--small-buffers");
                command
            }
            Self::Node => {
                let mut command = pinned(cpus, "node".as_ref());
                command
                    .arg(variable("WSC_PEER_NODE")?)
                    .env("NODE_ENV", "production");
                command
            }
            Self::Centrifuge => pinned(cpus, &variable("WSC_PEER_CENTRIFUGE")?),
        })
    }
}

/// A running peer; it ends with this value.
#[derive(Debug)]
pub(crate) struct Peer {
    kind: Kind,
    program: Helper,
    port: u16,
}

impl Peer {
    /// Starts it on these CPUs and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn start(kind: Kind, cpus: &[u32], redis: Option<&Redis>) -> Result<Self> {
        let mut command = kind.command(cpus)?;
        command.env("PORT", "0");
        if let Some(redis) = redis {
            command
                .env("REDIS_URL", redis.url())
                .env("REDIS_ADDRESS", format!("127.0.0.1:{}", redis.port()));
        }
        let started = Helper::spawn(command).and_then(|mut program| {
            let port = program.hear()?.parse()?;
            Ok(Self { kind, program, port })
        });
        started.with_context(|| kind.name())
    }

    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Where its clients connect.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}
