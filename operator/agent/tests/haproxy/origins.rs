//! The origin check of the proxy. It decides like the server's: [`OriginPolicy`] is the reference
//! for every case.

use std::time::Duration;

use anyhow::{Context, Result};
use wsc_contract::origin::{OriginPattern, OriginPolicy};
use wsc_testing::client::{Client, Options};
use wsc_testing::haproxy::{PodOptions, ProxyPod};
use wsc_testing::http1;

use crate::headers::Recorder;
use crate::pool::{pool, ready};

/// For one response of the proxy.
const WAIT: Duration = Duration::from_secs(15);

/// `Origin`, `Host`, whether the handshake reaches the server.
type Case = (&'static str, &'static str, bool);

/// Cases by the value of `proxy.origins`, separated by commas.
const CASES: &[(&str, &[Case])] = &[
    // A load balancer may write `Host: example.org:443`; browsers omit the default port of the
    // origin.
    (
        "",
        &[
            ("https://example.org", "example.org", true),
            ("http://example.org", "example.org", true),
            ("https://example.org", "example.org:443", true),
            ("http://example.org", "example.org:80", true),
            ("https://example.org:443", "example.org", true),
            ("https://EXAMPLE.org", "Example.ORG:443", true),
            ("https://my_host:8443", "my_host:8443", true),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("https://example.org.", "example.org.", true),
            ("https://[0:0::1]", "[0:0::1]:443", true),
            ("http://0x7f.1", "0x7f.1", true),
            ("https://example.org.", "example.org", false),
            ("https://example.org", "example.org.", false),
            ("https://example.org:0443", "example.org", false),
            ("http://[0:0::1]", "[::1]", false),
            ("http://127.0.0.1", "0x7f.1", false),
            ("ws://example.org", "example.org", false),
            ("https://", "", false),
            ("https://example.org", "example.org:8443", false),
            ("https://example.org", "example.org:80", false),
            ("http://example.org", "example.org:443", false),
            ("https://example.org:8443", "example.org", false),
            ("capacitor://localhost", "localhost", false),
            ("file://", "example.org", false),
            ("null", "example.org", false),
        ],
    ),
    (
        "https://example.org,https://*.example.org,capacitor://localhost,file://",
        &[
            ("https://example.org", "ws.example.org", true),
            ("https://example.org:443", "ws.example.org", true),
            ("https://app.example.org", "ws.example.org", true),
            ("https://app.example.org:443", "ws.example.org", true),
            ("https://my_app.example.org", "ws.example.org", true),
            ("capacitor://localhost", "ws.example.org", true),
            ("file://", "ws.example.org", true),
            ("http://example.org", "ws.example.org", false),
            ("https://example.org:8443", "ws.example.org", false),
            ("https://app.example.org:8443", "ws.example.org", false),
            ("https://a.b.example.org", "ws.example.org", false),
            ("ionic://localhost", "ws.example.org", false),
            ("https://localhost", "ws.example.org", false),
            ("https://ws.example.net", "ws.example.net", false),
            ("null", "ws.example.org", false),
        ],
    ),
    // Every scheme with a default port; other spellings of a listed host are not in the form that
    // browsers send.
    (
        "wss://example.org:443,ws://*.example.org:80,ftp://example.org:21,http://127.0.0.1,http://[::1],file://",
        &[
            ("wss://example.org", "ws.example.org", true),
            ("wss://example.org:443", "ws.example.org", true),
            ("WSS://Example.org:443", "ws.example.org", true),
            ("ws://app.example.org", "ws.example.org", true),
            ("ws://app.example.org:80", "ws.example.org", true),
            ("ftp://example.org:21", "ws.example.org", true),
            ("http://127.0.0.1:80", "ws.example.org", true),
            ("http://[::1]:80", "ws.example.org", true),
            ("wss://example.org:80", "ws.example.org", false),
            ("wss://example.org:0443", "ws.example.org", false),
            ("wss://example.org.", "ws.example.org", false),
            ("ws://app.example.org.", "ws.example.org", false),
            ("http://0x7f.1", "ws.example.org", false),
            ("http://[0:0::1]", "ws.example.org", false),
            ("file://localhost", "ws.example.org", false),
        ],
    ),
    // Applications that are no web sites: `*` is every origin but `null`.
    (
        "*",
        &[
            ("capacitor://localhost", "example.org", true),
            ("ionic://localhost", "example.org", true),
            ("tauri://localhost", "example.org", true),
            ("app://localhost", "example.org", true),
            ("app://.", "example.org", true),
            ("file://", "example.org", true),
            (
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
                "example.org",
                true,
            ),
            ("moz-extension://3f1e-42", "example.org", true),
            ("https://anywhere.example:8443", "example.org", true),
            ("http://[::1]:8080", "example.org", true),
            ("x://!\"$%&'()*+;<=>[]^_`{|}~", "example.org", true),
            ("null", "example.org", false),
            ("NULL", "example.org", false),
            ("", "example.org", false),
            ("example.org", "example.org", false),
            ("https://a.org, https://b.org", "example.org", false),
            ("https://a.org,https://b.org", "example.org", false),
            ("https://a.org https://b.org", "example.org", false),
            ("https://a.org/path", "example.org", false),
            ("https://user@a.org", "example.org", false),
            ("https://a.org?b", "example.org", false),
            ("https://a.org#b", "example.org", false),
            ("https://a\\b", "example.org", false),
            ("1a://b", "example.org", false),
            ("://b", "example.org", false),
        ],
    ),
];

