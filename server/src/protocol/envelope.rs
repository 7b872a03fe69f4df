//! The envelope of a message between pods: `1`, the opcode, the sender, the payload.
//!
//! `?echo=0` needs the sender at delivery; the version byte distinguishes the envelopes of a later
//! release.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Message, Opcode, Sender};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 18;

/// A message and its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The publishing connection.
    pub(crate) sender: Sender,
    /// What it published.
    pub(crate) message: Message,
}

/// The envelope as bytes.
pub(crate) fn encode(sender: Sender, opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    out.put_u8(VERSION);
    out.put_u8(match opcode {
        Opcode::Text => b't',
        Opcode::Binary => b'b',
    });
    out.put_u64(sender.process);
    out.put_u64(sender.connection);
    out.put_slice(payload);
    out.freeze()
}

/// `None` for bytes that no pod of ours wrote: another version, a cut header, text that is not
/// UTF-8.
pub(crate) fn decode(bytes: &Bytes) -> Option<Envelope> {
    let (header, payload) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let opcode = match (header[0], header[1]) {
        (VERSION, b't') => Opcode::Text,
        (VERSION, b'b') => Opcode::Binary,
        _ => return None,
    };
    if opcode == Opcode::Text && std::str::from_utf8(payload).is_err() {
        return None;
    }
    let sender = Sender {
        process: number(&header[2..10]),
        connection: number(&header[10..18]),
    };
    let payload = bytes.slice(HEADER_BYTES..);
    Some(Envelope {
        sender,
        message: Message { opcode, payload },
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| (n << 8) | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(process: u64, connection: u64, text in ".*", bytes: Vec<u8>) {
            let sender = Sender { process, connection };
            for (opcode, payload) in [(Opcode::Text, text.as_bytes()), (Opcode::Binary, bytes.as_slice())] {
                let envelope = decode(&encode(sender, opcode, payload)).expect("own envelope");
                prop_assert_eq!(envelope.sender, sender);
                prop_assert_eq!(envelope.message.opcode, opcode);
                prop_assert_eq!(envelope.message.payload.as_ref(), payload);
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            if let Some(envelope) = decode(&bytes) {
                prop_assert_eq!(encode(envelope.sender, envelope.message.opcode, &envelope.message.payload), bytes);
            }
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let good = encode(
            Sender {
                process: 1,
                connection: 2,
            },
            Opcode::Text,
            b"hi",
        );
        assert!(decode(&good.slice(..HEADER_BYTES - 1)).is_none(), "cut header");
        for (offset, byte) in [(0, 2), (1, b'x'), (HEADER_BYTES, 0xff)] {
            let mut bad = good.to_vec();
            bad[offset] = byte;
            assert!(decode(&bad.into()).is_none(), "byte {offset}");
        }
    }
}
