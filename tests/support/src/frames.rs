//! The client's side of a socket: the least that every subject understands.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

/// A binary message, whole.
pub const BINARY: u8 = 0x82;
/// A text message, whole.
pub const TEXT: u8 = 0x81;
/// First byte of a ping.
pub const PING: u8 = 0x89;
/// The answer to one without payload, masked with zeros.
pub const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
/// Bytes that a frame of a client is longer than the same one of a server.
pub const MASK: usize = 4;

/// An answer that takes longer is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// More than any head of an answer.
const HEAD: usize = 2048;

/// Connects and shakes hands; the socket blocks.
///
/// # Errors
/// When there is no answer, or a refusal.
pub fn connect(port: u16, path: &str) -> Result<TcpStream> {
    let mut socket = ask(port, path)?;
    heard(&mut socket)?;
    Ok(socket)
}

/// Connects and asks, without waiting for the answer.
///
/// # Errors
/// When there is nobody.
pub fn ask(port: u16, path: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes())?;
    Ok(socket)
}

/// Waits for the answer. Nobody may send a message before all are there.
///
/// # Errors
/// When it is a refusal, or something follows it.
pub fn heard(socket: &mut TcpStream) -> Result<()> {
    let mut head = [0; HEAD];
    let mut filled = 0;
    while !head[..filled].ends_with(b"\r\n\r\n") {
        match socket.read(&mut head[filled..])? {
            0 => bail!("closed in the handshake"),
            read => filled += read,
        }
    }
    ensure!(
        head.starts_with(b"HTTP/1.1 101 "),
        "refused: {}",
        String::from_utf8_lossy(&head[..filled])
    );
    Ok(())
}

/// A frame of a client, whose mask is zero.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 0x7e);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 0x7f);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; MASK]);
    frame.extend(payload);
    frame
}

/// A binary frame as a server sends it.
pub fn unmasked(payload: &[u8]) -> Vec<u8> {
    let mut sent = frame(BINARY, payload);
    sent[1] &= 0x7f;
    let header = sent.len() - payload.len() - MASK;
    sent.drain(header..header + MASK);
    sent
}

/// The first frame of a server in these bytes and where it ends; none when it is not whole.
pub fn first_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (length, header) = match *rest.first()? {
        126 => (u64::from(u16::from_be_bytes(*rest.get(1..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.get(1..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let end = header + usize::try_from(length).ok()?;
    Some((first, bytes.get(header..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_is_found_only_when_whole() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut bytes = unmasked(&payload);
            let end = bytes.len();
            assert_eq!(first_frame(&bytes[..end - 1]), None);
            bytes.push(BINARY);
            assert_eq!(first_frame(&bytes), Some((BINARY, &payload[..], end)));
        }
        assert_eq!(first_frame(&[]), None);
    }
}
