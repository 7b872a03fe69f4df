//! The name of the sticky cookie.

use std::str::FromStr;

use thiserror::Error;

/// A name that needs no escaping in HAProxy's configuration and in a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CookieName(String);

/// A text that is no such name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be {}", CookieName::RULE)]
pub struct CookieNameError;

impl CookieName {
    /// The grammar in words, for messages.
    pub const RULE: &str = "1 to 64 characters out of A-Z a-z 0-9 _ . -";
    /// The longest name, in characters.
    pub const MAX_LENGTH: u32 = 64;
    /// The grammar as a regular expression, for the CRD.
    pub const SCHEMA: &str = r"^[A-Za-z0-9_.-]+$";

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CookieName {
    type Err = CookieNameError;

    fn from_str(text: &str) -> Result<Self, CookieNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let length = 1..=Self::MAX_LENGTH as usize;
        if length.contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(CookieNameError)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    proptest! {
        #[test]
        fn schema_and_parser_agree(text in prop_oneof!["[a-zA-Z0-9._-]{0,12}", ".{0,6}"]) {
            let fits = Regex::new(CookieName::SCHEMA).unwrap().is_match(&text);
            prop_assert_eq!(text.parse::<CookieName>().is_ok(), fits);
        }
    }

    #[test]
    fn cookie_names_cannot_break_out() {
        for bad in [
            "", "a;b", "a,b", "a=b", "a b", "a\tb", "a\rb", "a\nb", "a\"b", "a'b", "a\\b", "a#b", "%[src]",
            "${X}", "ä",
        ] {
            assert!(bad.parse::<CookieName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(65).parse::<CookieName>().is_err());
        let longest = "a.B-_9aZ".repeat(8);
        assert_eq!(longest.parse::<CookieName>().unwrap().as_str(), longest);
    }
}
