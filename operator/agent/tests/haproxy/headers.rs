//! What gets through to a server and what does not.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get as route;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use wsc_contract::agent::ServerState;
use wsc_haproxy::Server;
use wsc_testing::client::{Client, Options, Refused};
use wsc_testing::haproxy::{PodOptions, ProxyPod};
use wsc_testing::http1;

use crate::pool::{connect, given, pool, ready};

/// A server that records the headers of handshakes and answers 418.
pub(crate) struct Recorder {
    port: u16,
    heard: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Recorder {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new()
            .route("/wsc/lb", route(async || "ok"))
            .fallback(record)
            .with_state(Arc::clone(&heard));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { port, heard })
    }

    /// Its line in the published set.
    pub(crate) fn server(&self) -> Server {
        Server {
            name: "chat-0".to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
            port: self.port,
            cookie: "aa".to_owned(),
            state: ServerState::Ready,
        }
    }

    fn heard(&self) -> Vec<HeaderMap> {
        self.heard.lock().clone()
    }
}

async fn record(State(heard): State<Arc<Mutex<Vec<HeaderMap>>>>, request: Request) -> StatusCode {
    let headers = request.headers().clone();
    heard.lock().push(headers);
    StatusCode::IM_A_TEAPOT
}

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    let all = headers.get_all(name).iter();
    all.map(|value| value.to_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn forged_client_headers_are_removed() {
    let recorder = Recorder::start().await.unwrap();
    let pod = ProxyPod::start(PodOptions::default(), &[recorder.server()])
        .await
        .unwrap();
    let options = Options::new(pod.url())
        .cookie("other=1; wsc=aa")
        .header("x-wsc-via", "evil")
        .header("x-wsc-server", "evil")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-proto", "gopher")
        .header("forwarded", "for=6.6.6.6")
        .header("x-mine", "kept");
    let Err(Refused::Status { status, .. }) = Client::connect(&options).await else {
        panic!("the recorder refuses");
    };
    assert_eq!(status, StatusCode::IM_A_TEAPOT);
    let heard = recorder.heard();
    let [headers] = heard.as_slice() else {
        panic!("one request: {heard:?}");
    };
    for (name, expected) in [
        ("x-wsc-via", vec!["chat-proxy-0"]),
        ("x-wsc-server", vec!["chat-0"]),
        ("x-forwarded-for", vec!["127.0.0.1"]),
        ("x-forwarded-proto", vec!["http"]),
        ("forwarded", vec![]),
        ("cookie", vec!["other=1"]),
        ("x-mine", vec!["kept"]),
    ] {
        assert_eq!(values(headers, name), expected, "{name}");
    }
}

#[tokio::test]
async fn server_knows_the_proxy_of_a_client() {
    let backends = pool(1).await.unwrap();
    let pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let evil = Options::new(pod.url()).header("x-wsc-via", "evil");
    let clients = [
        connect(&pod).await.unwrap(),
        Client::connect(&evil).await.unwrap(),
    ];
    let stats = backends[0].stats().await.unwrap();
    assert_eq!(stats["via"], serde_json::json!({"chat-proxy-0": clients.len()}));
}

#[tokio::test]
async fn only_the_clients_path_is_open() {
    let backends = pool(1).await.unwrap();
    let pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let inside = http1::get(backends[0].port(), "/wsc/lb").await.unwrap();
    assert_eq!(inside.status, 200);
    for path in [
        "/wsc/lb",
        "/wsc/",
        "/wsc",
        "//wsc/lb",
        "/WSC/lb",
        "/wsc/lb?x=/ws",
        "/",
        "/wsx",
        "/w",
        "/stats",
        "/metrics",
        "/readyz",
        "/%77sc/lb",
        "/./wsc/lb",
        "/ws/../wsc/lb",
        "/ws/%2e%2e/wsc/lb",
        "/ws//../../wsc/lb",
        "http://127.0.0.1/wsc/lb",
    ] {
        let answer = http1::get(pod.port(), path).await.unwrap();
        assert!(answer.status == 404 || answer.status == 400, "{path}: {answer:?}");
    }
    let own = http1::get(pod.port(), "/ws").await.unwrap();
    assert_eq!(own.status, 426, "the server's own answer");
    let room = Options::new(format!("{}/lobby", pod.url()));
    Client::connect(&room).await.unwrap();
}

#[tokio::test]
async fn the_cookie_has_what_was_asked_for() {
    let backends = pool(1).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let attributes = |client: &Client| values(&client.opened().headers, "set-cookie").join("|");
    let client = connect(&pod).await.unwrap();
    let value = format!("wsc={}", backends[0].cookie());
    assert_eq!(
        attributes(&client),
        format!("{value}; path=/; HttpOnly; SameSite=Lax")
    );

    pod.change(|settings| {
        settings.sticky.max_age_seconds = 3600;
        settings.sticky.same_site = wsc_haproxy::SameSite::None;
    });
    let set = pod.publish(&ready(&backends)).unwrap();
    pod.synced(&set).await.unwrap();
    let client = connect(&pod).await.unwrap();
    let all = attributes(&client);
    for attribute in ["HttpOnly", "Secure", "SameSite=None", "Max-Age=3600"] {
        assert!(all.contains(attribute), "{all}");
    }
    // With an age the value carries its date, and is good as it was given.
    let given_back = client.opened().cookies().remove(0);
    let back = Client::connect(&Options::new(pod.url()).cookie(&given_back))
        .await
        .unwrap();
    assert_eq!(given(&back), None);
}
