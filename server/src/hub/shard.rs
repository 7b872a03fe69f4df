//! The members of one thread, and the fan-outs that deliver messages to them.
//!
//! Messages are posted from any thread. The shard's task joins the waiting messages of a room and
//! writes them to its members, some at a time, so that other work of the thread runs in between. A
//! room has one fan-out at a time; messages posted meanwhile make the next batch. A member that
//! leaves during a fan-out leaves its place empty; a new one has a start, before which no message
//! is for it: so it may take any place.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use wsc_contract::room::RoomName;

use super::chunk::{CHUNK_BYTES, Chunk, Part, cost};
use super::member::Member;
use crate::protocol::Sender;

/// Sends of one turn, before the thread's reads, pings and handshakes. About 2 ms on the machine of
/// the benchmarks.
pub(crate) const SENDS_PER_TURN: usize = 256;
/// A room larger than a turn waits this long for more messages before its fan-out, which takes many
/// times as long.
pub(crate) const GATHER: Duration = Duration::from_millis(1);

/// A map of this many rooms or fewer keeps its memory.
const KEPT_ROOMS: usize = 64;

/// What one turn did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Messages written to a member, or queued for it.
    pub(crate) delivered: u64,
    /// All their bytes.
    pub(crate) bytes: u64,
    /// Members of each room whose fan-out is complete.
    pub(crate) walks: Vec<usize>,
    /// Members that were too slow and will be closed.
    pub(crate) overflowed: u64,
    /// When the next turn is due.
    pub(crate) next: Next,
}

/// When there is something to do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// As soon as the others of the thread had their turn.
    Now,
    /// At this time, or when something is posted.
    At(Instant),
    /// When something is posted.
    #[default]
    Posted,
}

/// One thread's part of the hub.
#[derive(Debug)]
pub(crate) struct Shard {
    outbox_bytes: usize,
    /// Above it no message is accepted: they arrive faster than the thread can write them.
    backlog_bytes: usize,
    inbox: Mutex<Inbox>,
    /// Bytes in the inbox, in the rooms' queues and in fan-outs, with the overhead of each message.
    backlog: AtomicUsize,
    posted: Notify,
    /// Of this shard's thread, which therefore never waits for the lock.
    rooms: Mutex<Rooms>,
}

#[derive(Debug, Default)]
struct Inbox {
    /// The number of the last post.
    sequence: u64,
    posts: Vec<(RoomName, Part)>,
}

#[derive(Debug, Default)]
struct Rooms {
    by_name: HashMap<RoomName, Room>,
    /// Rooms with something to deliver, each once.
    ready: VecDeque<RoomName>,
    /// Large ones, and when they are ready.
    gathering: VecDeque<(Instant, RoomName)>,
}

#[derive(Debug)]
struct Room {
    /// Members, and the number after which messages are for them.
    members: Slab<(Member, u64)>,
    pending: VecDeque<Part>,
    /// In a box, since there is none in most rooms.
    walk: Option<Box<Walk>>,
}

#[derive(Debug)]
struct Walk {
    chunk: Chunk,
    next: usize,
}

impl Shard {
    pub(super) fn new(outbox_bytes: usize, backlog_bytes: usize) -> Self {
        Self {
            outbox_bytes,
            backlog_bytes,
            inbox: Mutex::default(),
            backlog: AtomicUsize::new(0),
            posted: Notify::new(),
            rooms: Mutex::default(),
        }
    }

    /// The number of the last post.
    pub(super) fn posted(&self) -> u64 {
        self.inbox.lock().sequence
    }

    /// Adds a member; `start` announces it and returns the post after which messages are for it.
    pub(super) fn join(&self, room: &RoomName, member: Member, start: impl FnOnce() -> u64) -> usize {
        let mut rooms = self.rooms.lock();
        let start = start();
        let alone = || Room {
            members: Slab::with_capacity(1),
            pending: VecDeque::new(),
            walk: None,
        };
        let room = rooms.by_name.entry(room.clone()).or_insert_with(alone);
        room.members.insert((member, start))
    }

    /// Removes a member, and calls `last` if there is no other one.
    pub(super) fn leave(&self, room: &RoomName, key: usize, last: impl FnOnce()) {
        let mut rooms = self.rooms.lock();
        let Some(left) = rooms.by_name.get_mut(room) else {
            return;
        };
        left.members.try_remove(key);
        if !left.members.is_empty() {
            return;
        }
        last();
        if let Some(gone) = rooms.by_name.remove(room)
            && gone.has_work()
        {
            self.backlog.fetch_sub(gone.backlog(), Ordering::Relaxed);
            rooms.ready.retain(|name| name != room);
            rooms.gathering.retain(|(_, name)| name != room);
        }
        shrink(&mut rooms.by_name);
    }

