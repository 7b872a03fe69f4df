//! The Redis URL: the pattern of the CRD against the parser, on generated text.

use proptest::prelude::*;
use regex::Regex;

use super::*;

fn address() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[A-Za-z0-9._-]{0,6}",
        r"\[[0-9a-f:]{0,6}\]",
        Just("0.0.0.0".to_owned()),
        Just("[2001:db8::1]".to_owned()),
        ".{0,3}",
    ];
    let port = prop_oneof![Just(String::new()), ":[0-9]{0,6}", ":[+0-9a]{0,2}"];
    let database = prop_oneof![Just(String::new()), "/[0-9]{0,4}", "/[+a]{0,2}"];
    let extra = prop_oneof![8 => Just(String::new()), 1 => "[?#].{0,3}", 1 => "\n"];
    (host, port, database, extra).prop_map(|(host, port, database, extra)| host + &port + &database + &extra)
}

/// Percent-encodes everything but letters and digits.
fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

proptest! {
    #[test]
    fn schema_and_parser_agree(text in prop_oneof![
        address().prop_map(|address| format!("redis://{address}")),
        address().prop_map(|address| format!("rediss://{address}")),
        "[redis:/@a]{0,12}",
        ".{0,6}",
    ]) {
        let fits = Regex::new(RedisUrl::SCHEMA).unwrap().is_match(&text);
        let parsed = RedisUrl::without_credentials(&text);
        // What a regular expression cannot say.
        let beyond = parsed == Err(RedisUrlError::Unspecified) || (parsed == Err(RedisUrlError::Host) && text.contains('['));
        prop_assert_eq!(parsed.is_ok(), fits && !beyond, "{:?}", parsed);
    }

    #[test]
    fn encoded_credentials_are_decoded(user in ".{0,6}", password in ".{1,6}", address in address()) {
        let without = format!("redis://{address}").parse::<RedisUrl>();
        let with = format!("redis://{}:{}@{address}", encode(&user), encode(&password)).parse::<RedisUrl>();
        if address.contains('@') {
            return Ok(());
        }
        prop_assert_eq!(with.is_ok(), without.is_ok());
        if let (Ok(with), Ok(without)) = (with, without) {
            prop_assert_eq!((with.username().unwrap_or_default(), with.password()), (user.as_str(), Some(password.as_str())));
            prop_assert_eq!((without.username(), without.password()), (None, None));
            prop_assert_eq!((with.host(), with.port(), with.database()), (without.host(), without.port(), without.database()));
        }
    }

    #[test]
    fn raw_credentials_are_rejected_without_their_text(password in "[a-z]{3}[/#?@ ][a-z]{3}|[a-z]{3}%[g-z]?|[a-z]{3}%f") {
        let parsed = format!("redis://user:{password}@localhost:6379/0").parse::<RedisUrl>();
        prop_assert_eq!(parsed, Err(RedisUrlError::Encoding));
        prop_assert!(RedisUrlError::Encoding.to_string().contains("percent-encoded"));
    }
}

#[test]
fn parts_have_defaults() {
    let url: RedisUrl = "redis://cache".parse().unwrap();
    assert_eq!(
        (url.is_tls(), url.host(), url.port(), url.database()),
        (false, "cache", 6379, 0)
    );
    let url: RedisUrl = "rediss://u@[2001:DB8::1]:7000/15".parse().unwrap();
    assert_eq!(
        (url.is_tls(), url.host(), url.port(), url.database()),
        (true, "2001:db8::1", 7000, 15)
    );
    assert_eq!((url.username(), url.password()), (Some("u"), None));
}

#[test]
fn errors_name_the_wrong_part() {
    for (text, error) in [
        ("", RedisUrlError::Scheme),
        ("unix:///tmp/s", RedisUrlError::Scheme),
        ("REDIS://h", RedisUrlError::Scheme),
        ("redis://", RedisUrlError::Host),
        ("redis://u:p@", RedisUrlError::Host),
        ("redis://[zz]", RedisUrlError::Host),
        ("redis://[::1", RedisUrlError::Host),
        ("redis://ä", RedisUrlError::Host),
        ("redis://[::]", RedisUrlError::Unspecified),
        ("redis://0.0.0.0", RedisUrlError::Unspecified),
        ("redis://h:", RedisUrlError::Port),
        ("redis://h:0", RedisUrlError::Port),
        ("redis://h:65536", RedisUrlError::Port),
        ("redis://h/", RedisUrlError::Database),
        ("redis://h/1234", RedisUrlError::Database),
        ("redis://h/0?protocol=resp3", RedisUrlError::Extra),
        ("rediss://h#insecure", RedisUrlError::Extra),
    ] {
        assert_eq!(text.parse::<RedisUrl>(), Err(error), "{text}");
    }
    for text in ["redis://u:p@h", "redis://:p@h", "redis://u@h", "redis://@h"] {
        assert!(text.parse::<RedisUrl>().is_ok(), "{text}");
        assert_eq!(
            RedisUrl::without_credentials(text),
            Err(RedisUrlError::Credentials)
        );
    }
}

#[test]
fn length_excludes_credentials() {
    let host = "a".repeat(512 - "redis://".len());
    assert!(format!("redis://{host}").parse::<RedisUrl>().is_ok());
    assert!(
        format!("redis://u:{}@{host}", "p".repeat(2000))
            .parse::<RedisUrl>()
            .is_ok()
    );
    assert_eq!(
        format!("redis://{host}a").parse::<RedisUrl>(),
        Err(RedisUrlError::Length)
    );
}

#[test]
fn debug_output_hides_credentials() {
    let url: RedisUrl = "redis://name:hunter2@h".parse().unwrap();
    let text = format!("{url:?}");
    assert!(!text.contains("hunter2") && !text.contains("name"), "{text}");
}
