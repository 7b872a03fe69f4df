//! Which origins may connect: a table of cases, and the grammar against the parser.

use proptest::prelude::*;
use regex::Regex;

use super::*;

/// List, `Origin`, `Host`, whether the request may connect.
type Case = (&'static str, Option<&'static str>, Option<&'static str>, bool);

const CASES: &[Case] = &[
    // The same host is the default.
    ("", None, Some("example.org"), true),
    ("", Some("https://example.org"), Some("example.org"), true),
    ("", Some("https://EXAMPLE.org"), Some("example.org:443"), true),
    (
        "",
        Some("http://example.org:8080"),
        Some("example.org:8080"),
        true,
    ),
    ("", Some("http://[::1]:8080"), Some("[::1]:8080"), true),
    ("", Some("http://example.org:8080"), Some("example.org"), false),
    (
        "",
        Some("https://example.org"),
        Some("example.org.evil.net"),
        false,
    ),
    ("", Some("https://evil.net"), Some("example.org"), false),
    ("", Some("https://example.org"), None, false),
    ("", Some("null"), Some("null"), false),
    ("", Some(""), Some("example.org"), false),
    ("", Some("https://my_host"), Some("my_host"), true),
    // A load balancer that writes the default port.
    ("", Some("https://example.org"), Some("example.org:443"), true),
    ("", Some("http://example.org"), Some("example.org:80"), true),
    ("", Some("https://example.org:443"), Some("example.org"), true),
    ("", Some("http://example.org"), Some("example.org:443"), false),
    ("", Some("https://example.org"), Some("example.org:80"), false),
    ("", Some("https://example.org"), Some("example.org:8443"), false),
    ("https://example.org", Some("https://example.org:443"), None, true),
    ("https://example.org:443", Some("https://example.org"), None, true),
    ("wss://example.org:443", Some("wss://example.org:443"), None, true),
    ("wss://example.org:443", Some("wss://example.org"), None, true),
    ("wss://example.org", Some("wss://example.org:80"), None, false),
    ("ws://example.org:80", Some("ws://example.org:80"), None, true),
    ("ws://*.example.org", Some("ws://app.example.org:80"), None, true),
    ("ftp://example.org:21", Some("ftp://example.org:21"), None, true),
    // Text decides: browsers send the normal form.
    (
        "https://example.org",
        Some("https://example.org:0443"),
        None,
        false,
    ),
    ("https://example.org", Some("https://example.org."), None, false),
    (
        "https://*.example.org",
        Some("https://app.example.org."),
        None,
        false,
    ),
    ("http://127.0.0.1", Some("http://0x7f.1"), None, false),
    ("http://[::1]", Some("http://[0:0::1]"), None, false),
    ("file://", Some("file://localhost"), None, false),
    ("", Some("https://example.org."), Some("example.org."), true),
    ("", Some("https://example.org."), Some("example.org"), false),
    ("", Some("https://[0:0::1]"), Some("[0:0::1]:443"), true),
    ("", Some("https://[0:0::1]"), Some("[::1]"), false),
    ("", Some("http://0x7f.1"), Some("0x7f.1"), true),
    ("", Some("https://example.org:0443"), Some("example.org"), false),
    ("", Some("https://a, https://b"), Some("a, https://b"), false),
    ("", Some("https://a/b"), Some("a/b"), false),
    ("", Some("https://"), Some(""), false),
    (
        "https://*.example.org",
        Some("https://app.example.org:443"),
        None,
        true,
    ),
    (
        "https://*.example.org",
        Some("https://app.example.org:8443"),
        None,
        false,
    ),
    // A list.
    ("https://example.org", Some("https://example.org"), None, true),
    ("https://example.org", Some("http://example.org"), None, false),
    (
        "https://example.org",
        Some("https://example.org:8443"),
        None,
        false,
    ),
    (
        "https://example.org",
        Some("https://example.org/path"),
        None,
        false,
    ),
    (
        "https://example.org",
        Some("https://example.org@evil.net"),
        None,
        false,
    ),
    (
        "https://example.org",
        Some("https://example.org,https://example.org"),
        None,
        false,
    ),
    ("https://example.org", None, None, true),
    ("https://a.org, https://b.org", Some("https://b.org"), None, true),
    // One label in place of the star.
    (
        "https://*.example.org",
        Some("https://app.example.org"),
        None,
        true,
    ),
    (
        "https://*.example.org",
        Some("https://my_app.example.org"),
        None,
        true,
    ),
    (
        "https://*.example.org",
        Some("https://a.b.example.org"),
        None,
        false,
    ),
    ("https://*.example.org", Some("https://example.org"), None, false),
    (
        "https://*.example.org",
        Some("https://evilexample.org"),
        None,
        false,
    ),
    ("https://*.example.org", Some("https://.example.org"), None, false),
    (
        "https://*.example.org:8443",
        Some("https://app.example.org:8443"),
        None,
        true,
    ),
    (
        "https://*.example.org:8443",
        Some("https://app.example.org"),
        None,
        false,
    ),
    // Applications that are no web sites.
    ("*", Some("capacitor://localhost"), None, true),
    ("*", Some("ionic://localhost"), None, true),
    ("*", Some("tauri://localhost"), None, true),
    ("*", Some("app://localhost"), None, true),
    ("*", Some("app://."), None, true),
    ("*", Some("file://"), None, true),
    (
        "*",
        Some("chrome-extension://abcdefghijklmnopabcdefghijklmnop"),
        None,
        true,
    ),
    ("*", Some("moz-extension://3f1e-42"), None, true),
    ("capacitor://localhost", Some("capacitor://localhost"), None, true),
    ("capacitor://LocalHost", Some("capacitor://localhost"), None, true),
    ("capacitor://localhost", Some("ionic://localhost"), None, false),
    ("capacitor://localhost", Some("https://localhost"), None, false),
    ("file://", Some("file://"), None, true),
    ("file://", Some("null"), None, false),
    ("", Some("capacitor://localhost"), Some("localhost"), false),
    ("", Some("file://"), Some("example.org"), false),
    // Every origin but `null`.
    ("*", Some("http://anything.example"), None, true),
    ("*", None, None, true),
    ("*", Some("null"), None, false),
    ("*", Some("NULL"), None, false),
    ("*", Some(""), None, false),
    ("*", Some("https://a.org, https://b.org"), None, false),
    ("*", Some("https://a.org https://b.org"), None, false),
    ("*", Some("https://a.org/path"), None, false),
    ("https://a.org,*", Some("http://b.org"), None, true),
];

const MALFORMED: &[&str] = &[
    "",
    "null",
    "example.org",
    "//a",
    "://a",
    "1a://b",
    "a b://c",
    "https://",
    "http://",
    "https://a/",
    "https://a/path",
    "https://*",
    "https://*.*.org",
    "https://a.*.org",
    "https://*a.b",
    "https://*.",
    "https://*.[::1]",
    "https://*.1.2.3.4",
    "https://a b.org",
    "https://a..b",
    "https://.a",
    "https://a.",
    "https://a:0",
    "https://a:65536",
    "https://a:x",
    "https://a:",
    "https://a:+80",
    "https://a:80:80",
    "https://[::1",
    "https://[::1]x",
    "https://[::1]:",
    "https://a%[src]",
    "https://a%2eb",
    "https://user@a",
    "https://a?b",
    "https://a#b",
    "https://a\\b",
    "https://a\nhttp-request deny",
    "https://ä.org",
    "https://a,b",
    "app://.",
    "app://",
    "file://.",
    "app://:80",
    "*.example.org",
    "**",
    "https://1.2.3",
    "https://a.b.256",
    "https://1.2.3.256",
    "https://01.2.3.4",
    "https://999999999999",
    "x://*.1",
    "x://1.2",
    "https://example.org:0443",
    "https://[::ffff:1.2.3.4]",
];

/// Entries that browsers send in another form or cannot send, of which a regular expression knows
/// nothing.
const NOT_NORMAL: &[(&str, &str)] = &[
    ("https://[0:0::1]:80", "https://[::1]:80"),
    ("https://[2001:db8:0:0:0:0:0:1]", "https://[2001:db8::1]"),
    ("x://[0:0::1]", "x://[::1]"),
    ("http://0x7f", "http://0.0.0.127"),
    ("http://127.0.0x1", "http://127.0.0.1"),
    ("file://localhost", "file://"),
    ("file://LocalHost", "file://"),
    ("https://xn--a", "malformed"),
    ("file://host:80", "malformed"),
    ("https://[::g]", "malformed"),
];

#[test]
fn policies_decide_as_documented() {
    for (list, origin, host, allowed) in CASES {
        let policy = OriginPolicy::parse(list).unwrap();
        assert_eq!(
            policy.allows(*origin, *host),
            *allowed,
            "{list:?} {origin:?} {host:?}"
        );
    }
}

#[test]
fn malformed_entries_are_rejected() {
    for bad in MALFORMED {
        let error = bad.parse::<OriginPattern>().unwrap_err();
        assert_eq!(error.text, *bad);
    }
    let long = format!("https://{}", "a".repeat(Origin::MAX_BYTES));
    assert!(long.parse::<OriginPattern>().is_err());
    assert!(
        OriginPolicy::parse("https://a.org,nonsense")
            .unwrap_err()
            .to_string()
            .contains("nonsense")
    );
}

#[test]
fn entries_are_normalized_like_browsers() {
    for (text, normal) in [
        ("*", "*"),
        ("https://Example.org", "https://example.org"),
        ("HTTPS://example.org:443", "https://example.org"),
        ("FILE://", "file://"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://*.example.org:80", "http://*.example.org"),
        ("https://*.Example.org:8443", "https://*.example.org:8443"),
        ("http://example.org:443", "http://example.org:443"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
        ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
        ("WSS://*.example.org:443", "wss://*.example.org"),
        ("file://host", "file://host"),
        ("x://a.1b", "x://a.1b"),
        ("https://-a_b.c", "https://-a_b.c"),
        ("chrome-extension://AbC", "chrome-extension://abc"),
        ("tauri://localhost:1420", "tauri://localhost:1420"),
        ("file://", "file://"),
        ("my.app+x://*.a", "my.app+x://*.a"),
    ] {
        let pattern: OriginPattern = text.parse().unwrap();
        assert_eq!(pattern.to_string(), normal);
        assert_eq!(
            normal.parse::<OriginPattern>().unwrap(),
            pattern,
            "{normal} is stable"
        );
    }
}

#[test]
fn schema_knows_malformed_entries() {
    let schema = Regex::new(OriginPattern::SCHEMA).unwrap();
    for bad in MALFORMED {
        assert!(!schema.is_match(bad), "{bad:?}");
    }
}

#[test]
fn errors_name_the_normal_form() {
    for (text, normal) in NOT_NORMAL {
        let error = text.parse::<OriginPattern>().unwrap_err().to_string();
        assert!(error.contains(normal), "{text}: {error}");
    }
    let error = "https://1.2.3".parse::<OriginPattern>().unwrap_err().to_string();
    assert!(
        error.ends_with("browsers send its normal form, https://1.2.0.3"),
        "{error}"
    );
}

/// Schemes with a default port are those of `url`.
#[test]
fn default_ports_are_those_of_urls() {
    for (port, schemes) in DEFAULT_PORTS {
        for scheme in *schemes {
            let url = Url::parse(&format!("{scheme}://a{port}")).unwrap();
            assert_eq!((url.port(), url.port_or_known_default().is_some()), (None, true));
        }
    }
}

fn entry() -> impl Strategy<Value = String> {
    let scheme = prop_oneof!["https?", "[a-zA-Z][a-z0-9+.-]{0,5}"];
    let host = prop_oneof![
        "([a-zA-Z0-9_-]{1,5}[.]){0,3}[a-zA-Z_-]{1,5}",
        "[*][.]example[.]org",
        Just("[::1]".to_owned())
    ];
    let port = prop_oneof![Just(String::new()), ":[1-9][0-9]{0,3}"];
    (scheme, host, port).prop_map(|(scheme, host, port)| format!("{scheme}://{host}{port}"))
}

proptest! {
    #[test]
    fn accepted_entries_fit_the_schema(text in prop_oneof![entry(), ".{0,30}", "[a-z:/*.0-9-]{0,20}"]) {
        if text.parse::<OriginPattern>().is_ok() {
            prop_assert!(Regex::new(OriginPattern::SCHEMA).unwrap().is_match(&text), "{text:?}");
        }
    }

    #[test]
    fn normal_form_is_stable(text in entry()) {
        if let Ok(pattern) = text.parse::<OriginPattern>() {
            let normal = pattern.to_string();
            prop_assert_eq!(normal.parse::<OriginPattern>().unwrap(), pattern, "{}", normal);
        }
    }

    #[test]
    fn listed_origin_matches_only_itself(text in entry(), other in entry()) {
        prop_assume!(!text.contains('*') && !other.contains('*'));
        let (Ok(listed), Ok(origin)) = (text.parse::<Origin>(), other.parse::<Origin>()) else {
            return Ok(());
        };
        let policy = OriginPolicy::parse(&text).unwrap();
        prop_assert!(policy.allows(Some(&text), None));
        prop_assert!(policy.allows(Some(&listed.to_string()), None));
        prop_assert_eq!(policy.allows(Some(&other), None), listed == origin);
    }
}
