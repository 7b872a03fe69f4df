//! The control port: cordon and shed, as the operator uses them.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use wsc_testing::client::{Client, EndKind, Options};
use wsc_testing::http1;
use wsc_testing::server::Server;

use crate::{SOON, alone, connect, crowd, end_of, ended, refusal};

/// Requests a shed; the response has to be the stats.
async fn shed(server: &Server, total: u64, per_second: f64) -> Value {
    let boot_id = server.stats().await.unwrap()["boot_id"].clone();
    let body = json!({"boot_id": boot_id, "total": total, "per_second": per_second, "via": null});
    let answer = server.ask(Method::PUT, "/shed", &body.to_string()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let stats = answer.json().unwrap();
    assert_eq!(stats["shed_target"], total);
    stats
}

async fn wait_shed(server: &Server, total: u64) -> Value {
    let what = format!("shed_total {total}");
    server
        .wait_stats(SOON, &what, |s| s["shed_total"] == total)
        .await
        .unwrap()
}

/// Waits until these clients received a request to reconnect, with a delay within the jitter.
async fn all_moved(clients: &[Client], word: &str, jitter_ms: u64) -> Vec<u64> {
    let mut hints = Vec::new();
    for client in clients {
        let end = end_of(client).await;
        assert_eq!((end.kind, end.code), (EndKind::Asked, Some(1012)), "{end}");
        let hint = end.retry_ms().expect("a hint");
        assert_eq!(end.reason, format!("{word};retry={hint}"));
        assert!(hint <= jitter_ms, "{end}");
        hints.push(hint);
    }
    hints
}

#[tokio::test]
async fn cordon_rejects_new_and_keeps_connected() {
    let server = alone(&[]).await;
    let client = connect(&server, "/ws").await;
    for _ in 0..2 {
        let answer = server.ask(Method::PUT, "/cordon", "").await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), &answer.json().unwrap()["cordoned"]),
            (200, &true.into())
        );
        let (code, headers, body) = refusal(&server, "/ws").await;
        assert_eq!((code, &body["error"]), (503, &"draining".into()));
        assert!(headers.contains_key("retry-after"), "{headers:?}");
        assert_eq!(http1::get(server.port(), "/wsc/lb").await.unwrap().status, 404);
        assert_eq!(
            server.control("/readyz").await.unwrap().status,
            200,
            "a cordon is no lack of readiness"
        );
    }
    client.send_text("still here").await.unwrap();
    assert!(client.wait_received(1, SOON).await);
    let answer = server.ask(Method::DELETE, "/cordon", "").await.unwrap();
    let stats = answer.json().unwrap();
    assert_eq!(
        (&stats["cordoned"], &stats["refused"]["draining"]),
        (&false.into(), &2.into())
    );
    assert_eq!(http1::get(server.port(), "/wsc/lb").await.unwrap().status, 200);
    connect(&server, "/ws").await;
    assert_eq!(client.ended(), None);
}

#[tokio::test]
async fn sheds_are_cumulative_and_repeats_change_nothing() {
    let server = alone(&[("WSC_CLOSE_JITTER_SECONDS", "7")]).await;
    let clients = crowd(&server, "/ws", 30).await;
    let answer = shed(&server, 8, 100.0).await;
    assert_eq!(
        (&answer["connections"], &answer["cordoned"]),
        (&30.into(), &false.into())
    );
    wait_shed(&server, 8).await;
    // The oldest go first.
    let mut hints = all_moved(&clients[..8], "shed", 7000).await;
    for _ in 0..3 {
        assert_eq!(shed(&server, 8, 100.0).await["shed_total"], 8);
    }
    shed(&server, 20, 100.0).await;
    wait_shed(&server, 20).await;
    hints.extend(all_moved(&clients[..20], "shed", 7000).await);
    let stats = server.wait_connections(10, SOON).await.unwrap();
    assert_eq!(
        ended(&clients).len(),
        20,
        "as many as the server says, and no repeat closed one more"
    );
    assert_eq!(
        (&stats["closed_total"], &stats["accepted_total"]),
        (&20.into(), &30.into())
    );
    hints.sort_unstable();
    hints.dedup();
    assert!(hints.len() > 10, "the hints are spread: {hints:?}");
    for (name, value) in [
        ("shed_total", 20),
        ("closed_total{reason=\"reconnect\"}", 20),
        ("drained_total", 0),
    ] {
        assert_eq!(
            server.metric(&format!("wsc_server_{name}")).await.unwrap(),
            value,
            "{name}"
        );
    }
}

