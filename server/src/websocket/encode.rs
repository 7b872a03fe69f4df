//! Complete frames of a server: unmasked, so that all clients can share one.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::MAX_CONTROL;
use crate::protocol::{Message, Opcode};

/// The longest header of a frame without a mask.
pub(crate) const MAX_HEADER_BYTES: usize = 10;

/// The last frame of its message.
const LAST: u8 = 0x80;

/// A message in one frame.
pub fn message(message: &Message) -> Bytes {
    let opcode = match message.opcode {
        Opcode::Text => 1,
        Opcode::Binary => 2,
    };
    frame(opcode, &message.payload)
}

/// A ping without payload.
pub(crate) fn ping() -> Bytes {
    Bytes::from_static(&[LAST | 9, 0])
}

/// The answer to a ping; a ping has at most 125 bytes.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    frame(10, payload)
}

/// A close without a code.
pub(crate) fn close_without_code() -> Bytes {
    Bytes::from_static(&[LAST | 8, 0])
}

/// A close. A reason that does not fit is cut, between characters.
pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    let room = MAX_CONTROL - size_of::<u16>();
    let reason = &reason[..reason.floor_char_boundary(room)];
    let mut payload = Vec::with_capacity(size_of::<u16>() + reason.len());
    payload.put_u16(code);
    payload.put_slice(reason.as_bytes());
    frame(8, &payload)
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(MAX_HEADER_BYTES + payload.len());
    out.put_u8(LAST | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => out.put_u8(length),
        (_, Ok(length)) => {
            out.put_u8(126);
            out.put_u16(length);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(payload.len() as u64);
        }
    }
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (length, header) in [
            (0, vec![0x82, 0]),
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (65_535, vec![0x82, 126, 255, 255]),
            (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload = Bytes::from(vec![7; length]);
            let frame = message(&Message::binary(payload.clone()));
            assert_eq!(frame[..header.len()], header);
            assert_eq!(frame[header.len()..], payload);
        }
    }

    #[test]
    fn close_carries_code_and_fitting_reason() {
        assert_eq!(close(1012, "go")[..], [0x88, 4, 0x03, 0xf4, b'g', b'o']);
        let long = close(1000, &"ä".repeat(100));
        assert_eq!(long.len(), 2 + 2 + 122, "61 whole characters");
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }
}
