//! Order, bounds and fairness of the fan-out to the members of rooms.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::time::Instant;

use super::shard::{GATHER, Next as Due, SENDS_PER_TURN, Turn};
use super::*;
use crate::outbox::{Next, Outbox};
use crate::protocol::{Message, Opcode, Sender};

const SHARDS: usize = 2;

fn hub() -> Hub {
    Hub::new(SHARDS, 1 << 20, usize::MAX)
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).expect("room")
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

fn member(connection: u64, outbox: &Arc<Outbox>, echo: bool) -> Member {
    Member {
        sender: sender(connection),
        outbox: Arc::clone(outbox),
        echo,
    }
}

fn numbered(connection: u64, number: u32) -> Envelope {
    let payload = Bytes::copy_from_slice(&number.to_be_bytes());
    Envelope {
        sender: sender(connection),
        message: Message {
            opcode: Opcode::Binary,
            payload,
        },
    }
}

/// The numbers in all frames that wait; joined ones are taken apart.
fn drain(outbox: &Outbox) -> Vec<u32> {
    let frames = std::iter::from_fn(|| match outbox.next() {
        Next::Frame(frame) => Some(frame),
        _ => None,
    });
    // A header of two bytes, then the number.
    frames
        .flat_map(|frame| {
            let numbers = frame
                .chunks(6)
                .map(|one| u32::from_be_bytes(one[2..].try_into().expect("four bytes")));
            numbers.collect::<Vec<_>>()
        })
        .collect()
}

fn settle(hub: &Hub) -> Turn {
    let mut sum = Turn::default();
    for shard in 0..SHARDS {
        let mut now = Instant::now();
        loop {
            now += GATHER;
            let turn = hub.shard(shard).turn(SENDS_PER_TURN, now);
            sum.delivered += turn.delivered;
            sum.overflowed += turn.overflowed;
            if turn.next == Due::Posted {
                break;
            }
        }
        assert_eq!(hub.shard(shard).backlog(), 0);
    }
    sum
}

#[derive(Debug, Clone)]
enum Step {
    Join {
        connection: u64,
        room: usize,
        echo: bool,
    },
    Leave(u64),
    Publish {
        connection: u64,
        room: usize,
    },
    /// A shard goes on for so many sends, and stops in the middle of whatever it is at.
    Turn {
        shard: usize,
        sends: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..8_u64, 0..3_usize, any::<bool>())
            .prop_map(|(connection, room, echo)| Step::Join { connection, room, echo }),
        1 => (0..8_u64).prop_map(Step::Leave),
        4 => (0..8_u64, 0..3_usize).prop_map(|(connection, room)| Step::Publish { connection, room }),
        4 => (0..SHARDS, 1..4_usize).prop_map(|(shard, sends)| Step::Turn { shard, sends }),
    ]
}

struct Model {
    room: usize,
    echo: bool,
    outbox: Arc<Outbox>,
    membership: Membership,
    /// All that was published between its join and now.
    interval: Vec<u32>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    /// Whatever joins, leaves and publishes come between two steps of a walk.
    #[test]
    fn members_get_their_interval_in_order_once(steps in prop::collection::vec(step(), 1..200)) {
        let rooms = ["a", "b", "c"].map(room);
        let hub = hub();
        let mut members: BTreeMap<u64, Model> = BTreeMap::new();
        for (index, step) in steps.into_iter().enumerate() {
            let number = u32::try_from(index).expect("small");
            match step {
                Step::Join { connection, room, echo } => {
                    if members.contains_key(&connection) {
                        continue;
                    }
                    let outbox = outbox(1 << 20);
                    let shard = usize::try_from(connection).expect("small") % SHARDS;
                    let (membership, appeared) = hub.join(shard, &rooms[room], member(connection, &outbox, echo));
                    prop_assert_eq!(appeared, !members.values().any(|m| m.room == room));
                    members.insert(connection, Model { room, echo, outbox, membership, interval: Vec::new() });
                }
                Step::Leave(connection) => {
                    let Some(model) = members.remove(&connection) else { continue };
                    let shard = usize::try_from(connection).expect("small") % SHARDS;
                    let idle = hub.shard(shard).backlog() == 0;
                    let vanished = hub.leave(&model.membership);
                    prop_assert_eq!(vanished, !members.values().any(|m| m.room == model.room));
                    let got = drain(&model.outbox);
                    // What was not walked to it yet is not for it any more.
                    prop_assert!(model.interval.starts_with(&got), "{:?} of {:?}", got, model.interval);
                    prop_assert!(!idle || got == model.interval);
                }
                Step::Publish { connection, room } => {
                    prop_assert!(hub.deliver(&rooms[room], &numbered(connection, number)));
                    for (id, model) in &mut members {
                        if model.room == room && (model.echo || *id != connection) {
                            model.interval.push(number);
                        }
                    }
                }
                Step::Turn { shard, sends } => {
                    hub.shard(shard).turn(sends, Instant::now());
                }
            }
        }
        settle(&hub);
        for model in members.values() {
            prop_assert_eq!(drain(&model.outbox), model.interval.clone());
        }
        for model in members.values() {
            hub.leave(&model.membership);
        }
        prop_assert_eq!(hub.len(), 0);
    }
}

