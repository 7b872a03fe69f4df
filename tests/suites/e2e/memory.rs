//! A pod that runs short of memory, by its cgroup, refuses new clients and keeps the connected
//! ones.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, stream};
use wsc_contract::labels::Component;
use wsc_testing::client::{Client, Options, Refused};
use wsc_testing::cluster::eventually;
use wsc_testing::sockets::allow_files;

use crate::environment::{PATIENCE, address, restarts, with_env};

/// The program needs a third of the limit for itself, and a client about 5 KiB, most of it the
/// kernel's.
const SPEC: &str = "
scaling: {minReplicas: 1, maxReplicas: 1}
server: {port: 8000, maxConnections: 15000, resources: {requests: {cpu: 10m}, limits: {memory: 32Mi}}}
proxy: {replicas: 1}
";
/// More than fit.
const MANY: usize = 12_000;
/// Refused handshakes, by this reason.
const REFUSED: &str = "wsc_server_refused_total{reason=\"memory\"} ";
/// Handshakes at the same time.
const HANDSHAKES: usize = 16;
/// The server looks at its memory several times a second, HAProxy at the server once in two.
const NOTICED: Duration = Duration::from_secs(30);

/// The status, if it is no WebSocket.
async fn knock(url: &str) -> Result<Result<Client, u16>> {
    match Client::connect(&Options::new(url)).await {
        Ok(client) => Ok(Ok(client)),
        Err(Refused::Status { status, .. }) => Ok(Err(status.as_u16())),
        Err(error @ Refused::Network(_)) => bail!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_short_of_memory_rejects_clients() -> Result<()> {
    allow_files()?;
    with_env("memory", async |env| {
        env.apply("chat", SPEC).await?;
        let endpoint = env.ready("chat").await?;
        let neighbour = knock(&endpoint).await?.ok().context("refused at first")?;
        let pods = env.pods("chat", Component::Server).await?;
        let pod = pods.values().next().context("no pod")?;
        let direct = format!("ws://{}:8000/ws/many", address(pod)?);

        let knocks = stream::iter(0..MANY).map(|_| knock(&direct));
        let mut knocks = knocks.buffer_unordered(HANDSHAKES);
        let mut many = Vec::new();
        let status = loop {
            match knocks.next().await.context("all of them fit")?? {
                Ok(client) => many.push(client),
                Err(status) => break status,
            }
        };
        drop(knocks);
        ensure!(status == 503, "{status} after {} clients", many.len());
        let page = env.server_metrics(pod).await?;
        let refused = page.lines().find_map(|line| line.strip_prefix(REFUSED));
        ensure!(
            refused.is_some_and(|count| count != "0"),
            "for something else: {page}"
        );
        // Nor through HAProxy.
        eventually(NOTICED, "no client gets through", async || {
            Ok((knock(&endpoint).await?.err() == Some(503)).then_some(()))
        })
        .await?;
        neighbour.send_text("well").await?;
        ensure!(
            neighbour.wait_received(1, NOTICED).await,
            "{:?}",
            neighbour.ended()
        );
        let dropped = many.iter().filter(|client| client.ended().is_some()).count();
        ensure!(dropped == 0, "{dropped} of {} were dropped", many.len());

        drop(many);
        eventually(PATIENCE, "a client gets through again", async || {
            Ok(knock(&endpoint).await?.ok())
        })
        .await?;
        ensure!(neighbour.ended().is_none(), "{:?}", neighbour.ended());
        let pods = env.pods("chat", Component::Server).await?;
        let restarts: Vec<_> = pods.values().map(restarts).collect();
        ensure!(restarts == [0], "the kernel ended it: {restarts:?}");
        Ok(())
    })
    .await
}
