//! The floor of a broadcast: one `send(2)` of bytes that are ready to as many sockets, and nothing
//! else.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result, bail, ensure};

use super::helper::{DONE, obey, say};
use super::{HEADER, PAYLOAD};

/// The answer to a handshake; nobody checks it.
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

/// Prints its port, accepts `clients` connections, prints that it has them, and then sends to each
/// as many frames in one call as each number that it reads.
///
/// # Errors
/// When a client does not take what it is sent.
pub fn run(clients: usize) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    say(&listener.local_addr()?.port().to_string())?;
    let mut sockets = Vec::with_capacity(clients);
    for _ in 0..clients {
        sockets.push(accept(&listener)?);
    }
    say(DONE)?;
    obey(|words| {
        let [frames] = words else {
            bail!("not a number of frames")
        };
        let bytes = frame().repeat(frames.parse()?);
        for socket in &mut sockets {
            let sent = socket.write(&bytes).context("a client does not read")?;
            ensure!(sent == bytes.len(), "a client does not read fast enough");
        }
        say(DONE)
    })
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (mut socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        let read = socket.read(&mut buffer)?;
        ensure!(read > 0, "a client left in its handshake");
        head.extend_from_slice(&buffer[..read]);
    }
    socket.write_all(ANSWER)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A binary message as a server sends it.
fn frame() -> Vec<u8> {
    let [high, low] = u16::try_from(PAYLOAD).unwrap_or(u16::MAX).to_be_bytes();
    let mut frame = vec![0x82, 126, high, low];
    frame.resize(HEADER + PAYLOAD, b'x');
    frame
}