/// The HTTP status of a handshake with exactly these headers.
async fn status(port: u16, origin: &str, host: &str) -> Result<u16> {
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let response = http1::raw(port, request.as_bytes(), WAIT).await?;
    let response = String::from_utf8_lossy(&response);
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.with_context(|| format!("response {response:?}"))
}

/// The longest origin, and one byte more: a host as in `Host`.
fn lengths() -> [(String, bool); 2] {
    [(255, true), (256, false)].map(|(bytes, allowed)| ("a".repeat(bytes - "https://".len()), allowed))
}

#[tokio::test]
async fn proxy_decides_like_the_server() {
    let recorder = Recorder::start().await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &[recorder.server()])
        .await
        .unwrap();
    for (list, cases) in CASES {
        let entries = list.split(',').filter(|entry| !entry.is_empty());
        let patterns: Vec<OriginPattern> = entries.map(|entry| entry.parse().unwrap()).collect();
        pod.change(|settings| settings.origins.clone_from(&patterns));
        let set = pod.publish(&[recorder.server()]).unwrap();
        pod.synced(&set).await.unwrap();
        let policy = OriginPolicy::from(patterns);
        for (origin, host, allowed) in *cases {
            let expected = if *allowed { 418 } else { 403 };
            let case = format!("{list:?}: {origin:?} to {host:?}");
            assert_eq!(
                status(pod.port(), origin, host).await.unwrap(),
                expected,
                "proxy, {case}"
            );
            assert_eq!(
                policy.allows(Some(origin), Some(host)),
                *allowed,
                "server, {case}"
            );
        }
        for (host, allowed) in lengths().into_iter().filter(|_| list.is_empty()) {
            let origin = format!("https://{host}");
            let expected = if allowed { 418 } else { 403 };
            assert_eq!(status(pod.port(), &origin, &host).await.unwrap(), expected);
            assert_eq!(policy.allows(Some(&origin), Some(&host)), allowed);
        }
    }
}

/// The status of a handshake with these origins.
async fn with_origins(pod: &ProxyPod, origins: &[&str]) -> u16 {
    let add = |options: Options, origin: &&str| options.origin(origin);
    let options = origins.iter().fold(Options::new(pod.url()), add);
    match Client::connect(&options).await {
        Ok(client) => client.opened().status.as_u16(),
        Err(refused) => refused.status().map_or(0, |status| status.as_u16()),
    }
}

#[tokio::test]
async fn without_origins_only_the_same_host_connects() {
    let backends = pool(1).await.unwrap();
    let pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let same = format!("127.0.0.1:{}", pod.port());
    let (http, https) = (&*format!("http://{same}"), &*format!("https://{same}"));
    let longer = &*format!("http://{same}.example.org");
    for good in [&[][..], &[http], &[https]] {
        assert_eq!(with_origins(&pod, good).await, 101, "{good:?}");
    }
    for bad in [
        &["http://example.org"][..],
        &["http://127.0.0.1:1"],
        &["null"],
        &[""],
        &[same.as_str()],
        &[longer],
        &[http, http],
        &[http, "http://example.org"],
        &["http://example.org", http],
    ] {
        assert_eq!(with_origins(&pod, bad).await, 403, "{bad:?}");
    }
    // These servers allow every origin and would have answered 101.
    assert_eq!(backends[0].count("/refused/origin").await.unwrap(), 0);
}

#[tokio::test]
async fn only_listed_origins_may_connect() {
    let backends = pool(1).await.unwrap();
    let mut options = PodOptions::default();
    let list = [
        "https://example.org",
        "https://*.example.org:8443",
        "http://[::1]:3000",
    ];
    options.settings.origins = list.iter().map(|text| text.parse().unwrap()).collect();
    let mut pod = ProxyPod::start(options, &ready(&backends)).await.unwrap();
    for good in [
        "https://example.org",
        "https://EXAMPLE.org",
        "https://a-1.example.org:8443",
        "http://[::1]:3000",
    ] {
        assert_eq!(with_origins(&pod, &[good]).await, 101, "{good}");
    }
    assert_eq!(with_origins(&pod, &[]).await, 101);
    let same = format!("http://127.0.0.1:{}", pod.port());
    for bad in [
        "http://example.org",
        "https://example.org:8443",
        "https://example.org.evil.com",
        "https://evil.com/https://example.org",
        "https://a.b.example.org:8443",
        "https://.example.org:8443",
        "https://example.org:8443",
        "https://a.exampleXorg:8443",
        "https://evil.com#.example.org:8443",
        "null",
        same.as_str(),
    ] {
        assert_eq!(with_origins(&pod, &[bad]).await, 403, "{bad}");
    }

    pod.change(|settings| settings.origins = vec![OriginPattern::Any]);
    let set = pod.publish(&ready(&backends)).unwrap();
    pod.synced(&set).await.unwrap();
    let anywhere = "https://anywhere.example";
    assert_eq!(with_origins(&pod, &[anywhere]).await, 101);
    assert_eq!(
        with_origins(&pod, &[anywhere, anywhere]).await,
        403,
        "two origins"
    );
    assert_eq!(with_origins(&pod, &["null"]).await, 403);
    assert_eq!(
        backends[0].count("/refused/origin").await.unwrap(),
        0,
        "the proxy refused"
    );
}
