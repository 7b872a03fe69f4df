//! HTTP paths of the control port, the agent's port and the operator's admin port.

use std::str::FromStr;

use thiserror::Error;

use crate::described::described;

/// Client paths below this belong to the server itself; a client path may not.
pub const RESERVED: &str = "/wsc";

described! {
    /// Every path.
    ALL:
    LIVEZ = "/livez", "every program: 200 while the process makes progress";
    READYZ = "/readyz", "every program: 200 once the process can do its work";
    METRICS = "/metrics", "every program: metrics in the OpenMetrics text format";
    STATS = "/stats", "server, control port: `GET` returns the statistics document";
    CORDON = "/cordon", "server, control port: `PUT` rejects new handshakes with 503, `DELETE` accepts them again; both return the statistics document";
    SHED = "/shed", "server, control port: `PUT` closes connections up to a cumulative total; returns the statistics document";
    LOAD_BALANCER = "/wsc/lb", "server, client port: health check of HAProxy: 200, or 404 while the server is full (until 97 % of its capacity), cordoned or terminating, or 503 when `X-Wsc-Server` names another pod";
    STATUS = "/status", "agent: `GET` returns the status document";
}

/// The path of the WebSocket endpoint: `/ws`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPath(String);

/// A text that is no client path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientPathError {
    #[error("must be {}", ClientPath::RULE)]
    Form,
    #[error("must not be {RESERVED} or below it: these paths are reserved")]
    Reserved,
}

impl ClientPath {
    /// The grammar in words, for messages.
    pub const RULE: &str = "/NAME[/NAME...] of A-Z a-z 0-9 . _ ~ -, at most 128 characters";
    /// The path without any setting.
    pub const DEFAULT: &str = "/ws";
    /// The longest path, in characters.
    pub const MAX_LENGTH: u32 = 128;
    /// The grammar as a regular expression, for the CRD, which excludes [`RESERVED`] by a rule.
    pub const SCHEMA: &str = r"^(/[A-Za-z0-9._~-]+)+$";
}

impl FromStr for ClientPath {
    type Err = ClientPathError;

    fn from_str(text: &str) -> Result<Self, ClientPathError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(allowed);
        let segments = text.strip_prefix('/').map(|rest| rest.split('/').all(is_segment));
        if segments != Some(true) || text.len() > Self::MAX_LENGTH as usize {
            return Err(ClientPathError::Form);
        }
        let below = text.strip_prefix(RESERVED);
        if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(ClientPathError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<ClientPath> for String {
    fn from(path: ClientPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    proptest! {
        #[test]
        fn schema_and_parser_agree(text in prop_oneof!["/?[a-z/._~-]{0,12}", ".{0,6}", "/wsc[/a]{0,2}"]) {
            let fits = Regex::new(ClientPath::SCHEMA).unwrap().is_match(&text);
            let parsed = text.parse::<ClientPath>();
            prop_assert_eq!(parsed != Err(ClientPathError::Form), fits);
            let is_reserved = text == "/wsc" || text.starts_with("/wsc/");
            prop_assert_eq!(parsed.is_ok(), fits && !is_reserved);
        }
    }

    #[test]
    fn long_paths_are_rejected() {
        assert!(ClientPath::DEFAULT.parse::<ClientPath>().is_ok());
        assert!(format!("/{}", "a".repeat(127)).parse::<ClientPath>().is_ok());
        assert!(format!("/{}", "a".repeat(128)).parse::<ClientPath>().is_err());
    }
}
