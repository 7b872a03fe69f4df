//! The chart is installed, upgraded, removed and installed again, and the pools keep their clients.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use wsc_contract::labels::Component;

use crate::environment::{TestEnv, restarts, with_env};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_survive_operator_upgrade_and_removal() -> Result<()> {
    with_env("chart", async |env| {
        env.apply("chat", "scaling: {minReplicas: 2, maxReplicas: 4}")
            .await?;
        let endpoint = env.ready("chat").await?;
        let mut clients = env.clients("chat", &endpoint);
        clients.connect(40).await?;
        let before = processes(env).await?;

        env.install_operator(&["logFormat=text"]).await?;
        clients.broadcast(0).await?;

        env.uninstall_operator().await?;
        clients.broadcast(1).await?;
        // The pools serve new clients without an operator.
        clients.connect(5).await?;
        clients.broadcast(44).await?;
        ensure!(
            env.resource("chat").await?.status.is_some(),
            "the resource is still there"
        );

        env.install_operator(&[]).await?;
        let generation = r#"{"scaling":{"minReplicas":3}}"#;
        env.patch_spec("chat", generation).await?;
        env.until("chat", "the operator has taken over", |wsc| {
            wsc.status.as_ref().is_some_and(|status| status.replicas == 3)
        })
        .await?;
        clients.broadcast(2).await?;
        clients.verify_unmoved(0)?;
        let after = processes(env).await?;
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
async fn processes(env: &TestEnv) -> Result<BTreeMap<String, (String, i32)>> {
    let mut all = BTreeMap::new();
    for component in [Component::Server, Component::Proxy, Component::Redis] {
        for (name, pod) in env.pods("chat", component).await? {
            let restarts = restarts(&pod);
            all.insert(name, (pod.metadata.uid.unwrap_or_default(), restarts));
        }
    }
    Ok(all)
}
