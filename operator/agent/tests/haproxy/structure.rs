//! What needs a reload: checked by HAProxy first, and the last good one wins.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;
use wsc_contract::agent::{AgentStatus, ServerState};
use wsc_haproxy::{BackendSet, ServerOptions, structure_of};
use wsc_testing::haproxy::{PodOptions, ProxyPod};

use crate::pool::{answers, come_back, connect, given, is_ready, pool, ready, tries, with_faults};

/// The published pair with one line of its configuration replaced, and hashes that fit.
fn with_line(text: &str, set: &BackendSet, old: &str, new: &str) -> (String, BackendSet) {
    assert!(text.contains(old), "{old} in {text}");
    let text = text.replacen(old, new, 1);
    let structure = structure_of(&text);
    let text = text.replace(&set.structure, &structure);
    let set = BackendSet::new(structure, ServerOptions::default(), set.servers.clone());
    (text, set)
}

/// Publishes the set with a line of the configuration replaced.
fn publish_with_line(pod: &mut ProxyPod, set: &BackendSet, old: &str, new: &str) -> Result<BackendSet> {
    let (text, _) = pod.published()?;
    let (text, set) = with_line(&text, set, old, new);
    pod.publish_text(&text, &set.to_json())?;
    Ok(set)
}

fn is_refused<'a>(set: &'a BackendSet, word: &'a str) -> impl Fn(&AgentStatus) -> bool + 'a {
    move |status| {
        let refusal = status.refusal.as_ref();
        refusal.is_some_and(|refusal| refusal.structure == set.structure && refusal.message.contains(word))
    }
}

#[tokio::test]
async fn new_structure_is_reloaded_without_a_cut() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let old = come_back(&pod, &backends[0]).await.unwrap();
    let servers = [backends[0].ready(), backends[1].server(ServerState::Maint)];
    let set = pod.publish(&servers).unwrap();
    let pid = pod.synced(&set).await.unwrap().pid;

    pod.change(|settings| settings.timeouts.tunnel_seconds = 1800);
    let set = pod.publish(&servers).unwrap();
    let status = pod.synced(&set).await.unwrap();
    assert_ne!(status.pid, pid);
    assert_eq!((status.reloads, status.pid_changes), (1, 1));
    assert_eq!(pod.haproxy_starts(), 1);
    assert!(answers(&old, "hello").await, "the old worker keeps its clients");

    let new = come_back(&pod, &backends[0]).await.unwrap();
    let moved = come_back(&pod, &backends[1]).await.unwrap();
    assert_eq!(
        given(&moved),
        Some(backends[0].cookie()),
        "maint outlives a reload"
    );
    let status = pod
        .wait("clients of both workers", |status| status.connections == 3)
        .await
        .unwrap();
    assert_eq!(
        (status.old_workers, status.server("chat-0").unwrap().sessions),
        (1, 3)
    );
    drop((old, moved));
    let status = pod
        .wait("the end of the old worker", |status| {
            status.old_workers == 0 && status.connections == 1
        })
        .await
        .unwrap();
    assert!(status.synced);
    assert!(new.ended().is_none());
}

#[tokio::test]
async fn refused_structure_replaces_nothing() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(with_faults(), &[backends[0].ready()])
        .await
        .unwrap();
    let client = connect(&pod).await.unwrap();
    let pid = pod.worker_pid().await.unwrap();
    let good = pod.publish(&ready(&backends)).unwrap();
    let bad = publish_with_line(&mut pod, &good, "balance leastconn", "balance nonsense").unwrap();
    let status = pod
        .wait("a refusal", |status| {
            is_refused(&bad, "balance only supports")(status) && status.applied_hash == bad.hash
        })
        .await
        .unwrap();
    assert!(!status.synced);
    assert_eq!(
        (status.applied_structure.as_str(), status.reloads),
        (good.structure.as_str(), 0)
    );
    assert_eq!(
        status.names(),
        ["chat-0", "chat-1"],
        "servers are kept equal all the same"
    );
    assert_eq!(pod.worker_pid().await.unwrap(), pid);
    is_ready(&pod)
        .await
        .expect("a refused configuration takes no proxy away");
    assert!(answers(&client, "hello").await);
    tries(&pod, 6).await.unwrap();
    let (_, metrics) = pod.admin("/metrics").await.unwrap();
    assert!(
        metrics.contains("wsc_proxy_refusals_total 1\n"),
        "one try is one refusal: {metrics}"
    );

    // What HAProxy would start with is the last good structure with the newest servers.
    pod.kill_worker().await.unwrap();
    let status = pod
        .wait("another worker", |status| status.pid_changes == 1)
        .await
        .unwrap();
    assert_eq!(
        (status.applied_structure, status.servers.len()),
        (good.structure.clone(), 2)
    );
    connect(&pod).await.unwrap();
    pod.kill_agent().await.unwrap();
    pod.init().await.expect("the last good one is there");
    pod.start_agent().unwrap();

    let good = pod.publish(&ready(&backends)).unwrap();
    let status = pod.synced(&good).await.unwrap();
    assert_eq!((status.refusal, status.reloads), (None, 0));
}

