//! The handshakes, and what a client gets for each.

/// To be spoilt.
pub(crate) const GOOD: &str = "GET /ws/refused HTTP/1.1\r\nHost: chat.example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Of the good handshake.
const HEADERS: usize = 5;
/// That the server and HAProxy allow, and that HAProxy adds.
pub(super) const MOST_HEADERS: usize = 64;
const ADDED_HEADERS: usize = 4;
/// The server's limit of a request's head is 8 KiB, HAProxy's is above.
const MUCH: usize = 9 << 10;
/// The beginning of a TLS 1.3 client's first message.
const TLS_HELLO: &[u8] = b"\x16\x03\x01\x00\xf1\x01\x00\x00\xed\x03\x03\x4d\x1f\x0a\x9c\x5b\x0d\x0a\x20\x77\xe1\x9a\x02\x31\x88\xfe\
    \x6b\x0f\xd2\x44\x91\xac\x13\x5e\xb8\x70\x29\xc6\x3d\x00\x08\x13\x02\x13\x03\x13\x01\x00\xff\x01\x00\x00\x9c\r\n\r\n";
/// HTTP/2 with prior knowledge: preface, SETTINGS, and HEADERS of `GET /ws` (RFC 9113, section 3.4;
/// RFC 7541, appendix A).
pub(crate) const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x0a\x01\x05\0\0\0\x01\x82\x86\x04\x03/ws\x41\x01x";

/// What a client gets: the status, 0 when the connection ends without one; and the reason under
/// which the server counts it, if it comes that far.
pub(super) type Gets = (u16, Option<&'static str>);

#[derive(Clone)]
pub(crate) struct Case {
    pub(super) what: &'static str,
    pub(crate) request: Vec<u8>,
    pub(super) direct: Gets,
    pub(super) proxied: Gets,
}

/// The server refuses it on both ways.
fn case(what: &'static str, request: impl Into<Vec<u8>>, status: u16, reason: &'static str) -> Case {
    let gets = (status, Some(reason));
    Case {
        what,
        request: request.into(),
        direct: gets,
        proxied: gets,
    }
}

impl Case {
    /// HAProxy refuses it by itself.
    fn not_past_haproxy(mut self, status: u16) -> Self {
        self.proxied = (status, None);
        self
    }
}

/// The good handshake with this in place of that.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

fn target(target: &str) -> String {
    with("/ws/refused", target)
}

/// The good handshake with more headers.
pub(super) fn plus(lines: &str) -> String {
    with("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"))
}

pub(super) fn many_headers(count: usize) -> String {
    let lines: Vec<String> = (HEADERS..count).map(|n| format!("X-{n}: y")).collect();
    plus(&lines.join("\r\n"))
}

/// Of a draft before RFC 6455.
pub(super) fn version_8() -> String {
    with("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8")
}

fn key(key: &str) -> String {
    with("dGhlIHNhbXBsZSBub25jZQ==", key)
}

/// Several that get the same.
fn group<const N: usize>(status: u16, reason: &'static str, all: [(&'static str, String); N]) -> Vec<Case> {
    all.into_iter()
        .map(|(what, request)| case(what, request, status, reason))
        .collect()
}

pub(crate) fn cases() -> Vec<Case> {
    [upgrades(), keys(), bodies(), heads(), hosts(), origins(), paths()].concat()
}

fn upgrades() -> Vec<Case> {
    let mut all = group(
        426,
        "upgrade_required",
        [
            ("no Upgrade", with("Upgrade: websocket\r\n", "")),
            ("another Upgrade", with("Upgrade: websocket", "Upgrade: soup")),
            ("version 8", version_8()),
            ("no version", with("Sec-WebSocket-Version: 13\r\n", "")),
            ("HTTP/1.0", with("HTTP/1.1", "HTTP/1.0")),
        ],
    );
    all.push(case("POST", with("GET", "POST"), 405, "method"));
    all
}

