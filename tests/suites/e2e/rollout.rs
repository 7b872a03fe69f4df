//! A change of the template replaces every pod, and clients are moved within the budget.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wsc_contract::labels::{self, Component};
use wsc_testing::client::{Client, EndKind};
use wsc_testing::cluster::eventually;

use crate::crowd::Crowd;
use crate::stage::{PATIENCE, play};

const CLIENTS: usize = 300;
/// Moves a minute that the resource allows.
const BUDGET: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_template_moves_300_clients_within_the_budget() -> Result<()> {
    play("rollout", async |stage| {
        let spec = format!(
            "
scaling: {{minReplicas: 2, maxReplicas: 4, buffer: 0}}
server: {{maxConnections: 400}}
drain: {{naturalSeconds: 0, deadlineSeconds: 600, notice: {{jitterSeconds: 5}}}}
disruption: {{movesPerMinute: {BUDGET}}}
"
        );
        stage.apply("chat", &spec).await?;
        let endpoint = stage.ready("chat").await?;
        let mut crowd = Crowd::new(&endpoint, "lobby");
        crowd.join(CLIENTS).await?;
        crowd.hear(0, "before").await?;
        let old = stage.pods("chat", Component::Server).await?;
        stage
            .patch_spec(
                "chat",
                r#"{"server":{"env":[{"name":"COLOUR","value":"green"}]}}"#,
            )
            .await?;
        stage
            .until("chat", "the new template runs everywhere", |wsc| {
                wsc.status.as_ref().is_some_and(|status| {
                    status.observed_generation == wsc.metadata.generation.unwrap_or_default()
                        && status.updated_replicas == 2
                        && status.replicas == 2
                        && status.draining_replicas == 0
                })
            })
            .await?;
        let new = eventually(PATIENCE, "the old pods are gone", || async {
            let now = stage.pods("chat", Component::Server).await?;
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

        // Everybody was on an old pod, so everybody was asked once, and nobody was dropped.
        crowd.nobody_dropped()?;
        ensure!(
            crowd.ended(EndKind::Asked) == CLIENTS,
            "{} were asked",
            crowd.ended(EndKind::Asked)
        );
        let mut times: Vec<Instant> = crowd
            .clients
            .iter()
            .filter_map(Client::ended)
            .map(|end| end.at)
            .collect();
        times.sort();
        within_budget(&times)?;
        crowd.come_back().await?;
        crowd.hear(0, "after").await
    })
    .await
}

/// In no window are there more closes than the budget of the window and one full bucket; what the network and a busy machine bring
/// together a little is forgiven by the length of the window.
fn within_budget(times: &[Instant]) -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(15);
    const BUCKET: Duration = Duration::from_secs(5);
    const SLACK: Duration = Duration::from_secs(2);
    let seconds = (WINDOW + BUCKET + SLACK).as_secs();
    let most = BUDGET * usize::try_from(seconds)? / 60;
    for (first, start) in times.iter().enumerate() {
        let inside = times[first..]
            .iter()
            .take_while(|at| at.duration_since(*start) < WINDOW)
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
    let start = Instant::now();
    let even: Vec<Instant> = (0..300).map(|n| start + Duration::from_millis(n * 100)).collect();
    assert!(within_budget(&even).is_ok());
    let burst: Vec<Instant> = (0..300).map(|n| start + Duration::from_millis(n * 20)).collect();
    assert!(within_budget(&burst).is_err());
}
