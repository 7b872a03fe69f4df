//! Syntax that the API server requires in pods, each as a pattern of the CRD and as a check: a
//! value that no pod can have is rejected in the resource, which names the field.

use serde_json::{Value, json};

/// Values of labels, as the API server checks them.
pub(crate) const LABEL_VALUE: &str = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
/// Keys of labels and names of extended resources. Parsing also limits the prefix to
/// [`SUBDOMAIN_LENGTH`].
pub(crate) const QUALIFIED_NAME: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$";
/// Keys of annotations: those of labels, and upper case in the prefix too.
pub(crate) const ANNOTATION_KEY: &str = r"^([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$";
/// Names of Secrets and PriorityClasses (RFC 1123).
pub(crate) const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Quantities of a container, which are not negative.
pub(crate) const QUANTITY: &str = r"^\+?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]?|[eE][-+]?[0-9]+)$";
/// Resources that a container may have without a domain in their names, apart from
/// `hugepages-SIZE`.
pub(crate) const CONTAINER_RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// The longest value of a label, and the longest name behind a prefix.
pub(crate) const LABEL_LENGTH: u32 = 63;
/// The longest name of an object, and the longest prefix of a key.
pub(crate) const SUBDOMAIN_LENGTH: u32 = 253;
/// The longest key: prefix, `/` and name.
pub(crate) const KEY_LENGTH: u32 = SUBDOMAIN_LENGTH + 1 + LABEL_LENGTH;
/// Annotations of an object may have 256 KiB in all: 16 entries of this length are below it with
/// their keys.
pub const ANNOTATION_LENGTH: u32 = 15_000;
/// Those of all objects come on top, and fit with all keys into what 16 others of an object leave.
pub const COMMON_ANNOTATIONS: u32 = 8;
pub const COMMON_ANNOTATION_LENGTH: u32 = 800;

/// The grammars in words, for messages.
pub const LABEL_VALUE_RULE: &str =
    "at most 63 characters of A-Z a-z 0-9 - _ ., and must start and end with a letter or digit";
pub const KEY_RULE: &str = "[PREFIX/]NAME: PREFIX is a DNS name, NAME has at most 63 characters of A-Z a-z 0-9 - _ . and starts and ends with a letter or digit";
pub const SUBDOMAIN_RULE: &str = "a name of a-z 0-9 - ., whose parts start and end with a letter or digit";
pub const QUANTITY_RULE: &str = "a quantity that is not negative, like 500m or 1Gi";
pub const RESOURCE_RULE: &str =
    "cpu, memory, ephemeral-storage, hugepages-SIZE or a name with a domain, like example.org/device";

pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

pub fn is_qualified_name(text: &str) -> bool {
    is_key(text, is_subdomain)
}

pub fn is_annotation_key(text: &str) -> bool {
    is_key(text, |prefix| is_subdomain(&prefix.to_ascii_lowercase()))
}

pub fn is_subdomain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        part.bytes().all(|byte| plain(byte) || byte == b'-')
            && part.bytes().next().is_some_and(plain)
            && part.bytes().last().is_some_and(plain)
    };
    text.len() <= SUBDOMAIN_LENGTH as usize && text.split('.').all(is_part)
}

/// A resource that a container may ask for.
pub fn is_container_resource(name: &str) -> bool {
    let qualified = is_qualified_name(name);
    CONTAINER_RESOURCES.contains(&name) || qualified && (name.contains('/') || name.starts_with("hugepages-"))
}

/// A key of a Secret.
pub fn is_secret_key(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let length = 1..=SUBDOMAIN_LENGTH as usize;
    length.contains(&text.len()) && text.bytes().all(plain) && text != "." && !text.starts_with("..")
}

/// A rule that all keys of a map have this syntax.
pub(crate) fn keys_rule(pattern: &str) -> String {
    format!("self.all(key, key.matches(r'{pattern}') && key.indexOf('/') <= {SUBDOMAIN_LENGTH})")
}

/// The schema of the values of a map of labels.
pub(crate) fn label_values() -> Value {
    json!({"type": "string", "maxLength": LABEL_LENGTH, "pattern": LABEL_VALUE})
}

/// The schema of the values of a map of annotations.
pub(crate) fn annotation_values(length: u32) -> Value {
    json!({"type": "string", "maxLength": length})
}

fn is_key(text: &str, is_prefix: impl Fn(&str) -> bool) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_prefix(prefix) && is_name(name),
        None => is_name(text),
    }
}

fn is_name(text: &str) -> bool {
    let ends = |byte: u8| byte.is_ascii_alphanumeric();
    (1..=LABEL_LENGTH as usize).contains(&text.len())
        && text.bytes().all(|byte| ends(byte) || b"-_.".contains(&byte))
        && text.bytes().next().is_some_and(ends)
        && text.bytes().last().is_some_and(ends)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        Regex::new(pattern).unwrap().is_match(text)
    }

    proptest! {
        #[test]
        fn patterns_and_checks_agree(text in prop_oneof!["[a-cA-C0-2._/-]{0,9}", "[a-z]{1,3}\\.[a-z]{1,3}/[a-zA-Z]{1,3}", ".{0,4}", "[a-z./]{60,70}"]) {
            let short = text.len() <= LABEL_LENGTH as usize;
            prop_assert_eq!(is_label_value(&text), short && fits(LABEL_VALUE, &text));
            prop_assert_eq!(is_qualified_name(&text), fits(QUALIFIED_NAME, &text));
            prop_assert_eq!(is_annotation_key(&text), fits(ANNOTATION_KEY, &text));
            prop_assert_eq!(is_subdomain(&text), fits(SUBDOMAIN, &text));
        }
    }

    #[test]
    fn long_names_are_rejected() {
        let text = |length| "a".repeat(length);
        assert!(is_label_value(&text(63)) && !is_label_value(&text(64)));
        assert!(is_subdomain(&text(253)) && !is_subdomain(&text(254)));
        let key = |prefix, name| format!("{}/{}", text(prefix), text(name));
        assert!(is_qualified_name(&key(253, 63)) && is_annotation_key(&key(253, 63)));
        assert!(!is_qualified_name(&key(254, 1)) && !is_qualified_name(&key(1, 64)));
        assert!(is_secret_key(&text(253)) && !is_secret_key(&text(254)));
    }

    #[test]
    fn secret_keys_are_no_paths() {
        for good in ["url", "tls.key", ".hidden", "A-b_c"] {
            assert!(is_secret_key(good), "{good}");
        }
        for bad in ["", ".", "..", "..a", "a/b", "a b"] {
            assert!(!is_secret_key(bad), "{bad}");
        }
    }
}
