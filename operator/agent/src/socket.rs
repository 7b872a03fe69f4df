//! One question, one answer, over a Unix socket of HAProxy, with a deadline on every step.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

const CONNECT_WAIT: Duration = Duration::from_secs(1);
/// For one line without `wait` and without reload; HAProxy answers in milliseconds, a starved node later.
pub const REPLY_WAIT: Duration = Duration::from_secs(5);
/// The largest answer is `show stat` of 4000 servers, about 2 MiB.
const REPLY_LIMIT: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum SocketError {
    #[error("{socket}: no connection: {source}")]
    Connect { socket: &'static str, source: io::Error },
    #[error("{socket}: {source}")]
    Broken { socket: &'static str, source: io::Error },
    #[error("{socket}: no answer within {wait:?}")]
    Late { socket: &'static str, wait: Duration },
    #[error("{socket}: the answer is larger than {REPLY_LIMIT} bytes")]
    Large { socket: &'static str },
    #[error("{socket}: there is no worker {pid}")]
    NoWorker { socket: &'static str, pid: u32 },
}

/// A socket of HAProxy.
#[derive(Debug, Clone)]
pub struct Socket {
    name: &'static str,
    path: PathBuf,
    /// The master's command line stays open until the client ends its side; the worker's would interrupt a `wait` then.
    end_after_line: bool,
}

impl Socket {
    /// The socket of the current worker.
    pub fn runtime(folder: &Path) -> Self {
        Self {
            name: "runtime socket",
            path: folder.join("haproxy.sock"),
            end_after_line: false,
        }
    }

    /// The socket of the master.
    pub fn master(folder: &Path) -> Self {
        Self {
            name: "master socket",
            path: folder.join("master.sock"),
            end_after_line: true,
        }
    }

    /// Sends one line and returns everything that comes until HAProxy ends the connection.
    pub async fn ask(&self, line: &str, wait: Duration) -> Result<String, SocketError> {
        let connect = timeout(CONNECT_WAIT, UnixStream::connect(&self.path)).await;
        let connected = connect.map_err(|_| SocketError::Late {
            socket: self.name,
            wait: CONNECT_WAIT,
        })?;
        let stream = connected.map_err(|source| SocketError::Connect {
            socket: self.name,
            source,
        })?;
        timeout(wait, self.exchange(stream, line))
            .await
            .map_err(|_| SocketError::Late {
                socket: self.name,
                wait,
            })?
    }

    /// The same for one worker, by way of the master.
    pub async fn ask_worker(&self, pid: u32, line: &str) -> Result<String, SocketError> {
        let reply = self.ask(&format!("@!{pid} {line}"), REPLY_WAIT).await?;
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
        if self.end_after_line {
            stream.shutdown().await.map_err(broken)?;
        }
        let mut reply = Vec::new();
        let mut limited = stream.take(REPLY_LIMIT);
        loop {
            let read = limited.read_buf(&mut reply).await.map_err(broken)?;
            // After this answer the master does not end the connection.
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

const NO_SUCH_WORKER: &str = "Can't find the target";
