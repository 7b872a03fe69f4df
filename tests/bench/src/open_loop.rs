//! Publishers that do not wait: each message is due at a time of its own, however late the subject
//! is, and is timed from then on. So a subject that stands still for a moment pays for all that
//! should have come meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::helper::{DONE, Lines, say};
use super::tally::{Schedule, Tally, numbers, payload};
use wsc_testing::epoll::wait;
use wsc_testing::frames::{BINARY, PING, PONG, TEXT, connect, first_frame, frame};

/// Sockets of one look: few, so that nothing is sent late because much has come.
const LOOK: usize = 64;
/// What stands for the standard input among the sockets.
const INPUT: u64 = u64::MAX;
/// What has not come this long after the last message was due is lost.
const GRACE: Duration = Duration::from_secs(5);
/// A look that finds nothing.
const PATIENCE: Duration = Duration::from_millis(50);

/// How clients speak with a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tongue {
    /// What one says comes to all.
    Raw,
    /// The JSON protocol of Centrifuge.
    Centrifuge,
}

/// Connects a number of members to each room, in turn on both ports, reports that they are
/// connected, and for each `run RATE WARM MILLISECONDS` publishes that many messages a second, WARM
/// of them before it counts; the answer is an [`super::tally::Outcome`].
///
/// # Errors
/// When a client is refused or closed.
pub fn run(tongue: Tongue, rooms: usize, members: usize, ports: [u16; 2]) -> Result<()> {
    let mut all = Publishers::connect(tongue, rooms, members, ports)?;
    say(DONE)?;
    let mut events = Vec::with_capacity(LOOK);
    loop {
        let due = all.publish()?;
        wait(&all.epoll, &mut events, due)?;
        for event in &events {
            let who = event.data.u64();
            if who != INPUT {
                all.read(usize::try_from(who)?)?;
            } else if !all.listen()? {
                return Ok(());
            }
        }
        all.conclude()?;
    }
}

struct Publishers {
    tongue: Tongue,
    rooms: usize,
    clients: Vec<Client>,
    epoll: OwnedFd,
    buffer: Vec<u8>,
    lines: Lines,
    /// Number of the first message of the next run: no run takes what is late for its own.
    next: usize,
    run: Option<Run>,
}

struct Client {
    socket: TcpStream,
    /// The beginning of a frame.
    rest: Vec<u8>,
}

struct Run {
    began: Instant,
    schedule: Schedule,
    tally: Tally,
    sent: usize,
}

impl Publishers {
    fn connect(tongue: Tongue, rooms: usize, members: usize, ports: [u16; 2]) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut clients = Vec::with_capacity(rooms * members);
        for index in 0..rooms * members {
            let (room, member) = (index % rooms, index / rooms);
            let socket = join(tongue, ports[(room + member) % 2], room)
                .with_context(|| format!("member {member} of room {room}"))?;
            socket.set_nonblocking(true)?;
            epoll::add(&epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
            let rest = Vec::new();
            clients.push(Client { socket, rest });
        }
        let input = EventData::new_u64(INPUT);
        epoll::add(&epoll, std::io::stdin(), input, EventFlags::IN)?;
        Ok(Self {
            tongue,
            rooms,
            clients,
            epoll,
            buffer: vec![0; 1 << 16],
            lines: Lines::default(),
            next: 0,
            run: None,
        })
    }

