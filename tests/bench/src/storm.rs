//! Clients that come and go: many handshakes at once, and a hard close of all of them.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::set_socket_linger;

use super::helper::{DONE, obey, say};
use wsc_testing::frames;

/// Handshakes under way at a time: fewer than any subject's backlog.
const WINDOW: usize = 64;

/// Does what it is told:
///
/// - `open COUNT`: so many handshakes
/// - `close`: closes all by a reset, which leaves no port behind that waits
///
/// # Errors
/// When a handshake fails.
pub fn run(port: u16, path: &str) -> Result<()> {
    let mut open: Vec<TcpStream> = Vec::new();
    obey(|words| {
        match words {
            ["open", count] => {
                let count: usize = count.parse()?;
                while open.len() < count {
                    let first = open.len();
                    for _ in 0..WINDOW.min(count - first) {
                        open.push(frames::ask(port, path)?);
                    }
                    for (index, socket) in open.iter_mut().enumerate().skip(first) {
                        frames::heard(socket).with_context(|| format!("client {index}"))?;
                    }
                }
            }
            ["close"] => {
                for socket in open.drain(..) {
                    set_socket_linger(&socket, Some(Duration::ZERO))?;
                }
            }
            _ => bail!("what is that?"),
        }
        say(DONE)
    })
}
