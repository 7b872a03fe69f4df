//! Why a handshake is refused, and the response.

use wsc_contract::control::ErrorBody;

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
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Origin => 403,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::UpgradeRequired => 426,
            Self::Full | Self::Memory | Self::Draining | Self::WrongPod => 503,
        }
    }

    /// The `error` of the JSON body.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Origin => "origin",
            Self::NotFound => ErrorBody::NOT_FOUND.0,
            Self::Method => "method",
            Self::UpgradeRequired => "upgrade_required",
            Self::Full => "full",
            Self::Memory => "memory",
            Self::Draining => "draining",
            Self::WrongPod => "wrong_pod",
        }
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
