//! What a client sends is the same in pieces of any size, and what the decoder makes of it is
//! sound. Any input is bytes of a client.

use bytes::Bytes;
use wsc_server::protocol::{Message, Opcode};
use wsc_server::websocket::decode::Decoder;
use wsc_server::websocket::{Event, Violation, encode};

use super::random::Random;

/// One that a short input exceeds, and one within which a length can need its longest form.
const LIMITS: [usize; 2] = [200, 1 << 17];
/// Maximum size of a piece, in bytes: pieces end within headers or characters, or hold several
/// frames.
const PIECES: [u64; 4] = [1, 3, 16, 300];
const MASK: [u8; 4] = [0x9a, 0x3c, 0x55, 0x01];

/// What the decoder made of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) events: Vec<Event>,
    pub(crate) violation: Option<Violation>,
    /// Whether nothing is begun at the end.
    idle: bool,
}

/// The body of the fuzz target.
pub(crate) fn check(input: &[u8]) {
    for limit in LIMITS {
        let whole = verdict(input, limit);
        for event in &whole.events {
            check_event(event, limit);
        }
        let mut random = Random::of(input);
        for most in PIECES {
            let in_pieces = read(input, limit, || random.below(most) + 1);
            assert_eq!(in_pieces, whole, "pieces of up to {most} bytes, limit {limit}");
        }
    }
}

/// Of all bytes at once.
pub(crate) fn verdict(input: &[u8], limit: usize) -> Verdict {
    read(input, limit, || u64::MAX)
}

fn read(input: &[u8], limit: usize, mut piece: impl FnMut() -> u64) -> Verdict {
    let mut bytes = input.to_vec();
    let mut rest = bytes.as_mut_slice();
    let mut decoder = Decoder::new(limit);
    let mut events = Vec::new();
    while !rest.is_empty() {
        let length = usize::try_from(piece()).unwrap_or(usize::MAX).min(rest.len());
        let (mut here, after) = rest.split_at_mut(length);
        rest = after;
        while !here.is_empty() {
            let (taken, event) = match decoder.decode(here) {
                Ok(read) => read,
                Err(violation) => {
                    return Verdict {
                        events,
                        violation: Some(violation),
                        idle: false,
                    };
                }
            };
            assert!(
                taken > 0 && (event.is_some() || taken == here.len()),
                "it stopped for nothing"
            );
            here = &mut here[taken..];
            events.extend(event);
            if matches!(events.last(), Some(Event::Close(_))) {
                return Verdict {
                    events,
                    violation: None,
                    idle: is_idle(&mut decoder),
                };
            }
        }
    }
    Verdict {
        events,
        violation: None,
        idle: is_idle(&mut decoder),
    }
}

/// Whether nothing is begun: the next frame is a message by itself.
fn is_idle(decoder: &mut Decoder) -> bool {
    let mut frame = [0x82, 0x80, 0, 0, 0, 0];
    let message = Event::Message(Message {
        opcode: Opcode::Binary,
        payload: Bytes::new(),
    });
    decoder.decode(&mut frame) == Ok((frame.len(), Some(message)))
}

fn check_event(event: &Event, limit: usize) {
    match event {
        Event::Message(message) => {
            assert!(message.payload.len() <= limit);
            assert!(message.opcode == Opcode::Binary || std::str::from_utf8(&message.payload).is_ok());
            check_round_trip(message);
        }
        Event::Ping(payload) => assert!(payload.len() <= 125),
        Event::Close(code) => {
            assert!(
                code.is_none_or(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)),
                "{code:?}"
            );
        }
        Event::Pong => {}
    }
}

/// What the server would send for it says the same.
fn check_round_trip(message: &Message) {
    let back = verdict(&masked(&encode::message(message)), message.payload.len());
    assert_eq!((back.violation, back.idle), (None, true));
    assert_eq!(back.events, [Event::Message(message.clone())]);
}

/// A frame of a server as a client would send it.
fn masked(frame: &Bytes) -> Vec<u8> {
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let (header, payload) = frame.split_at(header);
    let mut out = header.to_vec();
    out[1] |= 0x80;
    out.extend(MASK);
    out.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    out
}
