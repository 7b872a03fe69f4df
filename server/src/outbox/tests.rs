//! Bounds and order of the outbound queue, on a socket that takes a chosen number of bytes.

use super::*;
use proptest::prelude::*;
use wsc_contract::close::Cause;

impl Outbox {
    /// Why the connection is to end.
    pub(crate) fn asked_close(&self) -> Option<&'static str> {
        self.urgent().1
    }

    fn frames(&self) -> Vec<Bytes> {
        let inner = self.inner.lock();
        inner.first.iter().chain(&inner.rest).cloned().collect()
    }
}

fn outbox(limit_bytes: usize) -> Outbox {
    Outbox::new(limit_bytes, Arc::new(Budget::new(usize::MAX)))
}

fn frame(len: usize, tag: u8) -> Bytes {
    Bytes::from(vec![tag; len])
}

fn moved() -> CloseRequest {
    CloseRequest::Reconnect {
        code: CloseCode::SERVICE_RESTART,
        reason: Reason {
            cause: Cause::Shed,
            retry_milliseconds: 1,
        },
    }
}

#[test]
fn close_follows_the_queue_and_comes_once() {
    let outbox = outbox(1000);
    assert_eq!(outbox.push(&frame(1, 7)), Push::Queued);
    assert!(outbox.ask_close(moved()));
    assert!(!outbox.ask_close(moved()), "the second is refused");
    assert_eq!(outbox.push(&frame(1, 8)), Push::Closed);
    assert_eq!(outbox.next(), Next::Frame(frame(1, 7)));
    assert_eq!(outbox.next(), Next::Close(moved()));
    assert_eq!(outbox.next(), Next::Idle);
    assert!(!outbox.ask_close(moved()));
}

#[test]
fn slow_client_loses_queue_and_is_closed() {
    let outbox = outbox(2 * FRAME_OVERHEAD_BYTES + 10);
    assert_eq!(outbox.push(&frame(5, 1)), Push::Queued);
    assert_eq!(outbox.push(&frame(5, 2)), Push::Queued);
    assert_eq!(outbox.push(&frame(0, 3)), Push::Overflow);
    assert_eq!(outbox.next(), Next::Close(CloseRequest::Slow));
    assert_eq!(outbox.next(), Next::Idle);
}

#[test]
fn finish_ends_everything() {
    let outbox = outbox(1000);
    outbox.push(&frame(1, 1));
    assert!(outbox.finish());
    assert!(!outbox.finish() && !outbox.ask_close(moved()));
    assert_eq!(
        (outbox.next(), outbox.push(&frame(1, 2))),
        (Next::Idle, Push::Closed)
    );
}

#[test]
fn bytes_of_a_queue_are_always_returned() {
    let budget = Arc::new(Budget::new(1000));
    let new = || Outbox::new(1000, Arc::clone(&budget));
    let boxes: Vec<_> = (0..5).map(|_| new()).collect();
    for outbox in &boxes {
        outbox.push(&frame(300 - FRAME_OVERHEAD_BYTES, 0));
    }
    assert_eq!((budget.used(), budget.excess()), (1500, 600));
    assert!(matches!(boxes[0].next(), Next::Frame(_)));
    boxes[1].finish();
    assert!(boxes[2].give_up() && !boxes[2].give_up());
    assert_eq!(boxes[2].next(), Next::Close(CloseRequest::Slow));
    assert_eq!(boxes[3].push(&frame(1000, 0)), Push::Overflow);
    assert_eq!((budget.used(), budget.excess()), (300, 0));
    drop(boxes);
    assert_eq!(budget.used(), 0);
}

/// A socket that takes so many bytes at each try, and nothing after that.
#[derive(Debug, Default)]
struct Socket {
    room: Mutex<VecDeque<usize>>,
    bytes: Mutex<Vec<u8>>,
}

impl Direct for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room.lock().pop_front().unwrap_or(0);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = &bytes[..room.min(bytes.len())];
        self.bytes.lock().extend_from_slice(taken);
        Ok(taken.len())
    }
}

fn connected(limit_bytes: usize, room: &[usize]) -> (Outbox, Arc<Socket>) {
    let outbox = outbox(limit_bytes);
    let socket = Arc::<Socket>::default();
    socket.room.lock().extend(room);
    outbox.connect(Arc::clone(&socket) as Arc<dyn Direct>);
    (outbox, socket)
}

