//! A client as a stream and sink of frames: what sessions use, whatever carries the bytes.

use bytes::Bytes;
use futures::{Sink, Stream};

use super::Violation;
use crate::protocol::Message;

/// What a client sent.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A whole message; text is valid UTF-8.
    Message(Message),
    /// A ping; the socket answers it by itself at the next flush.
    Ping,
    /// A pong.
    Pong,
    /// The close, or its answer.
    Close,
}

/// What a client is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// A complete frame with a message.
    Frame(Bytes),
    /// A ping.
    Ping,
    /// The last frame.
    Close {
        /// The close code.
        code: u16,
        /// Up to 123 bytes.
        reason: String,
    },
}

/// How a socket fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketError {
    /// The client broke the protocol or a limit. From now on the socket reads without
    /// understanding, until the client is gone.
    Violation(Violation),
    /// It is gone.
    Lost,
}

/// A socket of frames.
pub(crate) trait Socket:
    Stream<Item = Result<Incoming, SocketError>> + Sink<Outgoing, Error = SocketError> + Unpin
{
}

impl<S> Socket for S where
    S: Stream<Item = Result<Incoming, SocketError>> + Sink<Outgoing, Error = SocketError> + Unpin
{
}
