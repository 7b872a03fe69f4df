//! Whether clients that stop reading delay the others: a crowd of which a tenth has a window of
//! zero, beside one in which all read. Raw sockets in one thread, not `wsc_testing::clients`: the
//! measure sets receive windows and compares microseconds.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::super::meter::{Meter, SLICE, Sample};
use super::super::pairs::percentile;
use super::super::report::Row;
use super::super::rounds::{Bound, Lane, compare};
use super::super::subjects::{Broker, Ours};
use super::super::{HEADER, PAYLOAD};
use super::common::Progress;
use wsc_testing::epoll::wait;
use wsc_testing::frames::{BINARY, connect, frame};
use wsc_testing::sockets::send_queues;

/// Clients of a room, and the share that stalls: one in so many.
const CLIENTS: usize = 1000;
const STALLED: usize = 10;
/// What fills the window of who does not read, and both buffers of the kernel, so that the rest
/// waits in the server.
const FILL: usize = 60_000;
const FILLS: usize = 40;
/// The receive buffer of who stalls, in bytes: fixed, so that it is as soon full in every run.
const NARROW: usize = 1 << 16;
const LOOK: Duration = Duration::from_millis(10);
/// For one message to everybody.
const WAIT: Duration = Duration::from_secs(10);
/// The slowest deliveries, one in a hundred, may take so much longer.
const MOST: f64 = 1.1;
/// Who had a window of zero for half a minute is gone for the kernel: those who stall read once in
/// this time, of what waits for them.
const SIP: Duration = Duration::from_secs(10);
const ALL_READ: &str = "ours, all read";

/// Nobody is to be closed as slow, and pings would be counted as messages.
const PATIENT: [(&str, &str); 3] = [
    ("WSC_OUTBOUND_QUEUE_BYTES", "67108864"),
    ("WSC_OUTBOUND_TOTAL_BYTES", "1073741824"),
    ("WSC_HEARTBEAT_SECONDS", "3600"),
];

pub(super) async fn take(progress: Progress<'_>) -> Result<Vec<Row>> {
    let mut crowds = Vec::new();
    for _ in 0..2 {
        let ours = Ours::start(Broker::Memory, &PATIENT).await?;
        let mut crowd = Crowd::connect(ours.port())?;
        // One that does not count.
        crowd.slice(&ours)?;
        crowds.push((crowd, ours));
    }
    let [(stalled, its), (reading, others)] = &mut crowds[..] else {
        bail!("there are two");
    };
    stalled.stall(its.port())?;
    let name = format!(
        "p99 of a delivery to {} of {CLIENTS}",
        CLIENTS - CLIENTS / STALLED
    );
    let lanes = vec![
        Lane::new("ours", || stalled.slice(its)),
        Lane::new(ALL_READ, || reading.slice(others)),
    ];
    let compared = compare("ms", lanes, |what| progress(what))?;
    stalled.ensure_stalled(its.port())?;
    let mut rows = vec![compared.row(
        &format!("{name}, the others stalled"),
        ALL_READ,
        Bound::AtMost(MOST),
    )?];
    rows.extend(compared.others(&name)?);
    Ok(rows)
}

struct Crowd {
    /// Gets nothing itself.
    sender: TcpStream,
    clients: Vec<Client>,
    epoll: OwnedFd,
    buffer: Vec<u8>,
    sipped: Instant,
}

struct Client {
    socket: TcpStream,
    stalls: bool,
    /// Bytes of the message on its way that have not come.
    missing: usize,
}

impl Crowd {
    fn connect(port: u16) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut clients = Vec::with_capacity(CLIENTS);
        for index in 0..CLIENTS {
            let socket = connect(port, "/ws/stalled")?;
            socket.set_nonblocking(true)?;
            if may_stall(index) {
                set_socket_recv_buffer_size(&socket, NARROW)?;
            }
            epoll::add(&epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
            clients.push(Client {
                socket,
                stalls: false,
                missing: 0,
            });
        }
        Ok(Self {
            sender: connect(port, "/ws/stalled?echo=0")?,
            clients,
            epoll,
            buffer: vec![0; 1 << 16],
            sipped: Instant::now(),
        })
    }