    /// Reads commands; false at the end.
    fn listen(&mut self) -> Result<bool> {
        let Some(lines) = self.lines.read()? else {
            return Ok(false);
        };
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["run", rate, warm, millis] = words[..] else {
                bail!("what is {line:?}?")
            };
            ensure!(self.run.is_none(), "it runs");
            let length = Duration::from_millis(millis.parse()?);
            let schedule = Schedule::new(rate.parse()?, length);
            let members = self.clients.len() / self.rooms;
            let tally = Tally::new(self.next, schedule.total(), warm.parse()?, members);
            self.run = Some(Run {
                began: Instant::now(),
                schedule,
                tally,
                sent: 0,
            });
            self.next += schedule.total();
        }
        Ok(true)
    }

    /// Says what is due, and for how long nothing will be.
    fn publish(&mut self) -> Result<Option<Duration>> {
        let Some(run) = &mut self.run else {
            return Ok(None);
        };
        let now = run.began.elapsed();
        while run.sent < run.schedule.due(now) {
            let number = run.tally.first() + run.sent;
            let room = number % self.rooms;
            let member = number / self.rooms % (self.clients.len() / self.rooms);
            let frame = match self.tongue {
                Tongue::Raw => frame(BINARY, payload(number).as_bytes()),
                Tongue::Centrifuge => frame(TEXT, publication(room, number).as_bytes()),
            };
            let client = &mut self.clients[member * self.rooms + room];
            client
                .socket
                .write_all(&frame)
                .context("the server does not read")?;
            run.tally.sent(now.saturating_sub(run.schedule.at(run.sent)));
            run.sent += 1;
        }
        let next = run.schedule.at(run.sent).saturating_sub(run.began.elapsed());
        let all = run.sent == run.schedule.total();
        Ok(Some(if all { PATIENCE } else { next }))
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let client = self.clients.get_mut(index).context("no such client")?;
        match client.socket.read(&mut self.buffer) {
            Ok(0) => bail!("client {index} was closed"),
            Ok(read) => client.rest.extend(&self.buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut begin = 0;
        while let Some((first, payload, length)) = first_frame(&client.rest[begin..]) {
            if first == PING {
                client.socket.write_all(&PONG)?;
            } else if self.tongue == Tongue::Centrifuge && payload.split(|b| *b == b'\n').any(|l| l == b"{}")
            {
                // Its own ping, and the answer.
                client.socket.write_all(&frame(TEXT, b"{}"))?;
            }
            if let Some(run) = &mut self.run {
                let now = run.began.elapsed();
                for number in numbers(payload) {
                    let sent = number.checked_sub(run.tally.first());
                    let due = sent.map_or(now, |sent| run.schedule.at(sent));
                    run.tally.came(number, now.saturating_sub(due));
                }
            }
            begin += length;
        }
        client.rest.drain(..begin);
        Ok(())
    }

    /// Says how the run was, when everything has come or will not come.
    fn conclude(&mut self) -> Result<()> {
        let over = |run: &mut Run| {
            let late = run.began.elapsed() > run.schedule.at(run.schedule.total()) + GRACE;
            run.sent == run.schedule.total() && (run.tally.is_complete() || late)
        };
        match self.run.take_if(over) {
            Some(run) => say(&format!("{DONE} {}", run.tally.outcome())),
            None => Ok(()),
        }
    }
}

/// A client that is in its room.
fn join(tongue: Tongue, port: u16, room: usize) -> Result<TcpStream> {
    if tongue == Tongue::Raw {
        return connect(port, &format!("/ws/r{room}"));
    }
    let mut socket = connect(port, "/connection/websocket")?;
    let commands =
        format!("{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"r{room}\"}}}}");
    socket.write_all(&frame(TEXT, commands.as_bytes()))?;
    let (mut came, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = socket.read(&mut buffer)?;
        ensure!(read > 0, "closed");
        came.extend(&buffer[..read]);
        let text = String::from_utf8_lossy(&came);
        ensure!(!text.contains("\"error\""), "refused: {text}");
        if text.contains("{\"id\":2,\"subscribe\":") {
            return Ok(socket);
        }
    }
}

fn publication(room: usize, number: usize) -> String {
    // 1 and 2 were for joining.
    let id = number + 3;
    format!(
        "{{\"id\":{id},\"publish\":{{\"channel\":\"r{room}\",\"data\":\"{}\"}}}}",
        payload(number)
    )
}
