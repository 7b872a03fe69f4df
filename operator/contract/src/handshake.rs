//! Why a server rejects a handshake: HTTP status and error code of the response.

use crate::control::ErrorBody;

/// A cause of a rejected handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    BadRequest,
    Origin,
    NotFound,
    Method,
    UpgradeRequired,
    Full,
    Memory,
    Draining,
    WrongPod,
}

impl HandshakeError {
    pub const ALL: [Self; 9] = [
        Self::BadRequest,
        Self::Origin,
        Self::NotFound,
        Self::Method,
        Self::UpgradeRequired,
        Self::Full,
        Self::Memory,
        Self::Draining,
        Self::WrongPod,
    ];

    /// The HTTP status. A 503 has `Retry-After`.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Origin => 403,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::UpgradeRequired => 426,
            Self::Full | Self::Memory | Self::Draining | Self::WrongPod => 503,
        }
    }

    /// `error` of the body, and the value of the label `reason` of `wsc_server_refused_total`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
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

    /// When it is sent, for the reference.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::BadRequest => "malformed room, `echo`, key or `Connection`; a subprotocol; a body",
            Self::Origin => "the origin is not allowed",
            Self::NotFound => "another path",
            Self::Method => "not GET",
            Self::UpgradeRequired => "no WebSocket version 13 over HTTP/1.1",
            Self::Full => "at the connection limit",
            Self::Memory => "over 85 % of the memory limit",
            Self::Draining => "cordoned or terminating",
            Self::WrongPod => "`X-Wsc-Server` names another pod",
        }
    }
}
