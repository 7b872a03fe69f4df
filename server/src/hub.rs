//! The rooms of this process and who is in them.
//!
//! Invariants: a room exists exactly while it has members; a delivery reaches the members that are in the room while its
//! lock is held, so each member gets exactly the messages between its join and its leave, in the one order of the bus.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::frame::encode;
use crate::outbox::{Budget, Outbox, Push};
use crate::protocol::envelope::Envelope;
use crate::protocol::{RoomName, Sender};

/// One connection in one room.
#[derive(Debug, Clone)]
pub struct Member {
    /// Who it is.
    pub sender: Sender,
    /// Where its messages wait.
    pub outbox: Arc<Outbox>,
    /// Whether it gets its own messages.
    pub echo: bool,
}

/// What one delivery did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Members that have the message queued.
    pub queued: u64,
    /// Members that were too slow for it and will be closed.
    pub overflowed: u64,
}

type Room = Mutex<BTreeMap<u64, Member>>;

/// The registry. Its size is bounded by the connections: a member is one connection in one room.
#[derive(Debug)]
pub struct Hub {
    rooms: RwLock<HashMap<RoomName, Arc<Room>>>,
    budget: Arc<Budget>,
}

impl Default for Hub {
    /// Without a limit for all outboxes together.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Hub {
    /// Without rooms; all outboxes of its members together may hold so many bytes.
    pub fn new(outboxes_bytes: usize) -> Self {
        Self {
            rooms: RwLock::default(),
            budget: Arc::new(Budget::new(outboxes_bytes)),
        }
    }

    /// What the outboxes of its members are charged to.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Adds a member. True if the room is new to this process.
    pub fn join(&self, room: &RoomName, member: Member) -> bool {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let appeared = !rooms.contains_key(room);
        let members = rooms.entry(room.clone()).or_default();
        lock(members).insert(member.sender.connection, member);
        appeared
    }

    /// Removes a member. True if the room is gone with it.
    pub fn leave(&self, room: &RoomName, connection: u64) -> bool {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let Some(members) = rooms.get(room) else {
            return false;
        };
        let empty = {
            let mut members = lock(members);
            members.remove(&connection);
            members.is_empty()
        };
        if empty {
            rooms.remove(room);
        }
        empty
    }

    /// Whether anybody is in the room.
    pub fn has(&self, room: &RoomName) -> bool {
        self.rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(room)
    }

    /// The rooms with members.
    pub fn rooms(&self) -> Vec<RoomName> {
        self.rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }

