//! Who gets a WebSocket and who gets an error, before the upgrade.

use std::time::Duration;

use http::Method;
use serde_json::json;
use wsc_testing::client::{Client, Options, Refused};
use wsc_testing::http1::{self, Answer};
use wsc_testing::server::Server;

use crate::refused::cases::GOOD as GOOD_REQUEST;
use crate::{SOON, alone, connect};

/// A good handshake, to be spoilt.
const GOOD: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The good handshake with these headers instead of its own, or beside them; an empty value leaves
/// one out.
async fn handshake(server: &Server, method: Method, path: &str, changes: &[(&str, &str)]) -> Answer {
    let mut headers: Vec<_> = GOOD
        .into_iter()
        .filter(|(name, _)| changes.iter().all(|(n, _)| n != name))
        .collect();
    headers.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    http1::request(server.port(), method, path, &headers, "")
        .await
        .unwrap()
}

async fn status_with(server: &Server, headers: &[(&str, &str)]) -> u16 {
    let options = headers
        .iter()
        .fold(Options::new(server.url("/ws")), |o, (name, value)| {
            o.header(name, value)
        });
    match Client::connect(&options).await {
        Ok(client) => client.opened().status.as_u16(),
        Err(Refused::Status { status, .. }) => status.as_u16(),
        Err(other) => panic!("{headers:?}: {other}"),
    }
}

/// Status, a word of the message, method, path, changes of the headers.
type Case<'a> = (u16, &'a str, Method, &'a str, &'a [(&'a str, &'a str)]);

const MALFORMED: &[Case<'_>] = &[
    (405, "GET", Method::POST, "/ws", &[]),
    (405, "GET", Method::HEAD, "/ws", &[]),
    (426, "version 13", Method::GET, "/ws", &[("upgrade", "")]),
    (426, "version 13", Method::GET, "/ws", &[("upgrade", "h2c")]),
    (
        426,
        "version 13",
        Method::GET,
        "/ws",
        &[("sec-websocket-version", "")],
    ),
    (
        426,
        "version 13",
        Method::GET,
        "/ws",
        &[("sec-websocket-version", "8")],
    ),
    (
        426,
        "version 13",
        Method::GET,
        "/ws",
        &[("sec-websocket-version", "14")],
    ),
    (
        400,
        "Connection",
        Method::GET,
        "/ws",
        &[("connection", "keep-alive")],
    ),
    (
        400,
        "Sec-WebSocket-Key",
        Method::GET,
        "/ws",
        &[("sec-websocket-key", "")],
    ),
    (
        400,
        "Sec-WebSocket-Key",
        Method::GET,
        "/ws",
        &[("sec-websocket-key", "c2hvcnQ=")],
    ),
    (
        400,
        "subprotocol",
        Method::GET,
        "/ws",
        &[("sec-websocket-protocol", "soap")],
    ),
    (400, "echo", Method::GET, "/ws?echo=maybe", &[]),
    (400, "echo", Method::GET, "/ws?echo=0&echo=0", &[]),
    (400, "room", Method::GET, "/ws/", &[]),
    (400, "room", Method::GET, "/ws/a%00b", &[]),
    (400, "room", Method::GET, "/ws/a*", &[]),
    (400, "room", Method::GET, "/ws/{x}", &[]),
    (404, "path", Method::GET, "/", &[]),
    (404, "path", Method::GET, "/ws/a/b", &[]),
    (404, "path", Method::GET, "/ws//a", &[]),
    (404, "path", Method::GET, "/ws/../stats", &[]),
    (404, "path", Method::GET, "/wsc", &[]),
    (404, "path", Method::GET, "/wsc/other", &[]),
];

#[tokio::test]
async fn malformed_handshake_error_names_the_fault() {
    let server = alone(&[]).await;
    let long_room = format!("/ws/{}", "x".repeat(129));
    let mut cases = MALFORMED.to_vec();
    cases.push((400, "room", Method::GET, &long_room, &[]));
    for (status, word, method, path, changes) in &cases {
        let answer = handshake(&server, method.clone(), path, changes).await;
        let what = format!("{method} {path} {changes:?}: {answer:?}");
        assert_eq!(answer.status.as_u16(), *status, "{what}");
        if method != Method::HEAD {
            assert!(
                answer.json().unwrap()["message"].as_str().unwrap().contains(word),
                "{what}"
            );
        }
        if *status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), "13", "{what}");
        }
    }
    let stats = server.stats().await.unwrap();
    assert_eq!(
        (&stats["refused"]["bad_request"], &stats["connections"]),
        (&cases.len().into(), &0.into())
    );
    connect(&server, "/ws").await;
}

