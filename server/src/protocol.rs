//! Messages and their envelopes, without a socket, HTTP framework or Redis client.

pub(crate) mod envelope;

use bytes::Bytes;

/// The kind of a WebSocket data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

/// One message on its way to clients; clones share the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// As the publisher sent it.
    pub opcode: Opcode,
    /// Valid UTF-8 when the opcode is `Text`.
    pub payload: Bytes,
}

impl Message {
    /// Text.
    pub fn text(payload: Bytes) -> Self {
        Self {
            opcode: Opcode::Text,
            payload,
        }
    }

    /// Bytes.
    pub fn binary(payload: Bytes) -> Self {
        Self {
            opcode: Opcode::Binary,
            payload,
        }
    }
}

/// The publishing connection: unique over all pods, because the process number is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sender {
    /// The random number of the server process.
    pub(crate) process: u64,
    /// The connection within the process.
    pub(crate) connection: u64,
}
