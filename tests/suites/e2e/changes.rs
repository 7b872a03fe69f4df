//! Changes of a pool in use, with a new client every 100 ms and steady ones.

mod edits;
mod used;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wsc_contract::labels::Component;
use wsc_testing::arrivals::{Arrival, Arrivals};
use wsc_testing::client::Options;

use crate::environment::{uid, with_env};
use used::{STEADY, Used, no_retries};

/// From the patch to the last proxy that has it.
const SWITCH: Duration = Duration::from_secs(5);

const ALLOWED: &str = "https://a.example";
const ADDED: &str = "https://b.example";

fn spec() -> String {
    format!(
        "
scaling: {{minReplicas: 3, maxReplicas: 5, buffer: 0}}
server: {{maxConnections: 100}}
proxy: {{origins: ['{ALLOWED}']}}
"
    )
}

/// A patch and the statuses that every client gets from the switch on.
struct Change {
    patched: Instant,
    from_then: [u16; 4],
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_path_and_origins_move_no_client() -> Result<()> {
    with_env("changes", async |env| {
        env.apply("chat", &spec()).await?;
        let endpoint = env.ready("chat").await?;
        env.both_proxies("chat").await?;
        let mut clients = env.clients("chat", &endpoint);
        env.connect_through_both("chat", &mut clients).await?;
        clients
            .connect(STEADY.saturating_sub(clients.held().len()))
            .await?;
        let pods = env.pods("chat", Component::Server).await?;

        let base = endpoint.strip_suffix("/ws").context("the default path")?;
        let at = |path: &str| Options::new(format!("{base}{path}/visitors"));
        let arrivals = Arrivals::start(vec![
            at("/ws"),
            at("/chat"),
            at("/chat").origin(ALLOWED),
            at("/chat").origin(ADDED),
        ]);
        let mut changes = vec![Change {
            patched: Instant::now(),
            from_then: [101, 404, 404, 404],
        }];
        let origins = format!(r#"{{"proxy":{{"origins":["{ALLOWED}","{ADDED}"]}}}}"#);
        for (patch, from_then) in [
            (r#"{"server":{"path":"/chat"}}"#, [404, 101, 101, 403]),
            (&origins, [404, 101, 101, 101]),
        ] {
            tokio::time::sleep(SWITCH).await;
            let patched = Instant::now();
            env.patch_spec("chat", patch).await?;
            changes.push(Change { patched, from_then });
        }
        tokio::time::sleep(SWITCH * 2).await;
        for arrival in arrivals.end().await? {
            verify(&changes, &arrival)?;
        }

        clients.broadcast(0).await?;
        clients.verify_unmoved(0)?;
        let now = env.pods("chat", Component::Server).await?;
        ensure!(
            pods.values().map(uid).eq(now.values().map(uid)),
            "no pod was replaced"
        );
        for agent in env.agents("chat").await? {
            ensure!(agent["synced"] == true && agent["refusal"].is_null(), "{agent}");
        }
        no_retries(env, "chat").await?;
        let resource = env.resource("chat").await?;
        let status = resource.status.context("a status")?;
        ensure!(
            status.endpoint == Some(format!("{base}/chat")),
            "{:?}",
            status.endpoint
        );
        Ok(())
    })
    .await
}

/// Between a patch and its switch some proxies have it and others do not.
fn verify(changes: &[Change], arrival: &Arrival) -> Result<()> {
    let begun = changes.iter().rposition(|change| change.patched <= arrival.ended);
    let now = begun.context("an arrival before the first change")?;
    let is_switching = now > 0 && arrival.begun < changes[now].patched + SWITCH;
    let before = &changes[now.saturating_sub(1)].from_then;
    for (index, status) in arrival.statuses.iter().enumerate() {
        let after = changes[now].from_then[index];
        ensure!(
            *status == after || (is_switching && *status == before[index]),
            "client {index} got {status} instead of {after}: {arrival:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_port_refuses_no_client() -> Result<()> {
    with_env("port", async |env| {
        let mut pool = Used::start(env, "chat", &spec()).await?;
        pool.replace_all(r#"{"server":{"port":8081}}"#).await?;
        pool.end().await?.broadcast(0).await
    })
    .await
}