/// HAProxy counts the characters of a key.
fn keys() -> Vec<Case> {
    let no_key = with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "");
    let mut all = vec![case(
        "no base64",
        key("dGhlIHNhbXBsZSBub25j!!=="),
        400,
        "bad_request",
    )];
    for (what, request) in [
        ("a short key", key("c2hvcnQ=")),
        ("an empty key", key("")),
        ("no key", no_key),
    ] {
        all.push(case(what, request, 400, "bad_request").not_past_haproxy(400));
    }
    all
}

fn bodies() -> Vec<Case> {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    group(
        400,
        "bad_request",
        [
            ("a body", plus("Content-Length: 5") + "hello"),
            ("a body in chunks", plus("Transfer-Encoding: chunked") + chunks),
            ("a subprotocol", plus("Sec-WebSocket-Protocol: soap")),
        ],
    )
}

fn heads() -> Vec<Case> {
    let much = plus(&format!("X-Much: {}", "y".repeat(MUCH)));
    vec![
        case("9 KiB of headers", much, 431, "http"),
        case("65 headers", many_headers(MOST_HEADERS + 1), 431, "http").not_past_haproxy(400),
        case("a TLS hello", TLS_HELLO, 400, "http").not_past_haproxy(400),
        case("a line that is no header", plus("no colon"), 400, "http").not_past_haproxy(400),
    ]
}

fn hosts() -> Vec<Case> {
    vec![case("two Hosts", plus("Host: evil.example"), 400, "bad_request").not_past_haproxy(400)]
}

fn origins() -> Vec<Case> {
    [
        ("a null origin", "Origin: null"),
        ("an empty origin", "Origin:"),
        ("another origin", "Origin: https://evil.example"),
        (
            "an origin with another port",
            "Origin: http://chat.example.org:81",
        ),
        ("two origins", "Origin: http://chat.example.org\r\nOrigin: null"),
    ]
    .map(|(what, line)| case(what, plus(line), 403, "origin").not_past_haproxy(403))
    .into()
}

fn paths() -> Vec<Case> {
    let long = format!("/ws/{}", "x".repeat(129));
    let mut all = group(
        400,
        "bad_request",
        [
            ("a room in percent", target("/ws/%61")),
            ("dots in percent", target("/ws/%2e%2e")),
            ("a slash in percent", target("/ws/a%2fb")),
            ("a zero in percent", target("/ws/%00")),
            ("a room of 129 bytes", target(&long)),
            ("a room of no bytes", target("/ws/")),
            ("echo twice", target("/ws/refused?echo=1&echo=1")),
            ("echo that is neither", target("/ws/refused?echo=true")),
        ],
    );
    all.extend(group(
        404,
        "not_found",
        [
            ("a way up", target("/ws/../stats")),
            ("two slashes", target("/ws//refused")),
            ("a room in a room", target("/ws/refused/refused")),
        ],
    ));
    all.push(case("another path", target("/chat"), 404, "not_found").not_past_haproxy(404));
    all
}

/// These get their WebSocket.
pub(super) fn good() -> [(&'static str, String); 9] {
    [
        ("no origin", GOOD.to_owned()),
        ("the own origin", plus("Origin: http://chat.example.org")),
        ("in upper case", plus("Origin: HTTP://CHAT.Example.ORG")),
        (
            "with its port",
            with(
                "chat.example.org",
                "chat.example.org:8080\r\nOrigin: http://chat.example.org:8080",
            ),
        ),
        ("a room of one dot", target("/ws/.")),
        ("a room of two dots", target("/ws/..")),
        ("a room of 128 bytes", target(&format!("/ws/{}", "x".repeat(128)))),
        ("others twice", target("/ws/refused?token=a&token=b&echo=0")),
        (
            "as many headers as may be",
            many_headers(MOST_HEADERS - ADDED_HEADERS),
        ),
    ]
}