#[tokio::test]
async fn a_warning_is_a_refusal() {
    let backends = pool(1).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let good = pod.publish(&ready(&backends)).unwrap();
    let bad = publish_with_line(&mut pod, &good, "    timeout client 30s\n", "").unwrap();
    pod.wait("a refusal", is_refused(&bad, "timeout")).await.unwrap();
    connect(&pod).await.unwrap();
}

#[tokio::test]
async fn structure_that_cannot_start_is_reverted() {
    let backends = pool(1).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let client = connect(&pod).await.unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let bind = format!(
        "frontend ws\n    bind 127.0.0.1:{}\n",
        taken.local_addr().unwrap().port()
    );
    let good = pod.publish(&ready(&backends)).unwrap();
    let bad = publish_with_line(&mut pod, &good, "frontend ws\n", &bind).unwrap();
    let status = pod.wait("a refusal", is_refused(&bad, "bind")).await.unwrap();
    assert_eq!(
        (status.applied_structure, status.reloads),
        (good.structure.clone(), 0)
    );
    let on_disk = std::fs::read_to_string(pod.run("haproxy.cfg")).unwrap();
    assert_eq!(structure_of(&on_disk), good.structure);
    connect(&pod).await.unwrap();
    assert!(answers(&client, "hello").await);

    // The master has failed once and still takes the next one.
    pod.change(|settings| settings.timeouts.tunnel_seconds = 1800);
    let next = pod.publish(&ready(&backends)).unwrap();
    let status = pod.synced(&next).await.unwrap();
    assert_eq!((status.refusal, status.reloads), (None, 1));
    assert!(answers(&client, "hello").await);
}

#[tokio::test]
async fn two_changes_are_one_reload_apart() {
    let backends = pool(1).await.unwrap();
    let options = PodOptions {
        reload_interval_ms: 600_000,
        ..PodOptions::default()
    };
    let mut pod = ProxyPod::start(options, &ready(&backends)).await.unwrap();
    pod.change(|settings| settings.timeouts.tunnel_seconds = 1800);
    let first = pod.publish(&ready(&backends)).unwrap();
    pod.synced(&first).await.unwrap();
    pod.change(|settings| settings.timeouts.tunnel_seconds = 900);
    let second = pod.publish(&[]).unwrap();
    let status = pod
        .wait("the next structure", |status| {
            status.wanted_structure == second.structure
        })
        .await
        .unwrap();
    assert_eq!((status.applied_structure, status.reloads), (first.structure, 1));
}

#[tokio::test]
async fn mismatched_pair_changes_nothing() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &[backends[0].ready()])
        .await
        .unwrap();
    let (text, json) = pod.published().unwrap();
    let newer = pod.publish(&ready(&backends)).unwrap();
    let (newer_text, newer_json) = pod.published().unwrap();
    pod.synced(&newer).await.unwrap();
    let bad_hash = newer_json.replace(&newer.hash, "0123456789abcdef");
    for (text, json, word) in [
        (text.as_str(), newer_json.as_str(), "haproxy.cfg: line"),
        (newer_text.as_str(), json.as_str(), "haproxy.cfg: line"),
        (newer_text.as_str(), "{", "not a backend set"),
        (newer_text.as_str(), bad_hash.as_str(), "hash"),
        ("", newer_json.as_str(), "structure"),
    ] {
        pod.publish_text(text, json).unwrap();
        let told = |status: &AgentStatus| {
            status
                .refusal
                .as_ref()
                .is_some_and(|told| told.message.contains(word))
        };
        let status = pod.wait("a problem that is told", told).await.unwrap();
        assert_eq!(
            (status.names(), status.wanted_hash.clone()),
            (vec!["chat-0", "chat-1"], newer.hash.clone())
        );
        connect(&pod).await.unwrap();
    }
    pod.publish_text(&newer_text, &newer_json).unwrap();
    let status = pod
        .wait("no problem any more", |status| status.refusal.is_none())
        .await
        .unwrap();
    assert_eq!((status.reloads, status.synced), (0, true));
}
