//! The subscribed channels: level-triggered, so a lost or repeated hint does no harm.
//!
//! Invariant: a room is `active` only while its subscription is confirmed and has not been given
//! up. Giving up happens under the same lock under which a new member finds out whether it has to
//! wait.

use std::collections::{BTreeSet, HashSet};

use parking_lot::Mutex;
use wsc_contract::room::RoomName;

/// The next commands to Redis.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Rooms to subscribe to; confirm them with [`Interest::confirm`].
    pub(crate) subscribe: Vec<RoomName>,
    /// Rooms to unsubscribe from.
    pub(crate) unsubscribe: Vec<RoomName>,
}

/// The subscriptions. Bounded by the rooms of the hub and those that just vanished from it.
#[derive(Debug, Default)]
pub(crate) struct Interest(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    dirty: BTreeSet<RoomName>,
    active: HashSet<RoomName>,
}

impl Interest {
    /// The room may have appeared or vanished.
    pub(crate) fn mark(&self, room: &RoomName) {
        self.0.lock().dirty.insert(room.clone());
    }

    /// Whether messages of the room arrive.
    pub(crate) fn is_active(&self, room: &RoomName) -> bool {
        self.0.lock().active.contains(room)
    }

    /// A new connection has no subscriptions and wants all rooms.
    pub(crate) fn restart(&self, rooms: Vec<RoomName>) {
        let mut inner = self.0.lock();
        inner.active.clear();
        inner.dirty.extend(rooms);
    }

    /// At most `limit` changes that are due; empty when nothing is.
    pub(crate) fn take(&self, limit: usize, wanted: impl Fn(&RoomName) -> bool) -> Changes {
        let mut inner = self.0.lock();
        let mut changes = Changes::default();
        while changes.subscribe.len() + changes.unsubscribe.len() < limit {
            let Some(room) = inner.dirty.pop_first() else {
                break;
            };
            match (wanted(&room), inner.active.contains(&room)) {
                (true, false) => changes.subscribe.push(room),
                (false, true) => {
                    inner.active.remove(&room);
                    changes.unsubscribe.push(room);
                }
                _ => {}
            }
        }
        changes
    }

    /// Redis confirmed these.
    pub(crate) fn confirm(&self, rooms: Vec<RoomName>) {
        self.0.lock().active.extend(rooms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn room(n: usize) -> RoomName {
        RoomName::parse(&format!("r{n}")).expect("room")
    }

    proptest! {
        /// Whatever happens in between, a quiet end leaves exactly the wanted rooms subscribed, at
        /// Redis too.
        #[test]
        fn the_end_is_what_the_hub_wants(steps in prop::collection::vec((0..5_usize, 0..4_u8), 0..100), limit in 1..4_usize) {
            let (interest, mut hub, mut redis) = (Interest::default(), HashSet::new(), HashSet::new());
            let pump = |hub: &HashSet<RoomName>, redis: &mut HashSet<RoomName>| {
                let changes = interest.take(limit, |r| hub.contains(r));
                redis.extend(changes.subscribe.iter().cloned());
                for gone in &changes.unsubscribe {
                    redis.remove(gone);
                }
                let busy = changes != Changes::default();
                interest.confirm(changes.subscribe);
                busy
            };
            for (n, step) in steps {
                match step {
                    0 => { hub.insert(room(n)); interest.mark(&room(n)); }
                    1 => { hub.remove(&room(n)); interest.mark(&room(n)); }
                    2 => { pump(&hub, &mut redis); }
                    _ => { redis.clear(); interest.restart(hub.iter().cloned().collect()); }
                }
                for n in 0..5 {
                    prop_assert!(!interest.is_active(&room(n)) || redis.contains(&room(n)), "active means subscribed");
                }
            }
            while !interest.0.lock().dirty.is_empty() {
                pump(&hub, &mut redis);
            }
            prop_assert_eq!(&redis, &hub);
            prop_assert_eq!(&interest.0.lock().active, &hub);
        }
    }
}
