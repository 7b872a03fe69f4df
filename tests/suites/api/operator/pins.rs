//! `status.pins`: a restart and a lost status replace no pod; other installed images replace the
//! pods within the budget.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use wsc_testing::cluster::eventually;

use crate::support::environment::{READY, TestEnv, uid};
use crate::support::path;

const CLIENTS_PER_POD: u64 = 30;
const PODS: u64 = 2;
/// `maxMovesPerSecond`, and the moves that a bucket holds after a pause.
const RATE: u64 = 2;
const BURST: u64 = 10;

fn spec() -> Value {
    json!({
        "scaling": {"minReplicas": PODS, "maxReplicas": 4, "buffer": 0},
        "drain": {"naturalSeconds": 0, "deadlineSeconds": 600},
        "disruption": {"movesPerMinute": 600, "maxMovesPerSecond": RATE, "maxConcurrentDrains": PODS},
        "proxy": {"replicas": 1},
    })
}

fn pins(tag: &str) -> Value {
    json!({
        "server": format!("wsc-server{tag}"), "proxy": format!("wsc-proxy{tag}"),
        "redis": format!("wsc-redis{tag}"), "template": 1,
    })
}

/// Uids of the server pods, and the generations of the Deployments.
async fn running(env: &TestEnv, chat: &Value) -> BTreeMap<String, String> {
    let children = env.children(chat).await.unwrap();
    let running = children
        .iter()
        .filter_map(|(child, object)| match child.split_once('/')? {
            ("Pod", _) => Some((child.clone(), uid(object))),
            ("Deployment", _) => Some((child.clone(), object["metadata"]["generation"].to_string())),
            _ => None,
        });
    running.collect()
}

/// Image of a server pod, or of the pods of a Deployment.
fn image<'a>(children: &'a BTreeMap<String, Value>, child: &str) -> &'a Value {
    let object = &children[child];
    let pod = object.pointer("/spec/template").unwrap_or(object);
    &pod["spec"]["containers"][0]["image"]
}

#[tokio::test]
async fn restart_and_lost_status_replace_no_pod() {
    let env = TestEnv::new("pins").await;
    let mut operator = env.operator();
    env.create("chat", &spec()).await.unwrap();
    let chat = env.settled("chat").await.unwrap();
    assert_eq!(chat["status"]["pins"], pins(""));
    let before = running(&env, &chat).await;
    assert_eq!(before.len(), 4, "two server pods, two Deployments: {before:?}");

    operator.kill().unwrap();
    let status = format!("{}/status", path(env.namespace(), "chat"));
    let emptied = env
        .ask(Method::PATCH, &status, Some(&json!({"status": null})))
        .await
        .unwrap();
    assert_eq!(
        (
            &emptied["status"]["pins"],
            &emptied["status"]["observedGeneration"]
        ),
        (&Value::Null, &json!(-1))
    );
    operator = env.operator();
    let chat = env.settled("chat").await.unwrap();
    assert_eq!(
        chat["status"]["pins"],
        pins(""),
        "after a restart with a lost status"
    );
    assert_eq!(running(&env, &chat).await, before);

    // The next one continues, with another version of the status in its watch.
    env.ask(Method::PATCH, &status, Some(&json!({"status": {"pins": null}})))
        .await
        .unwrap();
    let chat = env
        .until("chat", "the pins are recorded again", |chat| {
            chat["status"]["pins"] == pins("")
        })
        .await
        .unwrap();
    assert_eq!(running(&env, &chat).await, before);
    operator.kill().unwrap();
    let _operator = env.operator();
    let chat = env.settled("chat").await.unwrap();
    assert_eq!(running(&env, &chat).await, before);
    env.judge();
}

#[tokio::test]
async fn other_installed_images_roll_within_budget() {
    let env = TestEnv::new("images").await;
    let mut operator = env.operator();
    env.create("chat", &spec()).await.unwrap();
    env.settled("chat").await.unwrap();
    env.pods.each(|name, server| {
        if ["chat-0", "chat-1"].contains(&name) {
            server.connections = CLIENTS_PER_POD;
        }
    });
    env.until("chat", "the clients are known", |chat| {
        chat["status"]["connections"]["current"] == CLIENTS_PER_POD * PODS
    })
    .await
    .unwrap();
    operator.kill().unwrap();
    let _operator = env.operator_with_images(":2");
    let watched = within_budget(&env);
    let rolled = env.until("chat", "the pods are replaced", |chat| {
        let status = &chat["status"];
        status["pins"] == pins(":2")
            && status["updatedReplicas"] == PODS
            && status["replicas"] == PODS
            && status["drainingReplicas"] == 0
    });
    let (chat, budget) = tokio::join!(rolled, watched);
    let chat = chat.unwrap();
    budget.unwrap();
    let children = env.children(&chat).await.unwrap();
    let images = [
        ("Pod/chat-2", "wsc-server:2"),
        ("Pod/chat-3", "wsc-server:2"),
        ("Deployment/chat-proxy", "wsc-proxy:2"),
        ("Deployment/chat-redis", "wsc-redis:2"),
    ];
    for (child, wanted) in images {
        assert_eq!(image(&children, child), wanted, "{child}");
    }
    env.judge();
}

/// All clients of the first pods are moved, and never more than the budget allows.
async fn within_budget(env: &TestEnv) -> Result<()> {
    let all = CLIENTS_PER_POD * PODS;
    // The last time without a move, and the moves of each pod, also of those that are gone.
    let seen = Mutex::new((Instant::now(), BTreeMap::new()));
    let took = eventually(READY, "all clients are moved", async || {
        let (idle, moves) = &mut *seen.lock();
        env.pods.each(|name, server| {
            moves.insert(name.to_owned(), server.shed_total);
        });
        let total: u64 = moves.values().sum();
        if total == 0 {
            *idle = Instant::now();
        }
        let allowed = (idle.elapsed().as_secs() + 1) * RATE + BURST;
        if total > allowed {
            return Ok(Some(Err(total)));
        }
        Ok((total == all).then(|| Ok(idle.elapsed())))
    })
    .await?
    .map_err(|moved| anyhow::anyhow!("{moved} moves exceed the budget"))?;
    ensure!(
        took >= Duration::from_secs((all - BURST) / RATE),
        "all moves took {took:?}"
    );
    Ok(())
}
