//! Prefixes, passwords and ACL users.

use wsc_testing::cluster::eventually;
use wsc_testing::redis::Redis;

use crate::{SOON, beside, connect};

const PASSWORD: &str = "a-secret-of-42-letters";

/// The rights of a user that serves the pool `chat` in `ns`, as docs/server.md gives them.
const RIGHTS: &str =
    "on resetkeys resetchannels &wsc:ns:chat:* -@all +hello +client|setinfo +subscribe +unsubscribe +publish";

#[tokio::test]
async fn two_prefixes_share_no_messages() {
    let redis = Redis::start().await.unwrap();
    let chat = beside(&redis, &[("WSC_REDIS_PREFIX", "wsc:ns:chat:")]).await;
    let game = beside(&redis, &[("WSC_REDIS_PREFIX", "wsc:ns:game:")]).await;
    let mut pairs = Vec::new();
    for server in [&chat, &game] {
        server.wait_ready(SOON).await.unwrap();
        pairs.push([connect(server, "/ws/r").await, connect(server, "/ws/r").await]);
    }
    for (pair, words) in pairs.iter().zip(["of chat", "of game"]) {
        pair[0].send_text(words).await.unwrap();
        pair[0].send_text("last").await.unwrap();
    }
    for (pair, words) in pairs.iter().zip(["of chat", "of game"]) {
        for client in pair {
            assert!(client.wait_received(2, SOON).await);
            assert_eq!(client.texts(), [words, "last"]);
        }
    }
}

#[tokio::test]
async fn a_password_given_apart_is_used() {
    let redis = Redis::start_with(&["--requirepass", PASSWORD]).await.unwrap();
    let server = beside(&redis, &[("WSC_REDIS_PASSWORD", PASSWORD)]).await;
    server.wait_ready(SOON).await.unwrap();
    assert!(!server.log().concat().contains(PASSWORD));
}

#[tokio::test]
async fn url_password_is_used_and_never_logged() {
    let redis = Redis::start_with(&["--requirepass", PASSWORD]).await.unwrap();
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}/0", redis.port());
    let server = beside(&redis, &[("WSC_REDIS_URL", url.as_str()), ("RUST_LOG", "debug")]).await;
    server.wait_ready(SOON).await.unwrap();
    assert!(!server.log().concat().contains(PASSWORD));
}

/// Makes a running Redis speak TLS on another port, which is returned.
async fn speak_tls(redis: &Redis) -> u16 {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/tls");
    let (certificate, key) = (format!("{folder}/server.pem"), format!("{folder}/server.key"));
    for port in redis.port() + 1.. {
        let (text, files) = (
            port.to_string(),
            [("tls-cert-file", &certificate), ("tls-key-file", &key)],
        );
        let mut set = vec!["CONFIG", "SET", "tls-auth-clients", "no", "tls-port", &text];
        set.extend(files.into_iter().flat_map(|(name, file)| [name, file.as_str()]));
        // A port that is taken is an error.
        if redis.cli(&set).await.is_ok() {
            return port;
        }
    }
    unreachable!("no port left");
}

#[tokio::test]
async fn rediss_needs_a_known_authority() {
    let redis = Redis::start().await.unwrap();
    let url = format!("rediss://localhost:{}", speak_tls(&redis).await);
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/tls/ca.pem");
    let trusting = [("WSC_REDIS_URL", url.as_str()), ("SSL_CERT_FILE", authority)];
    let server = beside(&redis, &trusting).await;
    server.wait_ready(SOON).await.unwrap();
    let stranger = beside(&redis, &trusting[..1]).await;
    eventually(SOON, "the refusal is in the log", async || {
        Ok(stranger.log().concat().contains("UnknownIssuer").then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(stranger.control("/readyz").await.unwrap().status, 503);
}

#[tokio::test]
async fn user_with_least_rights_is_enough() {
    let redis = Redis::start().await.unwrap();
    let password = format!(">{PASSWORD}");
    let mut rule = vec!["ACL", "SETUSER", "pod", password.as_str()];
    rule.extend(RIGHTS.split(' '));
    assert_eq!(redis.cli(&rule).await.unwrap(), "OK");
    let variables = [("WSC_REDIS_USERNAME", "pod"), ("WSC_REDIS_PASSWORD", PASSWORD)];
    let good = beside(
        &redis,
        &[&variables[..], &[("WSC_REDIS_PREFIX", "wsc:ns:chat:")]].concat(),
    )
    .await;
    good.wait_ready(SOON).await.unwrap();
    let (sender, receiver) = (connect(&good, "/ws/r").await, connect(&good, "/ws/r").await);
    sender.send_text("hello").await.unwrap();
    assert!(receiver.wait_received(1, SOON).await);
    // The same user has no rights on the channels of another pool, and the log says what is
    // missing.
    let other = beside(
        &redis,
        &[&variables[..], &[("WSC_REDIS_PREFIX", "wsc:ns:game:")]].concat(),
    )
    .await;
    eventually(SOON, "the refusal is in the log", async || {
        Ok(other.log().concat().contains("channel").then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(other.control("/readyz").await.unwrap().status, 503);
}

#[tokio::test]
async fn wrong_password_is_logged_until_corrected() {
    let redis = Redis::start_with(&["--requirepass", "another"]).await.unwrap();
    let mut server = beside(&redis, &[("WSC_REDIS_PASSWORD", PASSWORD)]).await;
    let line = eventually(SOON, "the refusal is in the log", async || {
        let log = server.log();
        Ok(log.into_iter().find(|line| line.contains("WRONGPASS")))
    })
    .await
    .unwrap();
    assert!(
        line.contains("WARN") && line.contains(&format!("127.0.0.1:{}", redis.port())),
        "{line}"
    );
    assert!(!server.log().concat().contains(PASSWORD));
    assert_eq!(server.control("/readyz").await.unwrap().status, 503);
    assert_eq!(server.control("/livez").await.unwrap().status, 200);
    assert!(server.is_running().unwrap());
    let right = [
        "-a",
        "another",
        "--no-auth-warning",
        "CONFIG",
        "SET",
        "requirepass",
        PASSWORD,
    ];
    redis.cli(&right).await.unwrap();
    server.wait_ready(SOON).await.unwrap();
    // One refusal is one line, however often it was met.
    let attempts = server
        .metric("wsc_server_broker_connect_attempts_total")
        .await
        .unwrap();
    assert!(attempts > 1, "{attempts}");
    let lines = server.log().iter().filter(|l| l.contains("WRONGPASS")).count();
    assert_eq!(lines, 1, "{:?}", server.log());
}
