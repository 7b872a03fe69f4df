//! Redis carries broadcasts: it may die, be the user's own, and be shared.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use wsc_contract::labels::Component;
use wsc_testing::cluster::{Images, eventually, processes};

use crate::crowd::Crowd;
use crate::stage::{PATIENCE, play, uid};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_drops_nobody_and_messages_flow_again() -> Result<()> {
    play("rediskill", async |stage| {
        stage
            .apply("chat", "scaling: {minReplicas: 2, maxReplicas: 2}")
            .await?;
        let endpoint = stage.ready("chat").await?;
        let mut crowd = Crowd::new(&endpoint, "lobby");
        crowd.join(20).await?;
        crowd.hear(0, "before").await?;
        let redis: Pod = stage
            .pods("chat", Component::Redis)
            .await?
            .into_values()
            .next()
            .context("no Redis pod")?;
        let running = processes::of_pod(uid(&redis));
        processes::kill(running.first().context("Redis has no process")?)?;
        eventually(PATIENCE, "the servers have Redis again", || async {
            let restarted = stage.pods("chat", Component::Redis).await?.into_values().next();
            let again = restarted
                .and_then(|pod| {
                    pod.status?
                        .container_statuses?
                        .first()
                        .map(|container| container.restart_count)
                })
                .unwrap_or_default();
            let mut up = again > 0;
            for pod in stage.pods("chat", Component::Server).await?.values() {
                up &= stage.stats(pod).await?["broker"]["up"] == true;
            }
            Ok(up.then_some(()))
        })
        .await?;
        crowd.hear(1, "after").await?;
        crowd.nobody_left()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_on_one_external_redis_hear_nothing_of_each_other() -> Result<()> {
    play("external", async |stage| {
        stage.apply_text(&own_redis(&Images::read()?.redis)).await?;
        stage
            .kubectl(&["rollout", "status", "deployment/own", "--timeout=150s"])
            .await?;
        for name in ["chat", "game"] {
            let spec = "
scaling: {minReplicas: 2, maxReplicas: 2}
proxy: {replicas: 1}
redis: {external: {urlSecretRef: {name: own, key: url}}}
";
            stage.apply(name, spec).await?;
        }
        let (chat, game) = (stage.ready("chat").await?, stage.ready("game").await?);
        let (mut chats, mut games) = (Crowd::new(&chat, "lobby"), Crowd::new(&game, "lobby"));
        chats.join(10).await?;
        games.join(10).await?;
        chats.hear(0, "in chat").await?;
        games.hear(0, "in game").await?;
        for (crowd, own) in [(&chats, "in chat"), (&games, "in game")] {
            for client in &crowd.clients {
                ensure!(
                    client.texts() == [own],
                    "a stranger was heard: {:?}",
                    client.texts()
                );
            }
        }
        let pods = stage.pods("chat", Component::Redis).await?;
        ensure!(
            pods.is_empty(),
            "an external Redis needs no managed one: {:?}",
            pods.keys()
        );
        Ok(())
    })
    .await
}

/// A Redis with a password, as a user would have it.
fn own_redis(image: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: own}}
stringData: {{url: "redis://:hush@own:6379/3", password: hush}}
---
apiVersion: v1
kind: Service
metadata: {{name: own}}
spec: {{selector: {{app: own}}, ports: [{{port: 6379}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: own}}
spec:
  selector: {{matchLabels: {{app: own}}}}
  template:
    metadata: {{labels: {{app: own}}}}
    spec:
      securityContext: {{runAsNonRoot: true, runAsUser: 999, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
        - name: redis
          image: {image}
          imagePullPolicy: Never
          args: [--save, "", --requirepass, $(PASSWORD)]
          env: [{{name: PASSWORD, valueFrom: {{secretKeyRef: {{name: own, key: password}}}}}}]
          readinessProbe: {{tcpSocket: {{port: 6379}}, periodSeconds: 1}}
          securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"#
    )
}