#[test]
fn slow_member_does_not_disturb_others() {
    let (hub, room) = (hub(), room("r"));
    let (slow, fast) = (outbox(100), outbox(1 << 20));
    for (id, outbox) in [(1, &slow), (2, &fast)] {
        hub.join(0, &room, member(id, outbox, true));
    }
    let mut sum = Turn::default();
    for number in 0..10 {
        hub.deliver(&room, &numbered(9, number));
        let turn = settle(&hub);
        sum.delivered += turn.delivered;
        sum.overflowed += turn.overflowed;
    }
    assert_eq!((sum.delivered, sum.overflowed), (11, 1));
    assert_eq!((slow.asked_close(), fast.asked_close()), (Some("slow"), None));
}

#[test]
fn backlog_is_joined_once_and_shared() {
    let (hub, room) = (hub(), room("r"));
    let boxes: Vec<_> = (0..3).map(|_| outbox(1 << 20)).collect();
    for (id, outbox) in (0..).zip(&boxes) {
        // The last one does not hear itself, so it gets its frames one by one.
        hub.join(0, &room, member(id, outbox, id != 2));
    }
    for number in 0..4 {
        hub.deliver(&room, &numbered(2, number));
    }
    hub.deliver(&room, &numbered(1, 4));
    let turn = settle(&hub);
    assert_eq!(turn.delivered, 5 + 5 + 1);
    let (Next::Frame(first), Next::Frame(second)) = (boxes[0].next(), boxes[1].next()) else {
        panic!("one frame each");
    };
    assert_eq!(
        (first.len(), first.as_ptr()),
        (5 * 6, second.as_ptr()),
        "the same bytes"
    );
    assert_eq!((boxes[0].next(), boxes[1].next()), (Next::Idle, Next::Idle));
    assert_eq!(drain(&boxes[2]), [4]);
}

#[test]
fn chunk_is_bounded_and_large_frame_alone() {
    let (hub, room) = (hub(), room("r"));
    let outbox = outbox(1 << 20);
    hub.join(0, &room, member(1, &outbox, true));
    for length in [10_000, 6_000, 400, 20_000, 1] {
        let message = Message::binary(vec![0; length].into());
        hub.deliver(
            &room,
            &Envelope {
                sender: sender(1),
                message,
            },
        );
    }
    settle(&hub);
    let chunks: Vec<_> = std::iter::from_fn(|| match outbox.next() {
        Next::Frame(frame) => Some(frame.len()),
        _ => None,
    })
    .collect();
    // Headers are of 4 and 2 bytes.
    assert_eq!(chunks, [16_008, 404, 20_004, 3]);
}

#[test]
fn small_room_passes_a_large_one() {
    let hub = hub();
    let (large, small) = (room("large"), room("small"));
    let crowd = outbox(1 << 30);
    for id in 0..1000 {
        hub.join(0, &large, member(id, &crowd, true));
    }
    let one = outbox(1 << 20);
    hub.join(0, &small, member(1000, &one, true));
    hub.deliver(&large, &numbered(0, 1));
    let now = Instant::now();
    let turn = |after: Duration| hub.shard(0).turn(SENDS_PER_TURN, now + after);
    assert_eq!(turn(Duration::ZERO).next, Due::At(now + GATHER));
    assert_eq!(turn(GATHER).delivered, 256);
    hub.deliver(&small, &numbered(0, 2));
    assert_eq!((turn(GATHER).delivered, drain(&one)), (256, vec![]));
    assert_eq!(
        (turn(GATHER).delivered, drain(&one)),
        (256, vec![2]),
        "between two parts of the walk"
    );
}

