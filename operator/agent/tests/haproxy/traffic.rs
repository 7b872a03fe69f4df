//! Where clients land: full, dead and wrong servers, and the way back by a cookie.

use std::collections::BTreeMap;

use anyhow::Result;
use wsc_haproxy::Server;
use wsc_testing::client::{Client, Refused};
use wsc_testing::cluster::eventually;
use wsc_testing::haproxy::{PodOptions, ProxyPod};

use crate::pool::{Backend, WAIT, answers, come_back, connect, given, pool, ready};

fn proxy(name: &str) -> PodOptions {
    PodOptions {
        name: name.to_owned(),
        ..PodOptions::default()
    }
}

/// The column `status` of this server.
async fn check_of(pod: &ProxyPod, backend: &Backend) -> Result<String> {
    let text = pod.runtime("show stat ws_pool 4 -1").await?;
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let columns = lines.next().unwrap_or_default();
    let status = columns
        .iter()
        .position(|column| *column == "status")
        .unwrap_or_default();
    let line = lines.find(|line| line.get(1) == Some(&backend.name()));
    Ok(line
        .and_then(|line| line.get(status).map(ToString::to_string))
        .unwrap_or_default())
}

/// Waits until the check of each of these servers says so.
async fn checks_say(pod: &ProxyPod, backends: &[Backend], word: &str) -> Result<()> {
    for backend in backends {
        eventually(WAIT, &format!("{} is {word}", backend.name()), || async {
            Ok(check_of(pod, backend).await?.starts_with(word).then_some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn cookie_returns_a_client_to_its_server() {
    let backends = pool(3).await.unwrap();
    let one = ProxyPod::start(proxy("chat-proxy-a"), &ready(&backends))
        .await
        .unwrap();
    let other = ProxyPod::start(proxy("chat-proxy-b"), &ready(&backends))
        .await
        .unwrap();
    let mut holders = BTreeMap::new();
    while holders.len() < backends.len() {
        let client = connect(&one).await.unwrap();
        let cookie = given(&client).expect("a new client gets a cookie");
        holders.insert(cookie, client);
    }
    drop(holders);
    for backend in &backends {
        eventually(WAIT, "everybody has left", || async {
            Ok((backend.count("/connections").await? == 0).then_some(()))
        })
        .await
        .unwrap();
        let mut clients = Vec::new();
        for round in 1..=7 {
            // In every proxy the same: a client may come back through another one.
            let pod = if round % 2 == 0 { &one } else { &other };
            let client = come_back(pod, backend).await.unwrap();
            assert_eq!(given(&client), None);
            assert_eq!(backend.count("/connections").await.unwrap(), round);
            clients.push(client);
        }
    }
}

#[tokio::test]
async fn a_full_server_leaves_rotation() {
    let mut backends = Vec::new();
    for (name, room) in [("chat-0", 20), ("chat-1", 20), ("chat-2", 1_000)] {
        backends.push(Backend::start(name, room).await.unwrap());
    }
    let first = ProxyPod::start(proxy("chat-proxy-a"), &ready(&backends[..2]))
        .await
        .unwrap();
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..40 {
        clients.push(connect(&first).await.unwrap());
    }
    for backend in &backends[..2] {
        assert_eq!(backend.count("/connections").await.unwrap(), 20);
    }

    // To a fresh proxy the full ones look emptiest: it has nobody on them.
    let second = ProxyPod::start(proxy("chat-proxy-b"), &ready(&backends))
        .await
        .unwrap();
    checks_say(&second, &backends[..2], "NOLB").await.unwrap();
    let refused_before = refused(&backends).await.unwrap();
    for number in 0..200 {
        let client = connect(&second)
            .await
            .unwrap_or_else(|refused| panic!("handshake {number}: {refused}"));
        assert_eq!(given(&client), Some(backends[2].cookie()));
        if number % 10 == 0 {
            clients.push(client);
        }
    }
    assert_eq!(
        refused(&backends).await.unwrap(),
        refused_before,
        "no handshake was tried in vain"
    );
    for client in &clients {
        assert!(answers(client, "nobody was cut").await);
    }

    // A cookie leads to a full server all the same; its 503 moves the client on.
    let moved = come_back(&second, &backends[0]).await.unwrap();
    assert_eq!(given(&moved), Some(backends[2].cookie()));
    drop(clients);
    checks_say(&second, &backends, "UP").await.unwrap();
    assert_eq!(given(&come_back(&second, &backends[0]).await.unwrap()), None);
}

/// Handshakes that these servers refused because they were full.
async fn refused(backends: &[Backend]) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    for backend in backends {
        all.push(backend.count("/refused/full").await?);
    }
    Ok(all)
}

#[tokio::test]
async fn full_pool_answers_with_retry_after() {
    let backends = [
        Backend::start("chat-0", 2).await.unwrap(),
        Backend::start("chat-1", 2).await.unwrap(),
    ];
    let pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(connect(&pod).await.unwrap());
    }
    for word in ["before the check", "after the check"] {
        let options = wsc_testing::client::Options::new(pod.url());
        let Err(Refused::Status { status, headers, .. }) = Client::connect(&options).await else {
            panic!("{word}: there is no room");
        };
        assert_eq!(status, 503, "{word}");
        let seconds: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{word}: {seconds}");
        checks_say(&pod, &backends, "NOLB").await.unwrap();
    }
    for client in &clients {
        assert!(answers(client, "nobody was cut").await);
    }
    clients.truncate(2);
    eventually(WAIT, "room again", || async { Ok(connect(&pod).await.ok()) })
        .await
        .unwrap();
}

#[tokio::test]
async fn dead_server_is_avoided_and_found_down() {
    let mut backends = pool(3).await.unwrap();
    let pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let lost = come_back(&pod, &backends[0]).await.unwrap();
    let stays = come_back(&pod, &backends[1]).await.unwrap();
    backends[0].kill().await.unwrap();
    lost.wait_end(WAIT).await.expect("its own clients are cut");
    for _ in 0..5 {
        let moved = come_back(&pod, &backends[0])
            .await
            .expect("the client does not notice");
        assert!(given(&moved).is_some_and(|cookie| cookie != backends[0].cookie()));
    }
    pod.wait("a server that is down", |status| {
        status.server("chat-0").is_some_and(|server| !server.up)
    })
    .await
    .unwrap();
    let status = pod.status().await.unwrap();
    assert!(status.synced, "a dead pod is no difference to what is wanted");
    assert!(answers(&stays, "hello").await);
}

#[tokio::test]
async fn reused_address_gets_no_client() {
    let backends = pool(2).await.unwrap();
    let stolen = Server {
        name: "chat-9".to_owned(),
        cookie: "99".to_owned(),
        ..backends[0].ready()
    };
    let pod = ProxyPod::start(PodOptions::default(), &[stolen, backends[1].ready()])
        .await
        .unwrap();
    for _ in 0..5 {
        assert_eq!(given(&connect(&pod).await.unwrap()), Some(backends[1].cookie()));
    }
    pod.wait("a server that is down", |status| {
        status.server("chat-9").is_some_and(|server| !server.up)
    })
    .await
    .unwrap();
    assert_eq!(backends[0].count("/accepted_total").await.unwrap(), 0);
}
