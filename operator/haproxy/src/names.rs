//! Names that reach HAProxy's configuration. They are parsed once; a parsed name needs no escaping.

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

/// Name of the sticky cookie: letters, digits, `_`, `.` and `-`, at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CookieName(String);

impl CookieName {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text, 64, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
        })?;
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_names_cannot_break_out() {
        for bad in [
            "", "a;b", "a,b", "a=b", "a b", "a\tb", "a\rb", "a\nb", "a\"b", "a'b", "a\\b", "a#b", "%[src]",
            "${X}", "ä",
        ] {
            assert!(CookieName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(CookieName::parse(&"a".repeat(65)).is_err());
        assert_eq!(CookieName::parse("wsc_1.x-y").unwrap().as_str(), "wsc_1.x-y");
    }
}
