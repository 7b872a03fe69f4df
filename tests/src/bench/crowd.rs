//! Many clients in one process. They answer pings and count the bytes of messages, since every subject sends the same frames.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::helper::DONE;

/// Sockets of one look.
const LOOK: usize = 1024;
/// What stands for the standard input among the sockets.
const INPUT: u64 = u64::MAX;
/// First byte of a ping.
const PING: u8 = 0x89;
/// The answer, masked with zeros.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// Connects so many clients to a room, says that they are there, and does what it is told, one thing after the other:
///
/// - `get BYTES`: waits until every client has so many more bytes
/// - `put BYTES TIMES`: the first client says so much so many times, and everybody gets it
///
/// # Errors
/// When a client is refused or closed, or gets more than was sent.
pub fn run(port: u16, clients: usize) -> Result<()> {
    let mut crowd = Crowd::connect(port, clients)?;
    say()?;
    let mut events = Vec::with_capacity(LOOK);
    loop {
        events.clear();
        epoll::wait(&crowd.epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let who = event.data.u64();
            if who != INPUT {
                crowd.read(usize::try_from(who)?)?;
            } else if !crowd.listen()? {
                return Ok(());
            }
        }
    }
}

fn say() -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{DONE}")?;
    Ok(out.flush()?)
}

struct Crowd {
    clients: Vec<Client>,
    epoll: OwnedFd,
    /// Bytes that were sent to all of them and have not come.
    missing: usize,
    buffer: Vec<u8>,
    /// A line that is not whole.
    heard: String,
}

struct Client {
    socket: TcpStream,
    frames: Frames,
}

/// Where one client is in what it reads.
#[derive(Debug, Default)]
struct Frames {
    header: Vec<u8>,
    payload_left: u64,
}

/// What came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    message_bytes: usize,
    pings: usize,
}

impl Frames {
    /// Goes on reading. Pings have no payload.
    fn read(&mut self, mut bytes: &[u8]) -> Came {
        let mut came = Came::default();
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let here = usize::try_from(self.payload_left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.payload_left -= here as u64;
                came.message_bytes += here;
                bytes = &bytes[here..];
                continue;
            }
            self.header.push(byte);
            bytes = rest;
            let length = match self.header[..] {
                [_, short @ 0..=125] => u64::from(short),
                [_, 126, a, b] => u64::from(u16::from_be_bytes([a, b])),
                [_, 127, ref long @ ..] => match long.first_chunk() {
                    Some(length) => u64::from_be_bytes(*length),
                    None => continue,
                },
                _ => continue,
            };
            self.payload_left = length;
            if self.header[0] == PING {
                came.pings += 1;
            } else {
                came.message_bytes += self.header.len();
            }
            self.header.clear();
        }
        came
    }
}

impl Crowd {
    fn connect(port: u16, count: usize) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut clients = Vec::with_capacity(count);
        for index in 0..count {
            let socket = handshake(port).with_context(|| format!("client {index}"))?;
            socket.set_nonblocking(true)?;
            epoll::add(&epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
            clients.push(Client {
                socket,
                frames: Frames::default(),
            });
        }
        epoll::add(
            &epoll,
            std::io::stdin(),
            EventData::new_u64(INPUT),
            EventFlags::IN,
        )?;
        Ok(Self {
            clients,
            epoll,
            missing: 0,
            buffer: vec![0; 1 << 16],
            heard: String::new(),
        })
    }

    /// Reads what it is told; false at the end.
    fn listen(&mut self) -> Result<bool> {
        let mut bytes = [0; 256];
        // Not by a reader with a buffer of its own, which epoll would not see.
        let read = rustix::io::read(std::io::stdin(), &mut bytes)?;
        self.heard.push_str(std::str::from_utf8(&bytes[..read])?);
        while let Some((line, rest)) = self.heard.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.heard = rest;
            self.obey(&line)?;
        }
        Ok(read > 0)
    }

    fn obey(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<usize>().context("not a number");
        let each = match words[..] {
            ["get", bytes] => number(bytes)?,
            ["put", bytes, times] => {
                let (frame, times) = (frame(number(bytes)?), number(times)?);
                let first = self.clients.first_mut().context("nobody is there")?;
                first
                    .socket
                    .write_all(&frame.repeat(times))
                    .context("the server does not read")?;
                // What servers send has no mask.
                (frame.len() - 4) * times
            }
            _ => bail!("what is {line:?}?"),
        };
        self.missing += each * self.clients.len();
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let client = self.clients.get_mut(index).context("no such client")?;
        let read = match client.socket.read(&mut self.buffer) {
            Ok(0) => bail!("client {index} was closed"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let came = client.frames.read(&self.buffer[..read]);
        for _ in 0..came.pings {
            client
                .socket
                .write_all(&PONG)
                .context("the server does not read")?;
        }
        if came.message_bytes > 0 {
            let left = self.missing.checked_sub(came.message_bytes);
            self.missing = left.context("more came than was sent")?;
            if self.missing == 0 {
                say()?;
            }
        }
        Ok(())
    }
}

fn handshake(port: u16) -> Result<TcpStream> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_nodelay(true)?;
    let request = "GET /ws/bench HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    ensure!(
        head.starts_with(b"HTTP/1.1 101 "),
        "refused: {}",
        String::from_utf8_lossy(&head)
    );
    Ok(socket)
}

/// A binary frame of a client, whose mask is zero.
fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u16::try_from(bytes) {
        Ok(length @ 0..=125) => frame.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 0x7e);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 0x7f);
            frame.extend((bytes as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.resize(frame.len() + bytes, b'x');
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_with_their_headers_and_pings_are_not() {
        let message = |length: usize| {
            let mut sent = frame(length);
            // As a server sends it.
            sent[1] &= 0x7f;
            let header = sent.len() - length - 4;
            sent.drain(header..header + 4);
            sent
        };
        let mut bytes = Vec::new();
        let mut wanted = 0;
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            bytes.extend(message(length));
            bytes.extend([PING, 0]);
            wanted += message(length).len();
        }
        for step in [1, 7, 4096, bytes.len()] {
            let mut frames = Frames::default();
            let mut sum = Came::default();
            for piece in bytes.chunks(step) {
                let came = frames.read(piece);
                sum.message_bytes += came.message_bytes;
                sum.pings += came.pings;
            }
            let all = Came {
                message_bytes: wanted,
                pings: 6,
            };
            assert_eq!(sum, all);
        }
    }
}
