//! Commands over the Unix sockets of HAProxy, with a deadline on every step.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use wsc_contract::files;

const CONNECT_WAIT: Duration = Duration::from_secs(1);
/// For one line without `wait` and without reload: milliseconds, longer on an overloaded node.
pub(crate) const REPLY_WAIT: Duration = Duration::from_secs(5);
/// The largest reply is `show stat` of 4000 servers, about 2 MiB.
const REPLY_LIMIT: u64 = 16 << 20;

/// The master's reply for a worker that has terminated.
const NO_SUCH_WORKER: &str = "Can't find the target";

/// A command without a reply.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    #[error("{socket}: cannot connect")]
    Connect { socket: &'static str, source: io::Error },
    #[error("{socket}: connection lost")]
    Broken { socket: &'static str, source: io::Error },
    #[error("{socket}: no reply within {wait:?}")]
    Timeout { socket: &'static str, wait: Duration },
    #[error("{socket}: the reply is larger than {REPLY_LIMIT} bytes")]
    Large { socket: &'static str },
    #[error("{socket}: no worker {pid}")]
    NoWorker { socket: &'static str, pid: u32 },
}

/// A socket of HAProxy.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    name: &'static str,
    path: PathBuf,
    /// The master replies until the client shuts down its side; the worker would interrupt a `wait`
    /// then.
    shut_down_after_line: bool,
}

impl Socket {
    /// The socket of the current worker.
    pub(crate) fn runtime(folder: &Path) -> Self {
        Self {
            name: "runtime socket",
            path: folder.join(files::RUNTIME_SOCKET),
            shut_down_after_line: false,
        }
    }

    /// The socket of the master.
    pub(crate) fn master(folder: &Path) -> Self {
        Self {
            name: "master socket",
            path: folder.join(files::MASTER_SOCKET),
            shut_down_after_line: true,
        }
    }

    /// Sends one line and returns the reply, which ends with the connection.
    pub(crate) async fn send(&self, line: &str, wait: Duration) -> Result<String, SocketError> {
        let connect = timeout(CONNECT_WAIT, UnixStream::connect(&self.path)).await;
        let connected = connect.map_err(|_| SocketError::Timeout {
            socket: self.name,
            wait: CONNECT_WAIT,
        })?;
        let stream = connected.map_err(|source| SocketError::Connect {
            socket: self.name,
            source,
        })?;
        timeout(wait, self.exchange(stream, line))
            .await
            .map_err(|_| SocketError::Timeout {
                socket: self.name,
                wait,
            })?
    }

    /// Sends one line to a worker, through the master.
    pub(crate) async fn send_to_worker(&self, pid: u32, line: &str) -> Result<String, SocketError> {
        let reply = self.send(&format!("@!{pid} {line}"), REPLY_WAIT).await?;
        if reply.starts_with(NO_SUCH_WORKER) {
            return Err(SocketError::NoWorker {
                socket: self.name,
                pid,
            });
        }
        Ok(reply)
    }

    async fn exchange(&self, mut stream: UnixStream, line: &str) -> Result<String, SocketError> {
        let broken = |source| SocketError::Broken {
            socket: self.name,
            source,
        };
        stream
            .write_all(format!("{line}\n").as_bytes())
            .await
            .map_err(broken)?;
        if self.shut_down_after_line {
            stream.shutdown().await.map_err(broken)?;
        }
        let mut reply = Vec::new();
        let mut limited = stream.take(REPLY_LIMIT);
        loop {
            let read = limited.read_buf(&mut reply).await.map_err(broken)?;
            // After this reply the master leaves the connection open.
            if read == 0 || reply.starts_with(NO_SUCH_WORKER.as_bytes()) {
                break;
            }
        }
        if limited.limit() == 0 {
            return Err(SocketError::Large { socket: self.name });
        }
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }
}
