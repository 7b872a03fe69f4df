//! The chart comes, changes, goes and comes back, and the pools do not notice.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use wsc_contract::labels::Component;

use crate::crowd::Crowd;
use crate::stage::{Stage, play, restarts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_comes_and_goes_and_nobody_notices() -> Result<()> {
    play("chart", async |stage| {
        stage
            .apply("chat", "scaling: {minReplicas: 2, maxReplicas: 4}")
            .await?;
        let endpoint = stage.ready("chat").await?;
        let mut crowd = Crowd::new(&endpoint, "lobby");
        crowd.join(40).await?;
        let before = processes(stage).await?;

        stage.install_operator(&["logFormat=text"]).await?;
        crowd.hear(0, "upgraded").await?;

        stage.uninstall_operator().await?;
        crowd.hear(1, "uninstalled").await?;
        // The pools serve new clients without an operator, and stickiness goes on.
        crowd.join(5).await?;
        crowd.hear(44, "new ones too").await?;
        ensure!(
            stage.resource("chat").await?.status.is_some(),
            "the resource is still there"
        );

        stage.install_operator(&[]).await?;
        let generation = r#"{"scaling":{"minReplicas":3}}"#;
        stage.patch_spec("chat", generation).await?;
        stage
            .until("chat", "the operator has taken over", |wsc| {
                wsc.status.as_ref().is_some_and(|status| status.replicas == 3)
            })
            .await?;
        crowd.hear(2, "taken over").await?;
        crowd.nobody_left()?;
        let after = processes(stage).await?;
        for (pod, restarts) in &before {
            ensure!(
                after.get(pod) == Some(restarts),
                "{pod} was replaced or restarted"
            );
        }
        Ok(())
    })
    .await
}

/// Uid and restarts of every pod of the cluster.
async fn processes(stage: &Stage) -> Result<BTreeMap<String, (String, i32)>> {
    let mut all = BTreeMap::new();
    for component in [Component::Server, Component::Proxy, Component::Redis] {
        for (name, pod) in stage.pods("chat", component).await? {
            let restarts = restarts(&pod);
            all.insert(name, (pod.metadata.uid.unwrap_or_default(), restarts));
        }
    }
    Ok(all)
}
