//! The header of a frame from a client: 6 to 14 bytes.

use super::Violation;

/// The longest header.
pub(super) const MAX_BYTES: usize = 14;
/// The most payload of a control frame.
pub(super) const MAX_CONTROL: usize = 125;

/// The kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) last: bool,
    pub(super) mask: [u8; 4],
    pub(super) length: u64,
}

/// The header at the beginning of `bytes` and how long it is; `None` if it is not all there. An
/// error in its first bytes is reported before the rest arrives.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(Violation::ReservedBits);
    }
    let kind = match first & 0x0f {
        0 => Kind::Continuation,
        1 => Kind::Text,
        2 => Kind::Binary,
        8 => Kind::Close,
        9 => Kind::Ping,
        10 => Kind::Pong,
        _ => return Err(Violation::ReservedOpcode),
    };
    let last = first & 0x80 != 0;
    if kind.is_control() && !last {
        return Err(Violation::FragmentedControl);
    }
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    if second & 0x80 == 0 {
        return Err(Violation::Unmasked);
    }
    let short = second & 0x7f;
    if kind.is_control() && usize::from(short) > MAX_CONTROL {
        return Err(Violation::LongControl);
    }
    let Some((length, rest)) = length(short, &bytes[2..])? else {
        return Ok(None);
    };
    let Some(&mask) = rest.first_chunk::<4>() else {
        return Ok(None);
    };
    let header = Header {
        kind,
        last,
        mask,
        length,
    };
    Ok(Some((header, bytes.len() - rest.len() + mask.len())))
}

/// The length of the payload, and what follows it.
fn length(short: u8, bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (length, least, rest) = match short {
        126 => match bytes.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), 126, rest),
            None => return Ok(None),
        },
        127 => match bytes.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), 1 << 16, rest),
            None => return Ok(None),
        },
        _ => return Ok(Some((u64::from(short), bytes))),
    };
    if length < least || length >> 63 != 0 {
        return Err(Violation::Length);
    }
    Ok(Some((length, rest)))
}
