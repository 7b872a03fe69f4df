//! Against tungstenite as an oracle, and case by case where it is more lenient.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage, WebSocket};

use super::*;

const LIMIT: usize = 64;

impl Decoder {
    /// Whether it holds no memory: nothing has begun that is not finished.
    pub(crate) fn is_idle(&self) -> bool {
        self.partial.is_none()
    }
}

/// A frame of a client, right or wrong.
#[derive(Debug, Clone)]
struct Sent {
    first: u8,
    masked: bool,
    payload: Vec<u8>,
}

impl Sent {
    fn new(first: u8, payload: &[u8]) -> Self {
        Self {
            first,
            masked: true,
            payload: payload.to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mask_bit = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        match self.payload.len() {
            length @ 0..=125 => bytes.push(mask_bit | u8::try_from(length).unwrap()),
            length @ 126..=65_535 => {
                bytes.push(mask_bit | 0x7e);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(mask_bit | 0x7f);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        let mask = [0x11, 0x82, 0xf3, 0x04];
        if self.masked {
            bytes.extend(mask);
            let masked = self.payload.iter().zip(mask.iter().cycle());
            bytes.extend(masked.map(|(byte, key)| byte ^ key));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }
}

/// What a reader made of the bytes: what it understood, and the close code of what was wrong.
type Verdict = (Vec<Event>, Option<u16>);

/// Reads pieces of these lengths, then the rest.
fn ours(bytes: &[u8], cuts: &[usize], limit: usize) -> Verdict {
    let (mut decoder, mut events) = (Decoder::new(limit), Vec::new());
    let mut bytes = bytes.to_vec();
    let mut rest = bytes.as_mut_slice();
    let mut cuts = cuts.iter();
    while !rest.is_empty() {
        let cut = cuts.next().map_or(rest.len(), |cut| (*cut).min(rest.len()));
        let (mut piece, after) = rest.split_at_mut(cut);
        rest = after;
        while !piece.is_empty() {
            match decoder.decode(piece) {
                Err(violation) => return (events, Some(violation.code())),
                Ok((taken, event)) => {
                    assert!(event.is_some() || taken == piece.len(), "it stopped for nothing");
                    piece = &mut piece[taken..];
                    events.extend(event);
                    if matches!(events.last(), Some(Event::Close(_))) {
                        return (events, None);
                    }
                }
            }
        }
    }
    (events, None)
}

/// Gives the bytes and then nothing more; takes everything.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn theirs(bytes: &[u8], limit: usize) -> Verdict {
    let config = WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    let mut socket = WebSocket::from_raw_socket(Wire(bytes), Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        let event = match socket.read() {
            Ok(WsMessage::Text(text)) => Event::Message(Message::text(text.into())),
            Ok(WsMessage::Binary(bytes)) => Event::Message(Message::binary(bytes)),
            Ok(WsMessage::Ping(bytes)) => Event::Ping(bytes),
            Ok(WsMessage::Pong(_)) => Event::Pong,
            // It answers a code that is not allowed with 1002, and says that this is what it got.
            Ok(WsMessage::Close(Some(frame))) if frame.reason == "Protocol violation" => {
                return (events, Some(1002));
            }
            Ok(WsMessage::Close(frame)) => {
                events.push(Event::Close(frame.map(|frame| frame.code.into())));
                return (events, None);
            }
            Ok(WsMessage::Frame(_)) => unreachable!("never read"),
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (events, None),
            Err(WsError::Capacity(_)) => return (events, Some(1009)),
            Err(WsError::Utf8(_)) => return (events, Some(1007)),
            Err(_) => return (events, Some(1002)),
        };
        events.push(event);
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-zä€😀]{0,9}".prop_map(String::into_bytes),
        // Characters cut in two.
        1 => ("[ä€😀]{1,3}", 0..9_usize).prop_map(|(text, cut)| text.as_bytes()[..cut.min(text.len())].to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn close_payload() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![
        3 => prop::sample::select(vec![1000_u16, 1001, 1011, 1012, 3000, 4999]),
        1 => prop::sample::select(vec![0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535]),
    ];
    (code, payload(), 0..4_usize).prop_map(|(code, reason, cut)| match cut {
        0 => Vec::new(),
        1 => vec![3],
        _ => [&code.to_be_bytes()[..], &reason].concat(),
    })
}

fn frame() -> impl Strategy<Value = Sent> {
    let opcode = prop_oneof![
        6 => Just(1_u8), 4 => Just(2), 6 => Just(0), 2 => Just(9), 2 => Just(10), 1 => Just(8), 1 => 0..16_u8,
    ];
    let last = prop::bool::weighted(0.6);
    let reserved = prop_oneof![40 => Just(0_u8), 1 => prop::sample::select(vec![0x10_u8, 0x20, 0x40])];
    let masked = prop::bool::weighted(0.98);
    (opcode, last, reserved, masked, payload(), close_payload()).prop_map(
        |(opcode, last, reserved, masked, payload, close)| {
            // Whole control frames mostly, so that what follows them is seen.
            let last = last || opcode > 8;
            Sent {
                first: opcode | reserved | if last { 0x80 } else { 0 },
                masked,
                payload: if opcode == 8 { close } else { payload },
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_is_of_one_mind_with_tungstenite(
        frames in prop::collection::vec(frame(), 1..12),
        cuts in prop::collection::vec(1..24_usize, 0..40),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(Sent::bytes).collect();
        prop_assert_eq!(ours(&bytes, &cuts, LIMIT), theirs(&bytes, LIMIT));
    }

    #[test]
    fn any_bytes_in_any_pieces_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(1..24_usize, 0..40),
    ) {
        let whole = ours(&bytes, &[], LIMIT);
        let in_pieces = ours(&bytes, &cuts, LIMIT);
        prop_assert_eq!(whole, in_pieces);
    }
}

fn violation(bytes: &[u8]) -> Violation {
    let mut decoder = Decoder::new(LIMIT);
    let mut bytes = bytes.to_vec();
    loop {
        let (taken, _) = match decoder.decode(&mut bytes) {
            Ok(read) => read,
            Err(violation) => return violation,
        };
        bytes.drain(..taken);
        assert!(!bytes.is_empty(), "nothing is wrong with it");
    }
}

#[test]
fn each_violation_has_its_name_and_code() {
    let text = |payload: &[u8]| Sent::new(0x81, payload).bytes();
    let unmasked = Sent {
        masked: false,
        ..Sent::new(0x81, b"hi")
    };
    let two = |first: Sent, second: Sent| [first.bytes(), second.bytes()].concat();
    for (bytes, wanted, code) in [
        (Sent::new(0xc1, b"hi").bytes(), Violation::ReservedBits, 1002),
        (Sent::new(0x83, b"hi").bytes(), Violation::ReservedOpcode, 1002),
        (Sent::new(0x8b, b"hi").bytes(), Violation::ReservedOpcode, 1002),
        (unmasked.bytes(), Violation::Unmasked, 1002),
        (Sent::new(0x09, b"hi").bytes(), Violation::FragmentedControl, 1002),
        (Sent::new(0x89, &[0; 126]).bytes(), Violation::LongControl, 1002),
        (Sent::new(0x80, b"hi").bytes(), Violation::Continuation, 1002),
        (
            two(Sent::new(0x01, b"h"), Sent::new(0x81, b"i")),
            Violation::Interleaved,
            1002,
        ),
        (Sent::new(0x88, &[3]).bytes(), Violation::CloseCode, 1002),
        (
            Sent::new(0x88, &999_u16.to_be_bytes()).bytes(),
            Violation::CloseCode,
            1002,
        ),
        (Sent::new(0x88, b"\x03\xe8\xff").bytes(), Violation::Utf8, 1007),
        (text(b"\xff"), Violation::Utf8, 1007),
        (text(b"\xe2\x82"), Violation::Utf8, 1007),
        (
            two(Sent::new(0x01, b"\xe2\x82"), Sent::new(0x80, b"")),
            Violation::Utf8,
            1007,
        ),
        (
            Sent::new(0x82, &[0; LIMIT + 1]).bytes(),
            Violation::TooLarge,
            1009,
        ),
        (
            two(Sent::new(0x02, &[0; LIMIT]), Sent::new(0x80, &[0])),
            Violation::TooLarge,
            1009,
        ),
    ] {
        assert_eq!((violation(&bytes), wanted.code()), (wanted, code));
    }
}

/// tungstenite takes them; RFC 6455, section 5.2: "the minimal number of bytes MUST be used".
#[test]
fn lengths_have_one_form() {
    for length in [
        &[0xfe, 0, 125][..],
        &[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(violation(&[&[0x82], length].concat()), Violation::Length);
    }
}

#[test]
fn too_large_frame_is_rejected_by_header() {
    let huge = [
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
    ];
    assert_eq!(violation(&huge), Violation::TooLarge);
}

#[test]
fn impossible_utf8_is_rejected_mid_frame() {
    let mut bytes = Sent::new(0x81, b"\xed\xa0\x80 and more").bytes();
    bytes.truncate(6 + 2);
    assert_eq!(violation(&bytes), Violation::Utf8);
}

#[test]
fn between_messages_nothing_is_held() {
    let mut decoder = Decoder::new(LIMIT);
    let frames = [
        Sent::new(0x01, b"half"),
        Sent::new(0x89, b"ping"),
        Sent::new(0x80, b"whole"),
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(Sent::bytes).collect();
    let mut events = Vec::new();
    for byte in bytes {
        assert!(events.len() < 2);
        let (taken, event) = decoder.decode(&mut [byte]).unwrap();
        assert_eq!(taken, 1);
        events.extend(event);
        assert_eq!(decoder.is_idle(), events.len() == 2);
    }
    let message = Message::text(Bytes::from_static(b"halfwhole"));
    assert_eq!(
        events,
        [Event::Ping(Bytes::from_static(b"ping")), Event::Message(message)]
    );
}

#[test]
fn many_fragments_are_one_message() {
    let mut bytes = Sent::new(0x02, &[1]).bytes();
    for _ in 0..1000 {
        bytes.extend(Sent::new(0x00, &[1]).bytes());
    }
    bytes.extend(Sent::new(0x80, &[]).bytes());
    let (events, violation) = ours(&bytes, &[], 1001);
    assert_eq!(violation, None);
    assert_eq!(events, [Event::Message(Message::binary(vec![1; 1001].into()))]);
}
