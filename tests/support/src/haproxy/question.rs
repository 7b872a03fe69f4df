//! One question, one answer, over a socket of HAProxy.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::cluster::within;

const WAIT: Duration = Duration::from_secs(10);

/// Sends one line to a Unix socket of HAProxy and returns everything up to the end of the
/// connection.
///
/// # Errors
/// If nobody answers.
pub async fn ask(socket: &Path, line: &str) -> Result<String> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        Ok::<_, std::io::Error>(reply)
    };
    within(WAIT, &format!("{line:?} to {}", socket.display()), exchange).await
}