#[test]
fn frame_on_empty_queue_is_written_directly() {
    let (outbox, socket) = connected(1000, &[5, 5, 0, 5]);
    assert_eq!(outbox.push(&frame(5, 1)), Push::Written);
    outbox.hold(true);
    assert_eq!(
        outbox.push(&frame(5, 2)),
        Push::Queued,
        "the session has something"
    );
    outbox.hold(false);
    assert_eq!(outbox.push(&frame(5, 3)), Push::Queued, "something waits here");
    assert_eq!(outbox.next(), Next::Frame(frame(5, 2)));
    assert_eq!(outbox.next(), Next::Frame(frame(5, 3)));
    assert_eq!(outbox.push(&frame(5, 4)), Push::Written);
    assert_eq!(outbox.push(&frame(5, 5)), Push::Queued, "nothing goes in");
    outbox.ask_close(moved());
    assert_eq!(outbox.push(&frame(5, 6)), Push::Closed);
    assert_eq!(*socket.bytes.lock(), [[1; 5], [4; 5]].concat());
}

#[test]
fn begun_frame_is_completed_before_the_close() {
    for give_up in [true, false] {
        let (outbox, socket) = connected(2 * FRAME_OVERHEAD_BYTES + 10, &[2]);
        assert_eq!(outbox.push(&frame(5, 1)), Push::Queued);
        assert_eq!(outbox.push(&frame(5, 2)), Push::Queued);
        if give_up {
            assert!(outbox.give_up());
        } else {
            assert_eq!(outbox.push(&frame(5, 3)), Push::Overflow);
        }
        assert_eq!(outbox.bytes(), FRAME_OVERHEAD_BYTES + 3);
        assert_eq!(outbox.urgent(), (Some(frame(3, 1)), Some("slow")));
        assert_eq!(outbox.urgent(), (None, Some("slow")));
        assert_eq!(
            (outbox.next(), outbox.bytes()),
            (Next::Close(CloseRequest::Slow), 0)
        );
        assert_eq!(*socket.bytes.lock(), [1; 2]);
    }
}

proptest! {
    /// A session that takes over whenever it is its turn, and who delivers, write every byte once
    /// and in order.
    #[test]
    fn two_who_write_make_one_stream(
        steps in prop::collection::vec((1_usize..200, 0_usize..300, any::<bool>()), 1..100),
    ) {
        let (outbox, socket) = connected(1 << 20, &[]);
        let mut expected = Vec::new();
        for (index, (length, room, session)) in steps.into_iter().enumerate() {
            let tag = u8::try_from(index % 251).expect("small");
            socket.room.lock().push_back(room);
            outbox.push(&frame(length, tag));
            expected.extend_from_slice(&frame(length, tag));
            socket.room.lock().clear();
            if session {
                let begun = outbox.urgent().0;
                let rest = std::iter::from_fn(|| match outbox.next() {
                    Next::Frame(frame) => Some(frame),
                    _ => None,
                });
                for frame in begun.into_iter().chain(rest) {
                    socket.bytes.lock().extend_from_slice(&frame);
                }
                prop_assert_eq!(&*socket.bytes.lock(), &expected);
            }
        }
        let written = socket.bytes.lock().clone();
        prop_assert!(expected.starts_with(&written));
        let waiting = outbox.frames().iter().map(Bytes::len).sum::<usize>();
        prop_assert_eq!(written.len() + waiting, expected.len());
    }

    #[test]
    fn never_beyond_its_bound_and_in_order(
        limit in 64_usize..4096,
        steps in prop::collection::vec(prop::option::of(0_usize..600), 1..200),
    ) {
        let outbox = outbox(limit);
        let mut model = VecDeque::new();
        for (index, step) in steps.into_iter().enumerate() {
            let tag = u8::try_from(index % 251).expect("small");
            let pushed = step.map(|len| (len, outbox.push(&frame(len, tag))));
            match pushed {
                None => prop_assert_eq!(outbox.next(), model.pop_front().map_or(Next::Idle, Next::Frame)),
                Some((len, Push::Queued)) => model.push_back(frame(len, tag)),
                Some((_, Push::Overflow)) => {
                    prop_assert_eq!(outbox.next(), Next::Close(CloseRequest::Slow));
                    return Ok(());
                }
                Some((_, Push::Written | Push::Closed)) => prop_assert!(false, "it has no socket, and nobody closed it"),
            }
            let held = outbox.frames().iter().map(|frame| frame.len() + FRAME_OVERHEAD_BYTES).sum::<usize>();
            prop_assert!(held <= limit);
            prop_assert_eq!((held, held), (outbox.bytes(), outbox.budget.used()));
        }
    }
}
