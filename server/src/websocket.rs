//! WebSocket frames as RFC 6455 has them, as pure functions on bytes, and streams of them.
//!
//! [`decode`] reads what clients send, strictly; [`encode`] makes complete frames that many clients
//! can share.

pub mod decode;
pub mod encode;
mod header;
pub(crate) mod lane;
pub(crate) mod socket;
mod utf8;

use bytes::Bytes;
use wsc_contract::close;

use crate::protocol::Message;

/// What a client sent, once all of it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message; text is valid UTF-8.
    Message(Message),
    /// A ping, to be answered with the same bytes.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The close with its code, if it had one. Nothing that comes after it counts.
    Close(Option<u16>),
}

/// What a client did that RFC 6455 forbids or that is over a limit. Its connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A set RSV bit: no extension was negotiated.
    #[error("reserved bits must be zero")]
    ReservedBits,
    /// An opcode that RFC 6455 keeps for later.
    #[error("reserved opcode")]
    ReservedOpcode,
    /// Clients mask.
    #[error("frames from clients must be masked")]
    Unmasked,
    /// A length that fits into fewer bytes, or whose first bit is set.
    #[error("invalid payload length encoding")]
    Length,
    /// A control frame in pieces.
    #[error("control frames must not be fragmented")]
    FragmentedControl,
    /// A control frame over 125 bytes.
    #[error("control frames carry at most 125 bytes")]
    LongControl,
    /// A continuation of nothing.
    #[error("continuation frame without a started message")]
    Continuation,
    /// A new message within a fragmented one.
    #[error("new message before the end of a fragmented one")]
    Interleaved,
    /// A close with one byte, or with a code that must not be sent.
    #[error("invalid close code")]
    CloseCode,
    /// Text or a close reason.
    #[error("text is not valid UTF-8")]
    Utf8,
    /// Over the limit, all fragments together.
    #[error("message too large")]
    TooLarge,
}

impl Violation {
    /// The close code for it.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Utf8 => close::INVALID_TEXT.code,
            Self::TooLarge => close::TOO_LARGE.code,
            _ => close::PROTOCOL_ERROR.code,
        }
    }
}
