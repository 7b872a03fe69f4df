//! What crosses the wire, as pure functions: nothing here knows a socket, HTTP framework or Redis client.

pub mod envelope;
pub mod raw;
pub mod refusal;
pub mod request;

use std::fmt;
use std::sync::Arc;

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

/// Who published: unique over all pods, because the process number is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sender {
    /// The random number of the server process.
    pub process: u64,
    /// The connection within the process.
    pub connection: u64,
}

/// The longest room name, in bytes.
pub const MAX_ROOM_BYTES: usize = 128;

/// The name of a room: 1 to 128 of `A-Z a-z 0-9 . _ ~ : -`. Braces are not among them because Redis hash tags use them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// `None` if the name breaks the rule.
    pub fn parse(name: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._~:-".contains(&b);
        let fits = (1..=MAX_ROOM_BYTES).contains(&name.len());
        (fits && name.bytes().all(allowed)).then(|| Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::RoomName;

    #[test]
    fn room_names_follow_the_rule() {
        for good in ["main", "a", "A.b_c~d:e-9", &"x".repeat(128)] {
            assert!(RoomName::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "a/b",
            "{a}",
            "ä",
            "a%20",
            "a\n",
            "a\0",
            "*",
            &"x".repeat(129),
        ] {
            assert!(RoomName::parse(bad).is_none(), "{bad:?}");
        }
    }
}
