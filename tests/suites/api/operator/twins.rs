//! The watch of pods stalls while pods are created: no other pods are created in their place.

use std::time::{Duration, Instant};

use anyhow::bail;
use http::Method;
use serde_json::json;
use wsc_testing::cluster::eventually;
use wsc_testing::faults::{Gate, HttpProxy, Upstream, Verdict};

use crate::support::environment::{READY, TestEnv};
use crate::support::operator;
use crate::support::watcher::Pods;

const STALL: Duration = Duration::from_secs(10);

#[tokio::test]
async fn stalled_watch_creates_no_twin() {
    let env = TestEnv::new("twins").await;
    let gate = Gate::default();
    let watched = gate.clone();
    let pods = format!("/api/v1/namespaces/{}/pods?", env.namespace());
    let verdict = move |call: &wsc_testing::faults::Call| {
        let stalls =
            call.method == Method::GET && call.path.starts_with(&pods) && call.path.contains("watch=true");
        if stalls {
            Verdict::Through(watched.clone())
        } else {
            Verdict::Pass
        }
    };
    let upstream = Upstream::Kube(env.identity.client().await.unwrap());
    let proxy = HttpProxy::start(upstream, verdict).await.unwrap();
    let kubeconfig = env.identity.through(&proxy.url()).unwrap();
    let _operator = operator::start(&env.cluster, env.namespace(), env.namespace(), &kubeconfig, "").unwrap();
    let spec = json!({
        "scaling": {"minReplicas": 2, "maxReplicas": 20, "buffer": 1},
        "server": {"maxConnections": 100},
        "proxy": {"replicas": 1},
    });
    env.create("chat", &spec).await.unwrap();
    env.settled("chat").await.unwrap();
    let seen = Pods::watch(&env.cluster, env.namespace());

    // 400 connections are 6 pods with 75 of 100 each, and one is spare.
    gate.close();
    let closed = Instant::now();
    env.pods
        .each(|_, server| (server.connections, server.capacity) = (200, 100));
    eventually(
        READY,
        "the pool grows, and for 10 s no event reports it",
        || async {
            let (most, ever) = (seen.most(), seen.ever());
            if most <= 7 && ever <= 7 {
                return Ok((ever == 7 && closed.elapsed() >= STALL).then_some(()));
            }
            bail!("{most} pods at once, {ever} in all, for 7 wanted")
        },
    )
    .await
    .unwrap();
    let chat = env.get("chat").await.unwrap();
    assert_eq!(chat["status"]["replicas"], 2, "the watch was not stalled");

    gate.open();
    let chat = env
        .until("chat", "all are in rotation", |chat| {
            chat["status"]["replicas"] == 7 && chat["status"]["startingReplicas"] == 0
        })
        .await
        .unwrap();
    let chat = env
        .settled("chat")
        .await
        .map(|settled| (settled, chat))
        .unwrap()
        .0;
    assert_eq!(chat["status"]["nextSerial"], 7);
    assert_eq!((seen.most(), seen.ever()), (7, 7), "pods at once, pods in all");
    env.judge();
}
