//! Many clients in one process. They answer pings and count the bytes of messages, since every
//! subject sends the same frames. One thread with epoll over raw sockets, not
//! `wsc_testing::clients`: a task and a record per client would be measured, too.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::helper::{DONE, Lines, say};
use wsc_testing::epoll::wait;
use wsc_testing::frames::{BINARY, MASK, PING, PONG, connect, frame};

/// Sockets of one look.
const LOOK: usize = 1024;
/// Between looks. Who sleeps in epoll has to be woken by the send, and the subject would pay for
/// that, the more the faster the crowd is.
const NAP: Duration = Duration::from_micros(300);
/// What stands for the standard input among the sockets.
const INPUT: u64 = u64::MAX;

/// Connects `clients` clients to a path, in which `{}` is the number of the client, prints that
/// they are connected, and executes the commands that it reads, one after the other:
///
/// - `get BYTES`: acknowledges, and prints again when every client has received as many more bytes
/// - `put BYTES TIMES`: the first client sends `TIMES` messages, and every client receives them
/// - `echo BYTES MILLISECONDS`: for that time each client sends a message again as soon as it was
///   returned; the reply is the number of round trips
///
/// # Errors
/// When a client is refused or closed, or gets more than was sent.
pub fn run(port: u16, clients: usize, path: &str) -> Result<()> {
    let mut crowd = Crowd::connect(port, clients, path)?;
    say(DONE)?;
    let mut events = Vec::with_capacity(LOOK);
    loop {
        wait(&crowd.epoll, &mut events, None)?;
        if events.len() < LOOK {
            std::thread::sleep(NAP);
        }
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

struct Crowd {
    clients: Vec<Client>,
    epoll: OwnedFd,
    /// Bytes that were sent to all of them and have not come.
    missing: usize,
    buffer: Vec<u8>,
    lines: Lines,
    echo: Option<Echo>,
}

struct Client {
    socket: TcpStream,
    frames: Frames,
    /// What has not come back of its own message.
    owed: usize,
}

/// Messages that come back to who has said them.
struct Echo {
    frame: Vec<u8>,
    end: Instant,
    round_trips: usize,
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
    fn connect(port: u16, count: usize, path: &str) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut clients = Vec::with_capacity(count);
        for index in 0..count {
            let path = path.replace("{}", &index.to_string());
            let socket = connect(port, &path).with_context(|| format!("client {index}"))?;
            socket.set_nonblocking(true)?;
            epoll::add(&epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
            clients.push(Client {
                socket,
                frames: Frames::default(),
                owed: 0,
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
            lines: Lines::default(),
            echo: None,
        })
    }

    /// Reads what it is told; false at the end.
    fn listen(&mut self) -> Result<bool> {
        let Some(lines) = self.lines.read()? else {
            return Ok(false);
        };
        for line in lines {
            self.obey(&line)?;
        }
        Ok(true)
    }

    fn obey(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<usize>().context("not a number");
        match words[..] {
            ["get", bytes] => {
                self.missing += number(bytes)? * self.clients.len();
                say(DONE)
            }
            ["put", bytes, times] => self.put(number(bytes)?, number(times)?),
            ["echo", bytes, millis] => self.echo(number(bytes)?, number(millis)?),
            _ => bail!("what is {line:?}?"),
        }
    }

    fn put(&mut self, bytes: usize, times: usize) -> Result<()> {
        let frame = message(bytes);
        let first = self.clients.first_mut().context("no client is connected")?;
        first
            .socket
            .write_all(&frame.repeat(times))
            .context("the server does not read")?;
        self.missing += came_back(&frame) * times * self.clients.len();
        Ok(())
    }

    fn echo(&mut self, bytes: usize, millis: usize) -> Result<()> {
        let frame = message(bytes);
        let end = Instant::now() + Duration::from_millis(millis as u64);
        for client in &mut self.clients {
            client.say(&frame)?;
        }
        self.missing += came_back(&frame) * self.clients.len();
        self.echo = Some(Echo {
            frame,
            end,
            round_trips: 0,
        });
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
        if came.message_bytes == 0 {
            return Ok(());
        }
        if let Some(echo) = &mut self.echo {
            let owed = client.owed.checked_sub(came.message_bytes);
            client.owed = owed.context("more came back than was sent")?;
            if client.owed == 0 {
                echo.round_trips += 1;
                if Instant::now() < echo.end {
                    client.say(&echo.frame)?;
                    self.missing += client.owed;
                }
            }
        }
        let left = self.missing.checked_sub(came.message_bytes);
        self.missing = left.context("more came than was sent")?;
        match (self.missing, self.echo.take_if(|_| self.missing == 0)) {
            (0, Some(echo)) => say(&format!("{DONE} {}", echo.round_trips)),
            (0, None) => say(DONE),
            _ => Ok(()),
        }
    }
}

impl Client {
    /// Something that will come back.
    fn say(&mut self, frame: &[u8]) -> Result<()> {
        self.socket.write_all(frame).context("the server does not read")?;
        self.owed += came_back(frame);
        Ok(())
    }
}

fn message(bytes: usize) -> Vec<u8> {
    frame(BINARY, &vec![b'x'; bytes])
}

/// Length of the frame as a server sends it.
fn came_back(frame: &[u8]) -> usize {
    frame.len() - MASK
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsc_testing::frames::unmasked;

    #[test]
    fn bytes_count_headers_but_no_pings() {
        let mut bytes = Vec::new();
        let mut wanted = 0;
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            let message = unmasked(&vec![b'x'; length]);
            bytes.extend(&message);
            bytes.extend([PING, 0]);
            wanted += message.len();
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