#[tokio::test]
async fn newest_notice_of_shed_replaces_the_flags() {
    let server = alone(&[("WSC_CLOSE_JITTER_SECONDS", "0")]).await;
    let clients = crowd(&server, "/ws", 3).await;
    let boot_id = server.stats().await.unwrap()["boot_id"].clone();
    let request = async |total: u64, notice: Value| {
        let body = json!({"boot_id": boot_id, "total": total, "per_second": 100.0, "notice": notice});
        server.ask(Method::PUT, "/shed", &body.to_string()).await.unwrap()
    };
    for (notice, field) in [
        (
            json!({"close_code": 1006, "jitter_seconds": 0}),
            "notice.close_code",
        ),
        (
            json!({"close_code": 1012, "jitter_seconds": 3601}),
            "notice.jitter_seconds",
        ),
        (json!({"close_code": 1012}), "jitter_seconds"),
    ] {
        let answer = request(3, notice).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.contains(field), "{}", answer.body);
    }
    let code = async |client: usize| end_of(&clients[client]).await.code;
    request(1, Value::Null).await;
    assert_eq!(code(0).await, Some(1012));
    request(2, json!({"close_code": 4001, "jitter_seconds": 0})).await;
    assert_eq!(code(1).await, Some(4001));
    server.signal(Signal::TERM).unwrap();
    assert_eq!(code(2).await, Some(4001), "a termination has it too");
}

#[tokio::test]
async fn shed_rate_is_clamped_by_the_server() {
    for (clamp, asked) in [("1000", 5.0), ("5", 1000.0)] {
        let server = alone(&[("WSC_MAX_SHEDS_PER_SECOND", clamp)]).await;
        let clients = crowd(&server, "/ws", 8).await;
        shed(&server, 6, asked).await;
        all_moved(&clients[..6], "shed", 30_000).await;
        let times: Vec<_> = ended(&clients).iter().map(|e| e.at).collect();
        assert_eq!(times.len(), 6);
        let took = times[5] - times[0];
        // Five intervals of 200 ms; less only by what the first close was seen late.
        assert!(
            took >= Duration::from_millis(800),
            "6 closes at 5 a second took {took:?}"
        );
    }
}

#[tokio::test]
async fn a_lower_total_cancels() {
    let server = alone(&[]).await;
    let clients = crowd(&server, "/ws", 20).await;
    shed(&server, 20, 2.0).await;
    end_of(&clients[0]).await;
    let stats = shed(&server, 0, 2.0).await;
    let done = stats["shed_total"].as_u64().unwrap();
    assert!((1..20).contains(&done), "{done}");
    // One more, fast: if anything were left of the first request, more would go with it.
    shed(&server, done + 1, 100.0).await;
    wait_shed(&server, done + 1).await;
    let left = 20 - done - 1;
    server.wait_connections(left, SOON).await.unwrap();
    let end = usize::try_from(done).unwrap() + 1;
    all_moved(&clients[..end], "shed", 30_000).await;
    assert_eq!(
        (
            ended(&clients).len(),
            wait_shed(&server, done + 1).await["connections"].as_u64()
        ),
        (end, Some(left))
    );
}

#[tokio::test]
async fn a_faster_rate_takes_effect_at_once() {
    let server = alone(&[]).await;
    let clients = crowd(&server, "/ws", 4).await;
    // A tiny rate, then one without a close in millions of years: neither may stop later requests.
    for (total, slow) in [(2, 0.001), (4, f64::MIN_POSITIVE)] {
        shed(&server, total, slow).await;
        shed(&server, total, 100.0).await;
        wait_shed(&server, total).await;
    }
    all_moved(&clients, "shed", 30_000).await;
}

