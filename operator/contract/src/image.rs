//! References of container images.

use std::str::FromStr;

use thiserror::Error;

/// An image reference: `registry.example.org:5000/name:tag`, `name@sha256:…`. The registry knows
/// whether it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef(String);

/// A text that is no image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be {}", ImageRef::RULE)]
pub struct ImageRefError;

impl ImageRef {
    /// The grammar in words, for messages.
    pub const RULE: &str =
        "an image reference like registry/name:tag, of A-Z a-z 0-9 - . _ : / @, at most 512 characters";
    /// The longest reference, in characters.
    pub const MAX_LENGTH: u32 = 512;
    /// The grammar as a regular expression, for the CRD.
    pub const SCHEMA: &str = r"^[a-zA-Z0-9][-a-zA-Z0-9._:/@]*$";
}

impl FromStr for ImageRef {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, ImageRefError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/@".contains(&byte);
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts && text.len() <= Self::MAX_LENGTH as usize && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ImageRefError)
        }
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    proptest! {
        #[test]
        fn schema_and_parser_agree(text in prop_oneof!["[a-zA-Z0-9._:/@-]{0,12}", ".{0,6}"]) {
            let fits = Regex::new(ImageRef::SCHEMA).unwrap().is_match(&text);
            prop_assert_eq!(text.parse::<ImageRef>().is_ok(), fits);
        }
    }

    #[test]
    fn long_references_are_rejected() {
        assert!("a".repeat(512).parse::<ImageRef>().is_ok());
        assert!("a".repeat(513).parse::<ImageRef>().is_err());
    }
}
