//! No request gets more than the rules give it. Any input is the head of a request; its header
//! `x-list` is the server's list of origins.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use wsc_contract::origin::{Origin, OriginPolicy};
use wsc_contract::room;
use wsc_server::handshake::refusal::Refusal;
use wsc_server::handshake::request;
use wsc_server::handshake::target::{Target, parse_target};

/// What became of the parts of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) target: Result<Target, Refusal>,
    pub(crate) upgrade: Result<(), Refusal>,
    /// By the list, and by the server's own host.
    pub(crate) listed: bool,
    pub(crate) same_host: bool,
}

/// The body of the fuzz target.
pub(crate) fn check(input: &[u8]) {
    outcome(input);
}

/// Checks the request and says what became of it.
pub(crate) fn outcome(input: &[u8]) -> Outcome {
    let mut lines = input.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(|byte| *byte == b' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, uri, version) = (word(), word(), word());
    let headers = headers(lines);
    Outcome {
        target: target(uri),
        upgrade: upgrade(method, version, &headers),
        listed: origin(&headers, true),
        same_host: origin(&headers, false),
    }
}

fn headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// As the HTTP library would read it, and as it is: the rules must not lean on the library's.
fn target(uri: &[u8]) -> Result<Target, Refusal> {
    if let Ok(uri) = Uri::try_from(uri) {
        let _ = room_and_echo(uri.path(), uri.query());
    }
    let text = String::from_utf8_lossy(uri);
    match text.split_once('?') {
        Some((path, query)) => room_and_echo(path, Some(query)),
        None => room_and_echo(&text, None),
    }
}

fn room_and_echo(path: &str, query: Option<&str>) -> Result<Target, Refusal> {
    let parsed = parse_target("/ws", path, query);
    let echoes: Vec<&str> = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| pair.split('=').next() == Some("echo"))
        .collect();
    match &parsed {
        Ok(target) => {
            let name = target.room.as_str();
            assert!((1..=room::MAX_BYTES).contains(&name.len()));
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._~:-".contains(&b))
            );
            // Nothing is decoded, cut or joined on the way.
            assert!(
                path == format!("/ws/{name}") || (path == "/ws" && name == room::DEFAULT),
                "{path:?}"
            );
            assert!(matches!(echoes[..], [] | ["echo=0" | "echo=1"]), "{query:?}");
            assert_eq!(target.echo, echoes != ["echo=0"]);
        }
        Err(refusal) => assert!(matches!(refusal.status(), 400 | 404), "{refusal:?}"),
    }
    parsed
}

fn upgrade(method: &[u8], version: &[u8], headers: &HeaderMap) -> Result<(), Refusal> {
    let version = match version {
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/1.1" => Version::HTTP_11,
        _ => Version::HTTP_2,
    };
    let method = Method::from_bytes(method).unwrap_or_default();
    let checked = request::check_upgrade(&method, version, headers);
    let keys: Vec<_> = headers.get_all("sec-websocket-key").iter().collect();
    match &checked {
        Ok(()) => {
            assert_eq!((&method, version), (&Method::GET, Version::HTTP_11));
            assert_eq!(keys.iter().map(|key| key.len()).collect::<Vec<_>>(), [24]);
            assert!(!headers.contains_key("transfer-encoding"));
            assert!(headers.get_all("host").iter().count() < 2);
        }
        Err(refusal) => assert!(matches!(refusal.status(), 400 | 405 | 426), "{refusal:?}"),
    }
    if let Some(key) = keys.first() {
        assert_eq!(request::accept(key.as_bytes()).len(), 28, "base64 of 20 bytes");
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    assert!(request::via(headers).is_none_or(|via| !via.is_empty() && via.bytes().all(allowed)));
    assert!(request::forwarded_for(headers).is_none_or(|client| !client.is_empty() && !client.contains(',')));
    assert!(request::is_for(None, headers));
    checked
}

fn origin(headers: &HeaderMap, by_list: bool) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (origin, host) = (text("origin"), text("host"));
    let parsed = if by_list {
        OriginPolicy::parse(text("x-list").unwrap_or_default())
    } else {
        Ok(OriginPolicy::SameHost)
    };
    let Ok(policy) = parsed else { return false };
    let allowed = policy.allows(origin, host);
    let Some(origin) = origin else {
        assert!(allowed, "who is no page has no origin");
        return allowed;
    };
    let any = OriginPolicy::Any.allows(Some(origin), host);
    assert!(
        any || !allowed,
        "{policy:?} allows {origin:?}, which is no origin"
    );
    let upper = origin.to_ascii_uppercase();
    assert_eq!(policy.allows(Some(&upper), host), allowed, "{upper:?}");
    if any {
        check_own(origin);
    }
    allowed
}

/// A valid origin is allowed by a list of itself; that of a web page, on its own host too.
fn check_own(origin: &str) {
    assert_ne!(origin, "null");
    let Ok(parsed) = origin.parse::<Origin>() else {
        return;
    };
    let list = OriginPolicy::parse(origin);
    assert!(
        list.is_ok_and(|list| list != OriginPolicy::Any && list.allows(Some(origin), None)),
        "{origin:?}"
    );
    let host = origin.split_once("://").map(|(_, host)| host);
    let is_web = matches!(parsed.scheme(), "http" | "https");
    assert_eq!(
        OriginPolicy::SameHost.allows(Some(origin), host),
        is_web,
        "{origin:?}"
    );
}
