//! Whether clients that stop reading delay the others: the same crowd before and while a tenth of it has a window of zero, round by round.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::super::client::{BINARY, connect, frame};
use super::super::pairs::{PAIRS, Verdict, median};
use super::super::report::Row;
use super::super::subjects::{Bus, Ours};
use super::super::{HEADER, PAYLOAD};
use super::Progress;

/// Clients of the room, and the share that stalls: one in so many.
const CLIENTS: usize = 1000;
const STALLED: usize = 10;
/// Messages of one half of a round, each sent when everybody who reads has the one before.
const MESSAGES: usize = 100;
/// What fills the window of who does not read, and both buffers of the kernel, so that the rest waits in the server.
const FILL: usize = 60_000;
const FILLS: usize = 40;
/// The receive buffer of who stalls, in bytes: fixed, so that it does not grow from round to round.
const NARROW: usize = 1 << 16;
/// For one message to everybody.
const WAIT: Duration = Duration::from_secs(10);
/// The slowest deliveries, one in a hundred, may take so much longer.
const MOST: f64 = 1.1;

/// Nobody is to be closed as slow, and pings would be counted as messages.
const PATIENT: [(&str, &str); 3] = [
    ("WSC_OUTBOX_BYTES", "67108864"),
    ("WSC_OUTBOXES_BYTES", "1073741824"),
    ("WSC_HEARTBEAT_SECONDS", "3600"),
];

pub(super) async fn take(progress: Progress<'_>) -> Result<Vec<Row>> {
    let ours = Ours::start(Bus::Memory, &PATIENT).await?;
    let mut crowd = Crowd::connect(ours.port())?;
    // One that does not count.
    crowd.round(ours.port())?;
    let mut pairs = Vec::new();
    for round in 0..PAIRS {
        progress(&format!("round {} of {PAIRS}", round + 1));
        pairs.push(crowd.round(ours.port())?);
    }
    let verdict = Verdict::of(&pairs).context("no rounds")?;
    let noise = verdict
        .is_noisy()
        .then(|| format!("ratios {:.0} % apart", verdict.spread() * 100.0));
    let name = format!(
        "p99 of a delivery to {} of {CLIENTS}",
        CLIENTS - CLIENTS / STALLED
    );
    let middle = |of: fn(&(f64, f64)) -> f64| median(&pairs.iter().map(of).collect::<Vec<_>>());
    let before = middle(|pair| pair.1).context("no rounds")?;
    let during = middle(|pair| pair.0).context("no rounds")?;
    Ok(vec![
        Row::plain(&name, "ours, all read", before, "ms"),
        Row {
            ratio: Some(verdict.ratio),
            target: Some(format!("<= {MOST} of the same before")),
            met: noise.is_none().then_some(verdict.ratio <= MOST),
            noisy: noise.is_some(),
            noise,
            ..Row::plain(&format!("{name}, the others stalled"), "ours", during, "ms")
        },
    ])
}

struct Crowd {
    /// Gets nothing itself.
    sender: TcpStream,
    clients: Vec<Client>,
    epoll: OwnedFd,
    buffer: Vec<u8>,
}

struct Client {
    socket: TcpStream,
    stalls: bool,
    /// Bytes that were sent to it and have not come.
    missing: usize,
}

impl Crowd {
    fn connect(port: u16) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut clients = Vec::with_capacity(CLIENTS);
        for index in 0..CLIENTS {
            let socket = connect(port, "/ws/stalled")?;
            socket.set_nonblocking(true)?;
            let stalls = index % STALLED == 0;
            if stalls {
                set_socket_recv_buffer_size(&socket, NARROW)?;
            }
            epoll::add(&epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
            clients.push(Client {
                socket,
                stalls,
                missing: 0,
            });
        }
        Ok(Self {
            sender: connect(port, "/ws/stalled?echo=0")?,
            clients,
            epoll,
            buffer: vec![0; 1 << 16],
        })
    }

    /// The 99th percentiles in milliseconds: while a tenth is stalled, and before.
    fn round(&mut self, port: u16) -> Result<(f64, f64)> {
        let before = self.half()?;
        self.set_interest(EventFlags::empty())?;
        for _ in 0..FILLS {
            self.deliver(FILL, &mut Vec::new())?;
        }
        let full = full_sockets(port)?;
        ensure!(
            full >= CLIENTS / STALLED,
            "only {full} clients have a window of zero"
        );
        let during = self.half()?;
        self.set_interest(EventFlags::IN)?;
        // Everybody has everything before the next round.
        self.wait(|_| true, &mut Vec::new(), Instant::now())?;
        Ok((during, before))
    }

    fn half(&mut self) -> Result<f64> {
        let mut times = Vec::with_capacity(MESSAGES * CLIENTS);
        for _ in 0..MESSAGES {
            self.deliver(PAYLOAD, &mut times)?;
        }
        times.sort_unstable();
        let p99 = times.get(times.len() * 99 / 100).context("nothing came")?;
        Ok(p99.as_secs_f64() * 1000.0)
    }

    /// One message, until everybody who reads has it.
    fn deliver(&mut self, bytes: usize, times: &mut Vec<Duration>) -> Result<()> {
        let frame = frame(BINARY, &vec![b'x'; bytes]);
        for client in &mut self.clients {
            // What servers send has no mask.
            client.missing += HEADER + bytes;
        }
        let began = Instant::now();
        self.sender
            .write_all(&frame)
            .context("the server does not read")?;
        self.wait(|client| !client.stalls, times, began)
    }

    /// Reads until these have all that was sent to them; the times are of those who never stall.
    fn wait(&mut self, whom: fn(&Client) -> bool, times: &mut Vec<Duration>, began: Instant) -> Result<()> {
        let mut left = self
            .clients
            .iter()
            .filter(|client| whom(client) && client.missing > 0)
            .count();
        let mut events = Vec::with_capacity(CLIENTS);
        while left > 0 {
            ensure!(began.elapsed() < WAIT, "{left} clients do not get a message");
            events.clear();
            let second = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&second),
            )?;
            for event in &events {
                let index = usize::try_from(event.data.u64())?;
                let client = self.clients.get_mut(index).context("no such client")?;
                let read = match client.socket.read(&mut self.buffer) {
                    Ok(0) => bail!("client {index} was closed"),
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error.into()),
                };
                client.missing = client
                    .missing
                    .checked_sub(read)
                    .context("more came than was sent")?;
                if client.missing == 0 && whom(client) {
                    left -= 1;
                    if !client.stalls {
                        times.push(began.elapsed());
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether those who stall read.
    fn set_interest(&self, interest: EventFlags) -> Result<()> {
        for (index, client) in self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| client.stalls)
        {
            epoll::modify(
                &self.epoll,
                &client.socket,
                EventData::new_u64(index as u64),
                interest,
            )?;
        }
        Ok(())
    }
}

/// Sockets of the server that have bytes to send which nobody takes: `tx_queue` in `/proc/net`.
fn full_sockets(port: u16) -> Result<usize> {
    let mut full = 0;
    for table in ["tcp", "tcp6"] {
        // Without IPv6 there is no second one.
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, _, queues, ..] = fields[..] else {
                bail!("{line:?} in /proc/net/{table}");
            };
            let ours = local.ends_with(&format!(":{port:04X}"));
            full += usize::from(ours && !queues.starts_with("00000000:"));
        }
    }
    Ok(full)
}
