//! Names of servers in HAProxy's configuration: a checked name needs no escaping.

use thiserror::Error;

/// Why a name is rejected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    #[error("must not be empty")]
    Empty,
    #[error("has {length} characters, the maximum is {limit}")]
    TooLong { length: usize, limit: usize },
    #[error("contains {0:?}, which is not allowed")]
    Character(char),
}

/// A server line is named like its pod: a DNS label, at most 63 characters.
pub(crate) fn check_server_name(text: &str) -> Result<(), NameError> {
    check(text, 63, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })
}

fn check(text: &str, limit: usize, allowed: impl Fn(char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let length = text.chars().count();
    if length > limit {
        return Err(NameError::TooLong { length, limit });
    }
    text.chars()
        .find(|&c| !allowed(c))
        .map_or(Ok(()), |c| Err(NameError::Character(c)))
}