    /// A tenth reads nothing from now on, and has a window of zero.
    fn stall(&mut self, port: u16) -> Result<()> {
        for (index, client) in self.clients.iter_mut().enumerate() {
            if may_stall(index) {
                client.stalls = true;
                epoll::delete(&self.epoll, &client.socket)?;
            }
        }
        for _ in 0..FILLS {
            self.deliver(FILL)?;
        }
        self.ensure_stalled(port)
    }

    /// Waits until the windows are zero (again).
    fn ensure_stalled(&self, port: u16) -> Result<()> {
        let stalled = self.clients.iter().filter(|client| client.stalls).count();
        let began = Instant::now();
        loop {
            let full = send_queues(port)?.into_iter().filter(|bytes| *bytes > 0).count();
            // An answer of the others may be on its way.
            if full >= stalled {
                return Ok(());
            }
            ensure!(
                began.elapsed() < WAIT,
                "only {full} of {stalled} clients have a window of zero"
            );
            std::thread::sleep(LOOK);
        }
    }

    fn sip(&mut self, port: u16) -> Result<()> {
        for client in self.clients.iter_mut().filter(|client| client.stalls) {
            let read = client.socket.read(&mut self.buffer)?;
            ensure!(read > 0, "one who stalls was closed");
        }
        self.sipped = Instant::now();
        self.ensure_stalled(port)
    }

    /// The average over some messages of the 99th percentile of its deliveries, in milliseconds.
    fn slice(&mut self, ours: &Ours) -> Result<Sample> {
        if self.sipped.elapsed() > SIP {
            self.sip(ours.port())?;
        }
        let pids = [ours.pid()];
        let mut meter = Meter::new(&pids);
        let (sum, count) = meter.run(|| {
            let (began, mut sum, mut count) = (Instant::now(), Duration::ZERO, 0);
            while began.elapsed() < SLICE {
                let times = self.deliver(PAYLOAD)?;
                sum += *percentile(&times, 99).context("nothing came")?;
                count += 1;
            }
            Ok((sum, count))
        })?;
        Ok(meter.average(sum.as_secs_f64() * 1000.0, count))
    }

    /// One message, until everybody who reads has it: the times of those who never stall, sorted.
    fn deliver(&mut self, bytes: usize) -> Result<Vec<Duration>> {
        let frame = frame(BINARY, &vec![b'x'; bytes]);
        let mut left = 0;
        for client in self.clients.iter_mut().filter(|client| !client.stalls) {
            // What servers send has no mask.
            client.missing = HEADER + bytes;
            left += 1;
        }
        let began = Instant::now();
        self.sender
            .write_all(&frame)
            .context("the server does not read")?;
        let mut times = Vec::with_capacity(CLIENTS);
        let mut events = Vec::with_capacity(CLIENTS);
        while left > 0 {
            ensure!(began.elapsed() < WAIT, "{left} clients do not get a message");
            wait(&self.epoll, &mut events, Some(Duration::from_secs(1)))?;
            for event in &events {
                let index = usize::try_from(event.data.u64())?;
                let client = self.clients.get_mut(index).context("no such client")?;
                let read = match client.socket.read(&mut self.buffer) {
                    Ok(0) => bail!("client {index} was closed"),
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error.into()),
                };
                let missing = client.missing.checked_sub(read);
                client.missing = missing.context("more came than was sent")?;
                if client.missing == 0 {
                    left -= 1;
                    if !may_stall(index) {
                        times.push(began.elapsed());
                    }
                }
            }
        }
        Ok(times)
    }
}

/// Whether it does in one of the crowds: its times count in neither.
fn may_stall(index: usize) -> bool {
    index.is_multiple_of(STALLED)
}