    /// How many rooms have members.
    pub fn len(&self) -> usize {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nobody is in any room.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives up the clients with the longest queues until so many bytes are free; how many these were.
    pub fn give_up(&self, excess: usize) -> u64 {
        let rooms: Vec<_> = {
            let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
            rooms.values().cloned().collect()
        };
        let mut queues = Vec::new();
        for room in rooms {
            let members = lock(&room);
            let outboxes = members
                .values()
                .map(|member| (member.outbox.bytes(), Arc::clone(&member.outbox)));
            queues.extend(outboxes.filter(|(bytes, _)| *bytes > 0));
        }
        queues.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let (mut freed, mut given_up) = (0, 0);
        for (bytes, outbox) in queues {
            if freed >= excess {
                break;
            }
            if outbox.give_up() {
                freed += bytes;
                given_up += 1;
            }
        }
        given_up
    }

    /// Queues a message for everybody in the room. Callers deliver the messages of one room one after the other.
    pub fn deliver(&self, room: &RoomName, envelope: &Envelope) -> Delivery {
        let mut delivery = Delivery::default();
        let members = self
            .rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(room)
            .cloned();
        let Some(members) = members else {
            return delivery;
        };
        // Once for all of them.
        let frame = encode::message(&envelope.message);
        for member in lock(&members).values() {
            if !member.echo && member.sender == envelope.sender {
                continue;
            }
            match member.outbox.push(&frame) {
                Push::Queued => delivery.queued += 1,
                Push::Overflow => delivery.overflowed += 1,
                Push::Closed => {}
            }
        }
        delivery
    }
}

fn lock(room: &Room) -> std::sync::MutexGuard<'_, BTreeMap<u64, Member>> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Next;
    use crate::protocol::{Message, Opcode};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Debug, Clone)]
    enum Step {
        Join(u64, usize, bool),
        Leave(u64),
        Publish(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..8_u64, 0..3_usize, any::<bool>()).prop_map(|(c, r, echo)| Step::Join(c, r, echo)),
            (0..8_u64).prop_map(Step::Leave),
            (0..8_u64, 0..3_usize).prop_map(|(c, r)| Step::Publish(c, r)),
        ]
    }

    fn sender(connection: u64) -> Sender {
        Sender {
            process: 1,
            connection,
        }
    }

    fn outbox(limit_bytes: usize) -> Arc<Outbox> {
        Arc::new(Outbox::new(limit_bytes, Arc::new(Budget::new(usize::MAX))))
    }

    fn drain(outbox: &Outbox) -> Vec<u32> {
        std::iter::from_fn(|| match outbox.next() {
            // A header of two bytes, then the number.
            Next::Frame(frame) => Some(u32::from_be_bytes(frame[2..].try_into().expect("four bytes"))),
            _ => None,
        })
        .collect()
    }

    proptest! {
        #[test]
        fn each_member_gets_exactly_its_interval_in_order(steps in prop::collection::vec(step(), 1..200)) {
            let rooms = ["a", "b", "c"].map(|n| RoomName::parse(n).expect("room"));
            let hub = Hub::default();
            let mut members: BTreeMap<u64, (usize, bool, Arc<Outbox>, Vec<u32>)> = BTreeMap::new();
            for (index, step) in steps.into_iter().enumerate() {
                let number = u32::try_from(index).expect("small");
                match step {
                    Step::Join(c, room, echo) => {
                        if members.contains_key(&c) {
                            continue;
                        }
                        let outbox = outbox(1 << 20);
                        let appeared = hub.join(&rooms[room], Member { sender: sender(c), outbox: outbox.clone(), echo });
                        prop_assert_eq!(appeared, !members.values().any(|m| m.0 == room));
                        members.insert(c, (room, echo, outbox, Vec::new()));
                    }
                    Step::Leave(c) => {
                        let Some((room, _, outbox, expected)) = members.remove(&c) else { continue };
                        let vanished = hub.leave(&rooms[room], c);
                        prop_assert_eq!(vanished, !members.values().any(|m| m.0 == room));
                        prop_assert_eq!(drain(&outbox), expected);
                    }
                    Step::Publish(c, room) => {
                        let payload = Bytes::copy_from_slice(&number.to_be_bytes());
                        let message = Message { opcode: Opcode::Binary, payload };
                        let delivery = hub.deliver(&rooms[room], &Envelope { sender: sender(c), message });
                        let mut reached = 0;
                        for (id, (in_room, echo, _, expected)) in &mut members {
                            if *in_room == room && (*echo || *id != c) {
                                expected.push(number);
                                reached += 1;
                            }
                        }
                        prop_assert_eq!(delivery, Delivery { queued: reached, overflowed: 0 });
                    }
                }
            }
            for (_, (_, _, outbox, expected)) in members {
                prop_assert_eq!(drain(&outbox), expected);
            }
        }
    }

    #[test]
    fn a_slow_member_does_not_disturb_its_neighbours() {
        let room = RoomName::parse("r").expect("room");
        let hub = Hub::default();
        let (slow, fast) = (outbox(100), outbox(1 << 20));
        for (id, outbox) in [(1, &slow), (2, &fast)] {
            hub.join(
                &room,
                Member {
                    sender: sender(id),
                    outbox: Arc::clone(outbox),
                    echo: true,
                },
            );
        }
        let message = Message {
            opcode: Opcode::Text,
            payload: Bytes::from_static(b"0123456789"),
        };
        let envelope = Envelope {
            sender: sender(9),
            message,
        };
        let total = (0..10).fold(Delivery::default(), |sum, _| {
            let d = hub.deliver(&room, &envelope);
            Delivery {
                queued: sum.queued + d.queued,
                overflowed: sum.overflowed + d.overflowed,
            }
        });
        assert_eq!(
            total,
            Delivery {
                queued: 11,
                overflowed: 1
            }
        );
        assert_eq!((slow.asked_close(), fast.asked_close()), (Some("slow"), None));
    }

    /// A member hears all that is published from the end of its join to the begin of its leave, and nothing with a hole in it.
    #[test]
    fn joins_and_leaves_beside_a_publisher_leave_no_hole() {
        const MESSAGES: u32 = 20_000;
        let room = RoomName::parse("r").expect("room");
        let (hub, published) = (Hub::default(), AtomicU32::new(0));
        let publish = || {
            for n in 0..MESSAGES {
                let payload = Bytes::copy_from_slice(&n.to_be_bytes());
                let message = Message {
                    opcode: Opcode::Binary,
                    payload,
                };
                let sender = sender(0);
                hub.deliver(&room, &Envelope { sender, message });
                published.store(n + 1, Ordering::SeqCst);
            }
        };
        let come_and_go = |connection: u64| {
            while published.load(Ordering::SeqCst) < MESSAGES {
                let outbox = outbox(1 << 30);
                let member = Member {
                    sender: sender(connection),
                    outbox: Arc::clone(&outbox),
                    echo: true,
                };
                hub.join(&room, member);
                let from = published.load(Ordering::SeqCst);
                std::thread::yield_now();
                let to = published.load(Ordering::SeqCst);
                hub.leave(&room, connection);
                let heard = drain(&outbox);
                // The message under way at the join or the leave may be heard or not.
                let first = heard.first().copied().unwrap_or(from + 1);
                let expected: Vec<u32> = (first..).take(heard.len()).collect();
                assert_eq!(heard, expected, "no hole, no double, in order");
                let end = first + u32::try_from(heard.len()).expect("small");
                assert!(first <= from + 1 && end >= to, "{first}..{end} of {from}..{to}");
            }
        };
        std::thread::scope(|scope| {
            for connection in 1..4 {
                scope.spawn(move || come_and_go(connection));
            }
            scope.spawn(publish);
        });
        assert!(hub.is_empty());
    }

    #[test]
    fn two_threads_see_one_order() {
        let room = RoomName::parse("r").expect("room");
        let hub = Hub::default();
        let outboxes: Vec<_> = (0..2).map(|_| outbox(1 << 20)).collect();
        for (id, outbox) in (0..).zip(&outboxes) {
            hub.join(
                &room,
                Member {
                    sender: sender(id),
                    outbox: Arc::clone(outbox),
                    echo: true,
                },
            );
        }
        std::thread::scope(|scope| {
            for thread in 0..2_u32 {
                let (hub, room) = (&hub, &room);
                scope.spawn(move || {
                    for n in 0..500_u32 {
                        let payload = Bytes::copy_from_slice(&(thread * 1000 + n).to_be_bytes());
                        let message = Message {
                            opcode: Opcode::Binary,
                            payload,
                        };
                        hub.deliver(
                            room,
                            &Envelope {
                                sender: sender(7),
                                message,
                            },
                        );
                    }
                });
            }
        });
        let (first, second) = (drain(&outboxes[0]), drain(&outboxes[1]));
        assert_eq!(first.len(), 1000);
        assert_eq!(first, second);
    }

    #[test]
    fn the_longest_queues_are_given_up_first() {
        let hub = Hub::default();
        let boxes: Vec<_> = (0..4).map(|_| outbox(1 << 20)).collect();
        for (id, outbox) in (0..).zip(&boxes) {
            let room = RoomName::parse(&format!("r{}", id % 2)).expect("room");
            let member = Member {
                sender: sender(id),
                outbox: Arc::clone(outbox),
                echo: true,
            };
            hub.join(&room, member);
            let length = [0, 100, 300, 200][usize::try_from(id).expect("small")];
            if length > 0 {
                outbox.push(&vec![0; length].into());
            }
        }
        let all = boxes.iter().map(|outbox| outbox.bytes()).sum::<usize>();
        assert_eq!(hub.give_up(400), 2);
        let slow: Vec<_> = boxes.iter().map(|outbox| outbox.asked_close()).collect();
        assert_eq!(slow, [None, None, Some("slow"), Some("slow")]);
        assert_eq!((hub.give_up(all), hub.give_up(all)), (1, 0));
    }
}
