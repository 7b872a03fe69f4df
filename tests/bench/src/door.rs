//! The floor of a handshake: accept, epoll, httparse, the answer, and nothing else; and that of an
//! echo: one read and one write.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::net::{SocketFlags, accept_with};
use sha1::{Digest, Sha1};
use wsc_testing::epoll::wait;

use super::helper::say;

/// Sockets of one look.
const LOOK: usize = 1024;
/// What stands for the listener among the sockets.
const LISTENER: u64 = u64::MAX;
/// More headers than a client sends.
const HEADERS: usize = 32;
/// RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Says its port and answers handshakes until it is ended.
///
/// # Errors
/// When the kernel does not do what it should.
pub fn run() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    say(&listener.local_addr()?.port().to_string())?;
    // By the number of the file.
    let mut sockets: Vec<Option<Guest>> = Vec::new();
    let mut events = Vec::with_capacity(LOOK);
    let mut buffer = [0; 4096];
    loop {
        wait(&epoll, &mut events, None)?;
        for event in &events {
            let who = event.data.u64();
            if who == LISTENER {
                accept(&listener, &epoll, &mut sockets)?;
                continue;
            }
            let Some(place) = sockets.get_mut(usize::try_from(who)?) else {
                continue;
            };
            if !place.as_mut().is_some_and(|guest| guest.serve(&mut buffer)) {
                *place = None;
            }
        }
    }
}

fn accept(listener: &TcpListener, epoll: &OwnedFd, sockets: &mut Vec<Option<Guest>>) -> Result<()> {
    loop {
        let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => TcpStream::from(socket),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("accept"),
        };
        socket.set_nodelay(true)?;
        let file = usize::try_from(socket.as_raw_fd())?;
        epoll::add(epoll, &socket, EventData::new_u64(file as u64), EventFlags::IN)?;
        if sockets.len() <= file {
            sockets.resize_with(file + 1, || None);
        }
        sockets[file] = Some(Guest {
            socket,
            greeted: false,
        });
    }
}

struct Guest {
    socket: TcpStream,
    greeted: bool,
}

impl Guest {
    /// Whether it stays.
    fn serve(&mut self, buffer: &mut [u8]) -> bool {
        let Some(read) = self.socket.read(buffer).ok().filter(|read| *read > 0) else {
            return false;
        };
        if self.greeted {
            return echo(&mut buffer[..read]).is_some_and(|frame| self.socket.write_all(frame).is_ok());
        }
        self.greeted = true;
        answer(&buffer[..read]).is_some_and(|answer| self.socket.write_all(answer.as_bytes()).is_ok())
    }
}

/// A client's frame as the server sends it back, in its place; none when it is not one short frame.
fn echo(bytes: &mut [u8]) -> Option<&[u8]> {
    /// Without the mask, which is on the way in only.
    const MASK: usize = 4;
    let length = bytes.get(1)? & 0x7f;
    let header = match length {
        ..126 => 2,
        126 => 4,
        _ => return None,
    };
    let mask: [u8; MASK] = bytes.get(header..header + MASK)?.try_into().ok()?;
    for (byte, mask) in bytes[header + MASK..].iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    bytes[1] = length;
    bytes.copy_within(..header, MASK);
    Some(&bytes[MASK..])
}

/// What a handshake is answered; none when it is no whole handshake.
fn answer(request: &[u8]) -> Option<String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    if !parsed.parse(request).ok()?.is_complete() {
        return None;
    }
    let header = |name: &str| {
        let found = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value)
    };
    let upgrade = header("upgrade")?.eq_ignore_ascii_case(b"websocket");
    if !upgrade || header("sec-websocket-version")? != b"13" {
        return None;
    }
    let mut hash = Sha1::new();
    hash.update(header("sec-websocket-key")?);
    hash.update(GUID);
    let accept = STANDARD.encode(hash.finalize());
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::{answer, echo};

    #[test]
    fn echo_is_the_frame_unmasked() {
        let mut frame = vec![0x81, 0x83, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3];
        assert_eq!(echo(&mut frame), Some(&[0x81, 3, b'a', b'b', b'c'][..]));
        let payload = [7; 130];
        let mut frame = [&[0x82, 0xfe, 0, 130, 0, 0, 0, 0][..], &payload].concat();
        assert_eq!(
            echo(&mut frame),
            Some(&*[&[0x82, 126, 0, 130][..], &payload].concat())
        );
        assert_eq!(echo(&mut [0x82, 0xff, 0, 0]), None);
    }

    #[test]
    fn handshake_is_answered_as_in_rfc() {
        let request = "GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        let said = answer(request.as_bytes()).unwrap();
        assert!(said.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
        assert_eq!(answer(&request.as_bytes()[..request.len() - 1]), None);
        assert_eq!(answer(request.replace("websocket\r", "tls\r").as_bytes()), None);
    }
}
