//! Why a handshake is refused, and the response.

use wsc_contract::control::ErrorBody;
use wsc_contract::handshake::HandshakeError;

/// The seconds of `Retry-After` on a 503: HAProxy has another pod by then.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Something in it is malformed; the text names it.
    BadRequest(&'static str),
    /// The `Origin` header is not allowed.
    Origin,
    /// The path is not served.
    NotFound,
    /// Not a GET.
    Method,
    /// No upgrade to WebSocket version 13.
    UpgradeRequired,
    /// Every slot is taken.
    Full,
    /// The memory limit is reached.
    Memory,
    /// Cordoned or terminating.
    Draining,
    /// `X-Wsc-Server` names another pod.
    WrongPod,
}

impl Refusal {
    /// What the response says to programs: status and code.
    pub(crate) fn error(self) -> HandshakeError {
        match self {
            Self::BadRequest(_) => HandshakeError::BadRequest,
            Self::Origin => HandshakeError::Origin,
            Self::NotFound => HandshakeError::NotFound,
            Self::Method => HandshakeError::Method,
            Self::UpgradeRequired => HandshakeError::UpgradeRequired,
            Self::Full => HandshakeError::Full,
            Self::Memory => HandshakeError::Memory,
            Self::Draining => HandshakeError::Draining,
            Self::WrongPod => HandshakeError::WrongPod,
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.error().status()
    }

    /// The `error` of the JSON body.
    pub(crate) fn code(self) -> &'static str {
        self.error().code()
    }

    /// The `message` of the JSON body.
    pub fn message(self) -> &'static str {
        match self {
            Self::BadRequest(message) => message,
            Self::Origin => "the origin is not allowed",
            Self::NotFound => ErrorBody::NOT_FOUND.1,
            Self::Method => "only GET is allowed on this path",
            Self::UpgradeRequired => "WebSocket version 13 over HTTP/1.1 is required",
            Self::Full => "no free connection slot",
            Self::Memory => "memory limit reached; no new connections",
            Self::Draining => "the server is draining; no new connections",
            Self::WrongPod => "X-Wsc-Server names another pod",
        }
    }
}
