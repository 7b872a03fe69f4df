//! Close frames that the server sends: codes and reasons.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use thiserror::Error;

/// The close code of a client that must reconnect: 1000, 1001, 1012, 1013 or 3000 to 4999.
///
/// Other codes are reserved or mean a protocol error, so client libraries reject or misread them.
/// The CRD of release 0.1.0 rejected 1000 and 3000 to 3999, which its server accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

/// A number that is no [`CloseCode`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CloseCodeError {
    #[error("a close code is {}", CloseCode::RULE)]
    NotAllowed,
    #[error("a close code is {}: {source}", CloseCode::RULE)]
    NotANumber {
        #[from]
        source: ParseIntError,
    },
}

impl CloseCode {
    /// Service restart: the default.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The rule in words.
    pub const RULE: &str = "1000, 1001, 1012, 1013 or 3000 to 4999";
    /// The rule as a CEL expression over `self`, for the CRD.
    pub const CEL_RULE: &str = "self in [1000, 1001, 1012, 1013] || (self >= 3000 && self <= 4999)";

    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = CloseCodeError;

    fn try_from(code: u16) -> Result<Self, CloseCodeError> {
        match code {
            1000 | 1001 | 1012 | 1013 | 3000..=4999 => Ok(Self(code)),
            _ => Err(CloseCodeError::NotAllowed),
        }
    }
}

impl FromStr for CloseCode {
    type Err = CloseCodeError;

    fn from_str(text: &str) -> Result<Self, CloseCodeError> {
        Self::try_from(text.parse::<u16>()?)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a client must reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server terminates.
    Drain,
    /// The operator requested it by `PUT /shed`.
    Shed,
}

/// The reason of such a close frame: `drain;retry=MS` or `shed;retry=MS`. The client waits MS
/// milliseconds before it reconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    pub cause: Cause,
    pub retry_milliseconds: u64,
}

/// A text that is no [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not `drain;retry=MS` or `shed;retry=MS`")]
pub struct ReasonError;

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Shed => "shed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};retry={}", self.cause.as_str(), self.retry_milliseconds)
    }
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        let (cause, retry) = text.split_once(";retry=").ok_or(ReasonError)?;
        let cause = [Cause::Drain, Cause::Shed]
            .into_iter()
            .find(|known| known.as_str() == cause)
            .ok_or(ReasonError)?;
        let retry_milliseconds = retry.parse().map_err(|_| ReasonError)?;
        Ok(Self {
            cause,
            retry_milliseconds,
        })
    }
}

/// A close frame that a client may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    pub reason: &'static str,
    /// One sentence for the reference.
    pub meaning: &'static str,
    /// What a client should do.
    pub action: &'static str,
}

/// The queue of the client overflowed.
pub const SLOW: Close = Close {
    code: 1013,
    reason: "slow",
    meaning: "the client did not read fast enough, or all queues together exceeded their bound and its queue was among the longest; the queue was dropped",
    action: "reconnect after a random delay, doubling up to 30 s",
};
/// The client did not answer a ping.
pub const NO_PONG: Close = Close {
    code: 1001,
    reason: "no pong",
    meaning: "no answer to a ping within 10 s",
    action: "reconnect after a random delay, doubling up to 30 s",
};
/// The client violated RFC 6455.
pub const PROTOCOL_ERROR: Close = Close {
    code: 1002,
    reason: "the violation, for example `frames from clients must be masked`",
    meaning: "a frame violates RFC 6455; earlier messages are delivered first",
    action: "stop: the same frame would be rejected again",
};
/// A text message is not UTF-8.
pub const INVALID_TEXT: Close = Close {
    code: 1007,
    reason: "text is not valid UTF-8",
    meaning: "a text message is not valid UTF-8",
    action: "stop: the same message would be rejected again",
};
/// A message exceeds the limit.
pub const TOO_LARGE: Close = Close {
    code: 1009,
    reason: "message too large",
    meaning: "a message exceeds `WSC_MAX_MESSAGE_BYTES`",
    action: "stop: the same message would be rejected again",
};
/// The server terminates or sheds; the code is configurable.
const RECONNECT: Close = Close {
    code: CloseCode::SERVICE_RESTART.0,
    reason: "`drain;retry=MS` or `shed;retry=MS`",
    meaning: "the server terminates or sheds connections; `drain.notice.closeCode` (`WSC_CLOSE_CODE`) sets the code, MS is random in 0 to `drain.notice.jitterSeconds`",
    action: "reconnect after MS milliseconds",
};

/// Every close frame that the server sends.
pub const ALL: &[Close] = &[RECONNECT, SLOW, NO_PONG, PROTOCOL_ERROR, INVALID_TEXT, TOO_LARGE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_one_rule() {
        for good in [1000, 1001, 1012, 1013, 3000, 3999, 4000, 4999] {
            assert_eq!(CloseCode::try_from(good).unwrap().get(), good);
            assert_eq!(
                good.to_string().parse::<CloseCode>().unwrap().to_string(),
                good.to_string()
            );
        }
        for bad in [
            0, 999, 1002, 1005, 1006, 1007, 1009, 1011, 1014, 1015, 2999, 5000, 65535,
        ] {
            assert_eq!(CloseCode::try_from(bad), Err(CloseCodeError::NotAllowed), "{bad}");
        }
        for bad in ["", "x", "-1", "70000"] {
            assert!(
                matches!(bad.parse::<CloseCode>(), Err(CloseCodeError::NotANumber { .. })),
                "{bad:?}"
            );
        }
        let error = "1006".parse::<CloseCode>().unwrap_err().to_string();
        assert_eq!(error, "a close code is 1000, 1001, 1012, 1013 or 3000 to 4999");
    }

    #[test]
    fn reasons_survive_the_wire() {
        let reason = Reason {
            cause: Cause::Shed,
            retry_milliseconds: 29_999,
        };
        assert_eq!(reason.to_string(), "shed;retry=29999");
        assert_eq!("shed;retry=29999".parse(), Ok(reason));
        assert_eq!(
            "drain;retry=0".parse(),
            Ok(Reason {
                cause: Cause::Drain,
                retry_milliseconds: 0
            })
        );
        for bad in [
            "",
            "shed",
            "shed;retry=",
            "shed;retry=-1",
            "slow;retry=1",
            "shed;retry=1;",
            "Shed;retry=1",
        ] {
            assert_eq!(bad.parse::<Reason>(), Err(ReasonError), "{bad:?}");
        }
    }

    #[test]
    fn reasons_fit_into_a_close_frame() {
        let longest = Reason {
            cause: Cause::Drain,
            retry_milliseconds: u64::MAX,
        }
        .to_string();
        assert!(
            longest.len() <= 123,
            "a control frame carries 125 bytes, two of them are the code"
        );
    }
}