#[tokio::test]
async fn header_case_and_lists_follow_http() {
    let server = alone(&[]).await;
    let changes = [("connection", "keep-alive, UPGRADE"), ("upgrade", "WebSocket")];
    assert_eq!(
        handshake(&server, Method::GET, "/ws/r?x=%00&echo=1", &changes)
            .await
            .status,
        101
    );
}

#[tokio::test]
async fn invalid_http_is_rejected_and_harmless() {
    let server = alone(&[]).await;
    let neighbour = connect(&server, "/ws").await;
    let upgrade = |version: &str, more: &str| {
        let lines = GOOD.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
        format!("GET /ws HTTP/{version}\r\nhost: x\r\n{lines}{more}\r\n")
    };
    let many: String = "x-many: y\r\n".repeat(70);
    let cases = [
        ("431", format!("GET /ws HTTP/1.1\r\nhost: x\r\n{many}\r\n")),
        (
            "431",
            format!("GET /ws HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(20_000)),
        ),
        (
            "400",
            "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3} hello, this is TLS\r\n\r\n".to_owned(),
        ),
        (
            "400",
            "GET /ws HTTP/1.1\r\nhost : x\r\nno colon\r\n\r\n".to_owned(),
        ),
        ("426", upgrade("1.0", "")),
        ("400", upgrade("1.1", "content-length: 5\r\n")),
        ("400", upgrade("1.1", "transfer-encoding: chunked\r\n")),
        (
            "400",
            upgrade("1.1", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        ),
        ("400", "GET /ws\u{0} HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        (
            "400",
            "GET /ws HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked, x\r\n\r\n".to_owned(),
        ),
        ("400", "GET /ws HTTP/7.1\r\nhost: x\r\n\r\n".to_owned()),
    ];
    for (status, bytes) in cases {
        let back = http1::raw(server.port(), bytes.as_bytes(), SOON).await.unwrap();
        let back = String::from_utf8_lossy(&back).into_owned();
        let start = &bytes[..bytes.len().min(60)];
        assert!(
            back.starts_with("HTTP/1.") && back[8..].starts_with(&format!(" {status} ")),
            "{start:?}: {back:?}"
        );
    }
    neighbour.send_text("well").await.unwrap();
    assert!(neighbour.wait_received(1, SOON).await);
    assert_eq!(neighbour.ended(), None);
}

#[tokio::test]
async fn endless_handshake_is_cut_off() {
    let server = alone(&[]).await;
    // The server ends it after 10 s: nothing would end this call before its own time is over.
    let back = http1::raw(
        server.port(),
        b"GET /ws HTTP/1.1\r\nhost: x\r\n",
        Duration::from_mins(1),
    );
    let back = tokio::time::timeout(Duration::from_secs(40), back)
        .await
        .expect("cut off")
        .unwrap();
    assert!(!String::from_utf8_lossy(&back).contains("101"), "{back:?}");
}

#[tokio::test]
async fn request_for_another_pod_is_refused() {
    let server = alone(&[("POD_NAME", "chat-17")]).await;
    let cases = [
        ("chat-17", 101, 200),
        ("chat-1", 503, 503),
        ("chat-170", 503, 503),
        ("", 101, 200),
    ];
    for (meant, upgrade, check) in cases {
        let headers: &[_] = if meant.is_empty() {
            &[]
        } else {
            &[("x-wsc-server", meant)]
        };
        assert_eq!(status_with(&server, headers).await, upgrade, "{meant:?}");
        let answer = http1::request(server.port(), Method::GET, "/wsc/lb", headers, "")
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), check, "{meant:?}");
        if check == 503 {
            assert_eq!(
                (
                    answer.json().unwrap()["error"].as_str(),
                    answer.header("retry-after")
                ),
                (Some("wrong_pod"), "2")
            );
        }
    }
    assert_eq!(
        server.stats().await.unwrap()["refused"]["wrong_pod"],
        2,
        "checks are no handshakes"
    );
    let nameless = alone(&[]).await;
    assert_eq!(status_with(&nameless, &[("x-wsc-server", "anybody")]).await, 101);
}

#[tokio::test]
async fn without_origins_only_the_same_host_connects() {
    let server = alone(&[]).await;
    let own = format!("http://127.0.0.1:{}", server.port());
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[], 101),
        (&[("origin", &own)], 101),
        (&[("origin", "http://127.0.0.1")], 403),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "")], 403),
        (&[("origin", "file://")], 403),
        (&[("origin", &own), ("origin", "https://evil.example")], 403),
    ];
    for (headers, status) in cases {
        assert_eq!(status_with(&server, headers).await, *status, "{headers:?}");
    }
    let answer = handshake(&server, Method::GET, "/ws", &[("origin", "null")]).await;
    assert_eq!(
        answer.json().unwrap(),
        json!({"error": "origin", "message": "the origin is not allowed"})
    );
    let refused = cases.iter().filter(|(_, status)| *status == 403).count() + 1;
    assert_eq!(server.stats().await.unwrap()["refused"]["origin"], refused);
}

