//! The rooms of this process and their members.
//!
//! Each shard keeps its own members and writes to them itself ([`shard`]); what they share is which
//! room has members where. A message is posted to every shard with members in its room, under one
//! lock: so each member gets exactly the messages between its join and its leave, once, in the one
//! order of the broker.

mod chunk;
pub(crate) mod member;
pub(crate) mod shard;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wsc_contract::room::RoomName;

use self::member::Member;
use self::shard::{Shard, shrink};
use crate::outbox::Budget;
use crate::protocol::envelope::Envelope;
use crate::websocket::encode;

/// A room has one bit for each shard.
pub(crate) const MAX_SHARDS: usize = 64;
/// Of what all outboxes may hold, a shard may have this part to deliver,
const BACKLOG_PART: usize = 4;
/// but at least and at most this number of bytes.
pub(crate) const BACKLOG_BYTES: (usize, usize) = (1 << 20, 32 << 20);

/// A member's place, to leave it by.
#[derive(Debug)]
pub(crate) struct Membership {
    shard: usize,
    room: RoomName,
    key: usize,
}

/// The registry. Its size is bounded by the connections: a member is one connection in one room.
#[derive(Debug)]
pub(crate) struct Hub {
    /// The shards with members of a room, a bit each. A post holds the lock, which makes the one
    /// order.
    rooms: Mutex<HashMap<RoomName, u64>>,
    shards: Vec<Shard>,
    budget: Arc<Budget>,
}

impl Hub {
    /// Without rooms; with the limits of one outbound queue and of all together, in bytes.
    pub(crate) fn new(shards: usize, outbox_bytes: usize, outboxes_bytes: usize) -> Self {
        let shards = 0..shards.clamp(1, MAX_SHARDS);
        let backlog_bytes = (outboxes_bytes / BACKLOG_PART).clamp(BACKLOG_BYTES.0, BACKLOG_BYTES.1);
        Self {
            rooms: Mutex::default(),
            shards: shards.map(|_| Shard::new(outbox_bytes, backlog_bytes)).collect(),
            budget: Arc::new(Budget::new(outboxes_bytes)),
        }
    }

    /// What the outboxes of its members are charged to.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The part of one thread.
    pub(crate) fn shard(&self, index: usize) -> &Shard {
        &self.shards[index % self.shards.len()]
    }

    /// Bytes of messages that wait for their fan-out.
    pub(crate) fn backlog(&self) -> usize {
        self.shards.iter().map(Shard::backlog).sum()
    }

    /// Adds a member that only this shard's thread writes to. True if the room is new to this
    /// process.
    pub(crate) fn join(&self, shard: usize, room: &RoomName, member: Member) -> (Membership, bool) {
        let shard = shard % self.shards.len();
        let mut appeared = false;
        let key = self.shards[shard].join(room, member, || {
            let mut rooms = self.rooms.lock();
            let shards = rooms.entry(room.clone()).or_default();
            appeared = *shards == 0;
            *shards |= 1 << shard;
            // Under the lock: what is posted from here on is for the new member.
            self.shards[shard].posted()
        });
        let room = room.clone();
        (Membership { shard, room, key }, appeared)
    }

    /// Removes a member. True if the room is gone with it.
    pub(crate) fn leave(&self, membership: &Membership) -> bool {
        let Membership { shard, room, key } = membership;
        let mut vanished = false;
        self.shards[*shard].leave(room, *key, || {
            let mut rooms = self.rooms.lock();
            let Some(shards) = rooms.get_mut(room) else {
                return;
            };
            *shards &= !(1 << shard);
            if *shards == 0 {
                rooms.remove(room);
                shrink(&mut rooms);
                vanished = true;
            }
        });
        vanished
    }

    /// Posts a message to all members of the room. False if the backlog of a shard is full.
    pub(crate) fn deliver(&self, room: &RoomName, envelope: &Envelope) -> bool {
        // Once for all of them.
        let mut frame = None;
        let rooms = self.rooms.lock();
        let shards = rooms.get(room).copied().unwrap_or_default();
        let mut taken = true;
        for (index, shard) in self.shards.iter().enumerate() {
            if shards & (1 << index) == 0 {
                continue;
            }
            let frame = frame.get_or_insert_with(|| encode::message(&envelope.message));
            taken &= shard.post(room, envelope.sender, frame);
        }
        taken
    }

    /// Whether the room has members.
    pub(crate) fn has(&self, room: &RoomName) -> bool {
        self.rooms.lock().contains_key(room)
    }

    /// The rooms with members.
    pub(crate) fn rooms(&self) -> Vec<RoomName> {
        self.rooms.lock().keys().cloned().collect()
    }

    /// How many rooms have members.
    pub(crate) fn len(&self) -> usize {
        self.rooms.lock().len()
    }
}

#[cfg(test)]
mod tests;
