//! Rooms: the last segment of the client path.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The room of the client path itself.
pub const DEFAULT: &str = "main";
/// The longest room name.
pub const MAX_BYTES: usize = 128;
/// The rule, as an error message states it.
pub const RULE: &str = "room must be 1 to 128 characters out of A-Z a-z 0-9 . _ ~ : -";

/// The name of a room. Braces are not allowed because Redis hash tags use them. Clones share the
/// text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// A name that breaks [`RULE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{RULE}")]
pub struct InvalidRoomName;

impl RoomName {
    pub fn parse(name: &str) -> Result<Self, InvalidRoomName> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"._~:-".contains(&b);
        if (1..=MAX_BYTES).contains(&name.len()) && name.bytes().all(is_allowed) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidRoomName)
        }
    }

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
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in [DEFAULT, "a", "A.b_c~d:e-9", &"x".repeat(MAX_BYTES)] {
            assert_eq!(RoomName::parse(good).unwrap().as_str(), good);
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
            &"x".repeat(MAX_BYTES + 1),
        ] {
            assert_eq!(RoomName::parse(bad), Err(InvalidRoomName), "{bad:?}");
        }
    }
}