#[tokio::test]
async fn shed_closes_only_the_named_proxy() {
    let server = alone(&[]).await;
    let mut clients = BTreeMap::new();
    for (name, count) in [("proxy-a", 3), ("proxy-b", 3), ("", 1)] {
        for _ in 0..count {
            let mut options = Options::new(server.url("/ws"));
            if !name.is_empty() {
                options = options.header("x-wsc-via", name);
            }
            let client = Client::connect(&options).await.unwrap();
            clients.entry(name).or_insert_with(Vec::new).push(client);
        }
    }
    // A connection can be closed just after its upgrade.
    let via = json!({"proxy-a": 3, "proxy-b": 3, "direct": 1});
    let known = server.wait_stats(SOON, "every proxy is known", |stats| stats["via"] == via);
    let stats = known.await.unwrap();
    let body = json!({"boot_id": stats["boot_id"], "total": 2, "per_second": 100, "via": "proxy-b"});
    let answer = server.ask(Method::PUT, "/shed", &body.to_string()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    all_moved(&clients["proxy-b"][..2], "shed", 30_000).await;
    let stats = server.wait_connections(5, SOON).await.unwrap();
    assert_eq!(stats["via"], json!({"proxy-a": 3, "proxy-b": 1, "direct": 1}));
    assert!(ended(&clients["proxy-a"]).is_empty() && ended(&clients[""]).is_empty());
}

#[tokio::test]
async fn foreign_boot_id_and_bad_numbers_fail() {
    let server = alone(&[]).await;
    let client = connect(&server, "/ws").await;
    let boot_id = server.stats().await.unwrap()["boot_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = |total: &str, rate: &str| {
        format!("{{\"boot_id\":\"{boot_id}\",\"total\":{total},\"per_second\":{rate}}}")
    };
    let stranger = json!({"boot_id": "0123456789abcdef", "total": 1, "per_second": 1.0}).to_string();
    let cases = [
        (409, stranger),
        (400, body("1", "0")),
        (400, body("1", "0.0")),
        (400, body("1", "-1")),
        (400, body("1", "1e999")),
        (400, body("1", "NaN")),
        (400, body("1", "null")),
        (400, body("1", "\"5\"")),
        (400, body("-1", "1")),
        (400, body("1.5", "1")),
        (400, body("18446744073709551616", "1")),
        (400, body("null", "1")),
        (400, format!("{{\"boot_id\":\"{boot_id}\",\"total\":1}}")),
        (400, json!({"total": 1, "per_second": 1.0}).to_string()),
        (400, "{".to_owned()),
        (400, String::new()),
        (413, " ".repeat(64 << 10)),
    ];
    for (status, body) in cases {
        let answer = server.ask(Method::PUT, "/shed", &body).await.unwrap();
        let start = &body[..body.len().min(80)];
        assert_eq!(answer.status.as_u16(), status, "{start}: {}", answer.body);
        let error = answer.json().unwrap();
        assert!(
            error["error"].is_string() && error["message"].is_string(),
            "{start}: {error}"
        );
    }
    let stats = server.stats().await.unwrap();
    assert_eq!(
        (&stats["shed_target"], &stats["shed_total"]),
        (&0.into(), &0.into())
    );
    assert_eq!(client.ended(), None);
}

#[tokio::test]
async fn control_port_serves_only_its_paths() {
    let server = alone(&[("POD_NAME", "chat-17")]).await;
    let stats = server.stats().await.unwrap();
    assert_eq!(
        (&stats["pod"], &stats["version"]),
        (&"chat-17".into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert_eq!(stats["broker"], json!({"kind": "memory", "up": true}));
    let expected =
        ["full", "draining", "wrong_pod", "origin", "bad_request"].map(|r| (r.to_owned(), json!(0)));
    assert_eq!(stats["refused"], Value::Object(expected.into_iter().collect()));
    let cases = [
        (Method::GET, "/livez", 200),
        (Method::GET, "/readyz", 200),
        (Method::GET, "/nowhere", 404),
        (Method::GET, "/ws", 404),
        (Method::GET, "/cordon", 405),
        (Method::POST, "/shed", 405),
        (Method::DELETE, "/stats", 405),
    ];
    for (method, path, status) in cases {
        let answer = server.ask(method.clone(), path, "").await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        assert!(
            status == 200 || answer.json().unwrap()["error"].is_string(),
            "{}",
            answer.body
        );
    }
    for path in ["/stats", "/cordon", "/shed", "/metrics", "/livez"] {
        let answer = http1::get(server.port(), path).await.unwrap();
        assert_eq!(answer.status, 404, "{path} is not on the port of the clients");
    }
    let page = server.control("/metrics").await.unwrap();
    assert!(
        page.header("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert!(page.body.ends_with("# EOF\n"), "{}", page.body);
}
