//! Redis carries broadcasts: it may die, be the user's own, and be shared.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use wsc_contract::labels::Component;
use wsc_testing::cluster::{Images, eventually, processes};

use crate::environment::{PATIENCE, uid, with_env};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_flow_again_after_redis_was_killed() -> Result<()> {
    with_env("rediskill", async |env| {
        env.apply("chat", "scaling: {minReplicas: 2, maxReplicas: 2}")
            .await?;
        let endpoint = env.ready("chat").await?;
        let mut clients = env.clients("chat", &endpoint);
        clients.connect(20).await?;
        clients.broadcast(0).await?;
        let redis: Pod = env
            .pods("chat", Component::Redis)
            .await?
            .into_values()
            .next()
            .context("no Redis pod")?;
        let running = processes::of_pod(uid(&redis));
        processes::kill(running.first().context("Redis has no process")?)?;
        eventually(PATIENCE, "the servers have Redis again", || async {
            let restarted = env.pods("chat", Component::Redis).await?.into_values().next();
            let again = restarted
                .and_then(|pod| {
                    pod.status?
                        .container_statuses?
                        .first()
                        .map(|container| container.restart_count)
                })
                .unwrap_or_default();
            let mut up = again > 0;
            for pod in env.pods("chat", Component::Server).await?.values() {
                up &= env.stats(pod).await?["broker"]["up"] == true;
            }
            Ok(up.then_some(()))
        })
        .await?;
        clients.broadcast(1).await?;
        clients.verify_unmoved(0)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_share_an_external_redis_in_isolation() -> Result<()> {
    with_env("external", async |env| {
        env.apply_text(&own_redis("own", &Images::read()?.redis)).await?;
        env.kubectl(&["rollout", "status", "deployment/own", "--timeout=150s"])
            .await?;
        for name in ["chat", "game"] {
            let spec = "
scaling: {minReplicas: 2, maxReplicas: 2}
proxy: {replicas: 1}
redis: {external: {urlSecretRef: {name: own, key: url}}}
";
            env.apply(name, spec).await?;
        }
        let (chat, game) = (env.ready("chat").await?, env.ready("game").await?);
        let (mut chats, mut games) = (env.clients("chat", &chat), env.clients("game", &game));
        for clients in [&mut chats, &mut games] {
            clients.connect(10).await?;
        }
        for clients in [&chats, &games] {
            clients.broadcast(0).await?;
        }
        for clients in [&chats, &games] {
            for held in clients.held() {
                let texts = held.client.texts();
                ensure!(texts.len() == 1, "messages of both clusters: {texts:?}");
            }
            clients.verify_unmoved(0)?;
        }
        let pods = env.pods("chat", Component::Redis).await?;
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
pub(crate) fn own_redis(name: &str, image: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: {name}}}
stringData: {{url: "redis://:hush@{name}:6379/3", password: hush}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 6379}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      securityContext: {{runAsNonRoot: true, runAsUser: 999, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
        - name: redis
          image: {image}
          imagePullPolicy: Never
          args: [--save, "", --requirepass, $(PASSWORD)]
          env: [{{name: PASSWORD, valueFrom: {{secretKeyRef: {{name: {name}, key: password}}}}}}]
          readinessProbe: {{tcpSocket: {{port: 6379}}, periodSeconds: 1}}
          securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"#
    )
}