    /// Queues a message for the members of a room. False if the backlog is full.
    pub(super) fn post(&self, room: &RoomName, sender: Sender, frame: &Bytes) -> bool {
        if self.backlog.load(Ordering::Relaxed) > self.backlog_bytes {
            return false;
        }
        self.backlog.fetch_add(cost(frame), Ordering::Relaxed);
        {
            let mut inbox = self.inbox.lock();
            inbox.sequence += 1;
            let part = Part {
                sequence: inbox.sequence,
                sender,
                frame: frame.clone(),
            };
            inbox.posts.push((room.clone(), part));
        }
        self.posted.notify_one();
        true
    }

    /// Bytes of messages that wait for their fan-out.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Runs the fan-outs; `done` receives each turn. Only on the shard's own thread: it writes to
    /// the members' sockets.
    pub(crate) async fn walk(&self, mut done: impl FnMut(Turn)) -> Infallible {
        loop {
            let turn = self.turn(SENDS_PER_TURN, Instant::now());
            let next = turn.next;
            done(turn);
            match next {
                Next::Now => tokio::task::yield_now().await,
                // What is posted meanwhile may be for a room that does not wait.
                Next::At(time) => {
                    let _ = timeout_at(time, self.posted.notified()).await;
                }
                Next::Posted => self.posted.notified().await,
            }
        }
    }

    /// About `most` sends, in the rooms that wait the longest.
    pub(crate) fn turn(&self, most: usize, now: Instant) -> Turn {
        let mut rooms = self.rooms.lock();
        let posts = std::mem::take(&mut self.inbox.lock().posts);
        for (name, part) in posts {
            if let Some(part) = rooms.take_in(name, part, now) {
                // The last member left after the post.
                self.backlog.fetch_sub(part.cost(), Ordering::Relaxed);
            }
        }
        while let Some((_, name)) = rooms.gathering.pop_front_if(|(time, _)| *time <= now) {
            rooms.ready.push_back(name);
        }
        let (mut turn, mut sends) = (Turn::default(), 0);
        while sends < most
            && let Some(name) = rooms.ready.pop_front()
        {
            let Some(room) = rooms.by_name.get_mut(&name) else {
                continue;
            };
            let done = room.go_on(most - sends, self.outbox_bytes, &mut turn);
            sends += done.sends;
            self.backlog.fetch_sub(done.backlog, Ordering::Relaxed);
            if room.has_work() {
                rooms.ready.push_back(name);
            }
        }
        turn.next = match (rooms.ready.is_empty(), rooms.gathering.front()) {
            (false, _) => Next::Now,
            (true, Some((time, _))) => Next::At(*time),
            (true, None) => Next::Posted,
        };
        turn
    }
}

impl Rooms {
    /// Returns a message for a room without members.
    fn take_in(&mut self, name: RoomName, part: Part, now: Instant) -> Option<Part> {
        let Some(room) = self.by_name.get_mut(&name) else {
            return Some(part);
        };
        let was_idle = !room.has_work();
        room.pending.push_back(part);
        if was_idle && room.members.len() > SENDS_PER_TURN {
            self.gathering.push_back((now + GATHER, name));
        } else if was_idle {
            self.ready.push_back(name);
        }
        None
    }
}

/// What one room used up of a turn.
struct Done {
    sends: usize,
    backlog: usize,
}

impl Room {
    fn has_work(&self) -> bool {
        self.walk.is_some() || !self.pending.is_empty()
    }

    fn backlog(&self) -> usize {
        let walk = self.walk.as_ref().map_or(0, |walk| walk.chunk.cost());
        walk + self.pending.iter().map(Part::cost).sum::<usize>()
    }

    /// Continues the fan-out, or begins the next one.
    fn go_on(&mut self, sends: usize, outbox_bytes: usize, turn: &mut Turn) -> Done {
        let mut done = Done { sends: 0, backlog: 0 };
        let next = || {
            let chunk = Chunk::take(&mut self.pending, outbox_bytes)?;
            Some(Box::new(Walk { chunk, next: 0 }))
        };
        let Some(mut walk) = self.walk.take().or_else(next) else {
            return done;
        };
        // A large message takes as long as many small ones.
        let price = 1 + walk.chunk.bytes() / CHUNK_BYTES;
        while walk.next < self.members.capacity() {
            if done.sends >= sends {
                self.walk = Some(walk);
                return done;
            }
            if let Some((member, start)) = self.members.get(walk.next) {
                let given = walk.chunk.give(member, *start);
                turn.delivered += given.messages;
                turn.bytes += given.bytes;
                turn.overflowed += u64::from(given.overflowed);
                done.sends += price;
            }
            walk.next += 1;
        }
        done.backlog = walk.chunk.cost();
        turn.walks.push(self.members.len());
        if self.pending.is_empty() {
            // A burst is no reason to keep memory.
            self.pending = VecDeque::new();
        }
        done
    }
}

/// Gives back what many more rooms once needed.
pub(super) fn shrink<T>(rooms: &mut HashMap<RoomName, T>) {
    if rooms.capacity() > 8 * rooms.len().max(KEPT_ROOMS) {
        rooms.shrink_to(2 * rooms.len());
    }
}
