//! A change of the template replaces every pod, and clients are moved within the budget.

use std::time::Duration;

use anyhow::{Result, ensure};
use wsc_contract::labels::{self, Component};
use wsc_testing::client::EndKind;
use wsc_testing::cluster::eventually;

use crate::environment::{PATIENCE, with_env};

const CLIENTS: usize = 300;
/// Moves a minute that the resource allows.
const BUDGET: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_template_moves_clients_within_budget() -> Result<()> {
    with_env("rollout", async |env| {
        let spec = format!(
            "
scaling: {{minReplicas: 2, maxReplicas: 4, buffer: 0}}
server: {{maxConnections: 400}}
drain: {{naturalSeconds: 0, deadlineSeconds: 600, notice: {{jitterSeconds: 5}}}}
disruption: {{movesPerMinute: {BUDGET}}}
"
        );
        env.apply("chat", &spec).await?;
        let endpoint = env.ready("chat").await?;
        let mut clients = env.clients("chat", &endpoint);
        clients.connect(CLIENTS).await?;
        clients.broadcast(0).await?;
        let old = env.pods("chat", Component::Server).await?;
        env.patch_spec(
            "chat",
            r#"{"server":{"env":[{"name":"COLOUR","value":"green"}]}}"#,
        )
        .await?;
        env.until("chat", "the new template runs everywhere", |wsc| {
            wsc.status.as_ref().is_some_and(|status| {
                status.observed_generation == wsc.metadata.generation.unwrap_or_default()
                    && status.updated_replicas == 2
                    && status.replicas == 2
                    && status.draining_replicas == 0
            })
        })
        .await?;
        let new = eventually(PATIENCE, "the old pods are gone", || async {
            let now = env.pods("chat", Component::Server).await?;
            Ok(now.keys().all(|name| !old.contains_key(name)).then_some(now))
        })
        .await?;
        let hashes = |pods: &std::collections::BTreeMap<String, k8s_openapi::api::core::v1::Pod>| {
            let labels = pods.values().filter_map(|pod| pod.metadata.labels.clone());
            labels
                .filter_map(|labels| labels.get(labels::TEMPLATE_HASH).cloned())
                .collect::<Vec<_>>()
        };
        ensure!(
            hashes(&new)[0] == hashes(&new)[1] && hashes(&new)[0] != hashes(&old)[0],
            "one new template"
        );

        // All clients were on old pods: each was asked to reconnect once, and none was dropped.
        clients.verify(0)?;
        ensure!(
            clients.ended(EndKind::Asked) == CLIENTS,
            "{} were asked",
            clients.ended(EndKind::Asked)
        );
        within_budget(&clients.recorder().record().moves())?;
        clients.reconnect().await?;
        clients.broadcast(0).await?;
        let numbers = clients.verify(0)?;
        ensure!(
            numbers.closes_asked == CLIENTS as u64,
            "each client was asked to reconnect once: {numbers:?}"
        );
        Ok(())
    })
    .await
}

/// In no window are there more closes than the budget of the window and one full bucket; a busy
/// machine may delay some into the next window.
fn within_budget(times: &[Duration]) -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(15);
    const BUCKET: Duration = Duration::from_secs(5);
    const SLACK: Duration = Duration::from_secs(2);
    let seconds = (WINDOW + BUCKET + SLACK).as_secs();
    let most = BUDGET * usize::try_from(seconds)? / 60;
    for (first, start) in times.iter().enumerate() {
        let inside = times[first..]
            .iter()
            .take_while(|at| at.saturating_sub(*start) < WINDOW)
            .count();
        ensure!(
            inside <= most,
            "{inside} closes in {WINDOW:?}, where the budget allows {most}"
        );
    }
    Ok(())
}

#[test]
fn a_burst_beyond_the_budget_is_found() {
    let even: Vec<Duration> = (0..300).map(|n| Duration::from_millis(n * 100)).collect();
    assert!(within_budget(&even).is_ok());
    let burst: Vec<Duration> = (0..300).map(|n| Duration::from_millis(n * 20)).collect();
    assert!(within_budget(&burst).is_err());
}