#[tokio::test]
async fn origins_are_exact_except_the_wildcard() {
    let list = "https://example.org, https://*.example.org";
    let server = alone(&[("WSC_ORIGINS", list)]).await;
    let own = format!("http://127.0.0.1:{}", server.port());
    let cases = [
        ("https://example.org", 101),
        ("https://app.example.org", 101),
        ("https://a.b.example.org", 403),
        ("http://example.org", 403),
        ("https://example.org.evil.example", 403),
        ("https://evilexample.org", 403),
        ("null", 403),
        (own.as_str(), 403),
    ];
    for (origin, status) in cases {
        assert_eq!(
            status_with(&server, &[("origin", origin)]).await,
            status,
            "{origin}"
        );
    }
    assert_eq!(
        status_with(&server, &[]).await,
        101,
        "who is no browser has no origin"
    );
    let all = alone(&[("WSC_ORIGINS", "*")]).await;
    assert_eq!(
        status_with(&all, &[("origin", "https://anybody.example")]).await,
        101
    );
    assert_eq!(status_with(&all, &[("origin", "null")]).await, 403);
}

/// Apps in a web view, in a desktop shell and in a browser extension.
const APPS: [&str; 8] = [
    "capacitor://localhost",
    "ionic://localhost",
    "tauri://localhost",
    "app://localhost",
    "file://",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://6f0cbd5e-4f4c-4a51-a1cf-6fd2f6a2a3b9",
    "vscode-webview://x",
];

#[tokio::test]
async fn origins_of_apps_are_accepted() {
    let (any, own) = (alone(&[("WSC_ORIGINS", "*")]).await, alone(&[]).await);
    for app in APPS {
        let list = alone(&[("WSC_ORIGINS", app)]).await;
        let origin = [("origin", app)];
        assert_eq!(status_with(&any, &origin).await, 101, "* is every origin: {app}");
        assert_eq!(
            status_with(&list, &origin).await,
            101,
            "an entry allows itself: {app}"
        );
        assert_eq!(
            status_with(&own, &origin).await,
            403,
            "no app has the server's host: {app}"
        );
        for other in APPS.iter().filter(|other| **other != app) {
            let status = status_with(&list, &[("origin", other)]).await;
            assert_eq!(status, 403, "{app} does not allow {other}");
        }
    }
    assert_eq!(status_with(&any, &[("origin", "null")]).await, 403);
    let two = [("origin", APPS[0]), ("origin", APPS[0])];
    assert_eq!(status_with(&any, &two).await, 403, "two origins");
}

#[tokio::test]
async fn default_ports_are_filled_in() {
    let own = alone(&[]).await;
    let exact = alone(&[("WSC_ORIGINS", "https://example.org")]).await;
    let wildcard = alone(&[("WSC_ORIGINS", "https://*.example.org")]).await;
    let cases = [
        (&own, "example.org:443", "https://example.org", 101),
        (&own, "example.org:80", "http://example.org", 101),
        (&own, "example.org", "https://example.org:443", 101),
        (&own, "example.org:443", "http://example.org", 403),
        (&own, "example.org:8443", "https://example.org", 403),
        (&own, "example.org", "https://example.org:8443", 403),
        (&exact, "ws.example.org", "https://example.org:443", 101),
        (&exact, "ws.example.org", "https://example.org:8443", 403),
        (&exact, "ws.example.org", "https://example.org:80", 403),
        (&wildcard, "ws.example.org", "https://app.example.org:443", 101),
        (&wildcard, "ws.example.org", "https://app.example.org:8443", 403),
    ];
    for (server, host, origin, status) in cases {
        // A client library would add its own Host.
        let head = format!("Host: {host}\r\nOrigin: {origin}");
        let request = GOOD_REQUEST.replace("Host: chat.example.org", &head);
        let answered = crate::refused::status(server.port(), request.as_bytes()).await;
        assert_eq!(answered, status, "{origin} at {host}");
    }
}

#[tokio::test]
async fn the_path_can_be_another_one() {
    let server = alone(&[("WSC_PATH", "/live/v1")]).await;
    let (sender, receiver) = (
        connect(&server, "/live/v1").await,
        connect(&server, "/live/v1/main").await,
    );
    sender.send_text("x").await.unwrap();
    assert!(receiver.wait_received(1, SOON).await);
    assert_eq!(status_with(&server, &[]).await, 404, "/ws");
    assert_eq!(http1::get(server.port(), "/wsc/lb").await.unwrap().status, 200);
}