#[test]
fn burst_in_large_room_is_one_walk() {
    let hub = hub();
    let (large, small) = (room("large"), room("small"));
    let crowd = outbox(1 << 30);
    for id in 0..300 {
        hub.join(0, &large, member(id, &crowd, true));
    }
    let one = outbox(1 << 20);
    hub.join(0, &small, member(1000, &one, true));
    let now = Instant::now();
    hub.deliver(&large, &numbered(0, 1));
    assert_eq!(hub.shard(0).turn(1000, now).next, Due::At(now + GATHER));
    hub.deliver(&large, &numbered(0, 2));
    hub.deliver(&small, &numbered(0, 3));
    let turn = hub.shard(0).turn(1000, now + GATHER / 2);
    assert_eq!((turn.delivered, turn.next), (1, Due::At(now + GATHER)));
    let turn = hub.shard(0).turn(1000, now + GATHER);
    assert_eq!(
        (turn.delivered, turn.walks, turn.next),
        (600, vec![300], Due::Posted)
    );
}

#[test]
fn late_shard_rejects_until_caught_up() {
    let (hub, room) = (hub(), room("r"));
    let outbox = outbox(usize::MAX);
    let (membership, _) = hub.join(0, &room, member(1, &outbox, true));
    let large = Envelope {
        sender: sender(2),
        message: Message::binary(vec![0; 16 << 20].into()),
    };
    let taken = (0..5).filter(|_| hub.deliver(&room, &large)).count();
    assert_eq!(
        taken, 2,
        "the second one goes over the bound, and is the last one"
    );
    hub.shard(0).turn(1, Instant::now());
    assert!(hub.deliver(&room, &large));
    hub.leave(&membership);
    assert!(hub.len() == 0 && hub.shard(0).backlog() > 0);
    settle(&hub);
}

/// A member hears all that is published from the end of its join to the begin of its leave, and
/// nothing with a hole in it.
#[test]
fn concurrent_joins_and_leaves_miss_nothing() {
    const MESSAGES: u32 = 20_000;
    let room = room("r");
    let (hub, published) = (hub(), AtomicU32::new(0));
    let publish = || {
        for n in 0..MESSAGES {
            while hub.shard(0).backlog() + hub.shard(1).backlog() > 10_000 {
                std::thread::yield_now();
            }
            hub.deliver(&room, &numbered(0, n));
            published.store(n + 1, Ordering::SeqCst);
        }
    };
    // A shard is one thread: its members come and go between two turns of its walk.
    let come_and_go = |shard: usize| {
        while published.load(Ordering::SeqCst) < MESSAGES {
            let outbox = outbox(1 << 30);
            let connection = u64::try_from(shard).expect("small") + 1;
            let (membership, _) = hub.join(shard, &room, member(connection, &outbox, true));
            let from = published.load(Ordering::SeqCst);
            std::thread::yield_now();
            let to = published.load(Ordering::SeqCst);
            while hub.shard(shard).turn(3, Instant::now()).next == Due::Now {}
            hub.leave(&membership);
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
        for shard in 0..SHARDS {
            scope.spawn(move || come_and_go(shard));
        }
        scope.spawn(publish);
    });
    assert_eq!(hub.len(), 0);
}

#[test]
fn two_publishers_are_received_in_order() {
    let (hub, room) = (hub(), room("r"));
    let boxes: Vec<_> = (0..SHARDS).map(|_| outbox(1 << 20)).collect();
    for (shard, outbox) in boxes.iter().enumerate() {
        hub.join(shard, &room, member(0, outbox, true));
    }
    std::thread::scope(|scope| {
        for thread in 0..2_u32 {
            let (hub, room) = (&hub, &room);
            scope.spawn(move || {
                for n in 0..500_u32 {
                    hub.deliver(room, &numbered(7, thread * 1000 + n));
                }
            });
        }
    });
    settle(&hub);
    let (first, second) = (drain(&boxes[0]), drain(&boxes[1]));
    assert_eq!(first.len(), 1000);
    assert_eq!(first, second);
}
