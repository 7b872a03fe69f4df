//! Whatever happens to HAProxy, its sockets or the agent: clients stay where they can, and HAProxy
//! becomes equal again.

use std::time::Duration;

use anyhow::Result;
use wsc_contract::agent::AgentStatus;
use wsc_haproxy::Server;
use wsc_testing::cluster::eventually;
use wsc_testing::faults::{Direction, StreamProxy};
use wsc_testing::haproxy::{PodOptions, ProxyPod, Signal};

use crate::pool::{Backend, WAIT, answers, come_back, connect, given, pool, ready, tries, with_faults};

#[tokio::test]
async fn killed_worker_returns_with_the_newest_servers() {
    let backends = pool(3).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends[..1]))
        .await
        .unwrap();
    let set = pod.publish(&ready(&backends)).unwrap();
    let pid = pod.synced(&set).await.unwrap().pid;
    let lost = connect(&pod).await.unwrap();
    pod.kill_worker().await.unwrap();
    lost.wait_end(WAIT).await.expect("its clients are cut");
    let status = pod
        .wait("another worker", |status| {
            status.pid_changes == 1 && status.synced
        })
        .await
        .unwrap();
    assert_ne!(status.pid, pid);
    assert_eq!(
        (status.reloads, pod.haproxy_starts(), status.names().len()),
        (0, 2, 3)
    );
    for backend in &backends {
        assert_eq!(
            given(&come_back(&pod, backend).await.unwrap()),
            None,
            "cookies are good as before"
        );
    }
}

#[tokio::test]
async fn haproxy_serves_while_the_agent_is_dead() {
    let backends = pool(3).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends[..2]))
        .await
        .unwrap();
    let client = connect(&pod).await.unwrap();
    pod.kill_agent().await.unwrap();
    assert!(answers(&client, "hello").await);
    assert_eq!(given(&come_back(&pod, &backends[1]).await.unwrap()), None);

    // Even a new HAProxy starts right without it.
    pod.kill_worker().await.unwrap();
    client.wait_end(WAIT).await.expect("its clients are cut");
    eventually(WAIT, "the next HAProxy", || async {
        Ok(connect(&pod).await.ok())
    })
    .await
    .unwrap();
    assert_eq!(given(&come_back(&pod, &backends[1]).await.unwrap()), None);
    let pid = pod.worker_pid().await.unwrap();

    // What changed meanwhile is made up for.
    let set = pod.publish(&ready(&backends)).unwrap();
    pod.start_agent().unwrap();
    let status = pod.synced(&set).await.unwrap();
    assert_eq!((status.pid, status.reloads, status.names().len()), (pid, 0, 3));
}

#[tokio::test]
async fn stalled_socket_is_reported_and_caught_up() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(with_faults(), &ready(&backends[..1]))
        .await
        .unwrap();
    let faults = pod.runtime_faults().unwrap();
    faults.stall(Direction::ToClient);
    eventually(WAIT, "a pod that is not ready", || async {
        Ok((pod.admin("/readyz").await?.0 == 503).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(
        pod.admin("/livez").await.unwrap().0,
        200,
        "the agent itself is well"
    );
    let set = pod.publish(&ready(&backends)).unwrap();
    let status = pod
        .wait("the new set", |status| status.wanted_hash == set.hash)
        .await
        .unwrap();
    assert!(!status.synced && status.applied_hash != set.hash);
    connect(&pod).await.expect("haproxy serves");
    pod.runtime_faults().unwrap().release(Direction::ToClient);
    pod.synced(&set).await.unwrap();
}

#[tokio::test]
async fn a_stopped_haproxy_is_not_observed() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends[..1]))
        .await
        .unwrap();
    let stopped = pod.stop_worker().await.unwrap();
    let set = pod.publish(&ready(&backends)).unwrap();
    let is_old = |status: &AgentStatus| status.observed_ms_ago.is_some_and(|age| age >= 6_000);
    let status = pod.wait("an old observation", is_old).await.unwrap();
    assert!(!status.synced && status.wanted_hash == set.hash);
    assert_eq!(status.names(), ["chat-0"], "what was read last stays");

    pod.kill_agent().await.unwrap();
    pod.start_agent().unwrap();
    let is_published = |status: &AgentStatus| status.wanted_hash == set.hash;
    let status = pod.wait("the published set", is_published).await.unwrap();
    assert_eq!(
        (status.observed_ms_ago, status.haproxy_version.as_str()),
        (None, ""),
        "this agent has read nothing yet"
    );

    drop(stopped);
    pod.synced(&set).await.unwrap();
    let is_new = |status: &AgentStatus| status.observed_ms_ago.is_some_and(|age| age < 6_000);
    let status = pod.wait("a new observation", is_new).await.unwrap();
    assert_eq!(status.names(), ["chat-0", "chat-1"]);
}

#[tokio::test]
async fn absent_socket_is_reported_and_caught_up() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(with_faults(), &ready(&backends[..1]))
        .await
        .unwrap();
    pod.runtime_faults().unwrap().refuse();
    let set = pod.publish(&ready(&backends)).unwrap();
    let status = pod
        .wait("an agent that hears nothing", |status| {
            status.wanted_hash == set.hash && !status.synced
        })
        .await
        .unwrap();
    assert_ne!(status.applied_hash, set.hash);
    eventually(WAIT, "what haproxy would start with", || async {
        let text = std::fs::read_to_string(pod.run("haproxy.cfg"))?;
        Ok(text.contains("server chat-1 ").then_some(()))
    })
    .await
    .unwrap();
    connect(&pod).await.expect("haproxy serves");
    pod.runtime_faults().unwrap().heal();
    assert_eq!(pod.synced(&set).await.unwrap().pid_changes, 0);
}

#[tokio::test]
async fn a_slow_socket_is_only_slow() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(with_faults(), &ready(&backends[..1]))
        .await
        .unwrap();
    for direction in [Direction::ToServer, Direction::ToClient] {
        pod.runtime_faults()
            .unwrap()
            .delay(direction, Duration::from_millis(100));
        pod.master_faults()
            .unwrap()
            .delay(direction, Duration::from_millis(100));
    }
    let set = pod.publish(&ready(&backends)).unwrap();
    pod.synced(&set).await.unwrap();
    pod.change(|settings| settings.timeouts.tunnel_seconds = 1800);
    let set = pod.publish(&ready(&backends[1..])).unwrap();
    assert_eq!(pod.synced(&set).await.unwrap().reloads, 1);
}

#[tokio::test]
async fn truncated_reply_is_never_taken_as_whole() {
    let backends = pool(4).await.unwrap();
    let mut pod = ProxyPod::start(with_faults(), &ready(&backends)).await.unwrap();
    let mut clients = Vec::new();
    for backend in &backends {
        clients.push(come_back(&pod, backend).await.unwrap());
    }
    let info = pod.runtime("show info").await.unwrap().len() as u64;
    let stat = pod.runtime("show stat ws_pool 6 -1").await.unwrap().len() as u64;
    let length = info + stat;
    for cut in [
        0,
        1,
        info / 2,
        info - 1,
        info,
        info + 1,
        info + stat / 2,
        length - 2,
        length - 1,
    ] {
        pod.runtime_faults().unwrap().truncate(Direction::ToClient, cut);
        tries(&pod, 4).await.unwrap();
    }
    pod.runtime_faults().unwrap().heal();
    let set = pod.publish(&ready(&backends)).unwrap();
    let status = pod.synced(&set).await.unwrap();
    assert_eq!(
        (status.reloads, status.pid_changes, status.names().len()),
        (0, 0, 4)
    );
    for client in &clients {
        assert!(answers(client, "hello").await);
    }
    // Who takes a part for the whole adds servers that are there already.
    let (_, metrics) = pod.admin("/metrics").await.unwrap();
    assert!(
        metrics.contains("wsc_proxy_command_failures_total 0\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn sync_continues_after_a_lost_socket() {
    let backends = pool(6).await.unwrap();
    let mut pod = ProxyPod::start(with_faults(), &ready(&backends[..1]))
        .await
        .unwrap();
    let client = come_back(&pod, &backends[0]).await.unwrap();
    for k in 0..6 {
        pod.runtime_faults().unwrap().stop_after(k);
        let wanted: Vec<Server> = if k % 2 == 0 {
            ready(&backends)
        } else {
            ready(&backends[..2])
        };
        let set = pod.publish(&wanted).unwrap();
        pod.wait("the new set", |status| status.wanted_hash == set.hash)
            .await
            .unwrap();
        tries(&pod, 3).await.unwrap();
        pod.runtime_faults().unwrap().heal();
        let status = pod.synced(&set).await.unwrap();
        let names: Vec<&str> = wanted.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(status.names(), names, "after {k} questions");
    }
    assert!(answers(&client, "hello").await);
}

/// Whether the pod stays ready while the agent asks so many more times.
async fn stays_ready(pod: &ProxyPod, asked: &StreamProxy, count: u64) -> Result<bool> {
    let enough = asked.connections() + count;
    eventually(WAIT, "questions of the agent", || async {
        let ready = pod.admin("/readyz").await?.0 == 200;
        Ok((!ready || asked.connections() >= enough).then_some(ready))
    })
    .await
}

#[tokio::test]
async fn hanging_master_delays_no_server() {
    let backends = pool(2).await.unwrap();
    let options = PodOptions {
        // As in a real pod: with less the age of HAProxy's last answer could not tell.
        recheck_ms: 2_000,
        ..with_faults()
    };
    let mut pod = ProxyPod::start(options, &ready(&backends[..1])).await.unwrap();
    let master = pod.master_faults().unwrap();
    master.stall(Direction::ToClient);
    assert!(
        stays_ready(&pod, master, 3).await.unwrap(),
        "nobody waits for the master"
    );
    let set = pod.publish(&ready(&backends)).unwrap();
    pod.synced(&set).await.unwrap();
    assert_eq!(given(&come_back(&pod, &backends[1]).await.unwrap()), None);

    // A reload is the master's, so it waits; the worker does not.
    pod.change(|settings| settings.timeouts.tunnel_seconds = 1800);
    let set = pod.publish(&ready(&backends[1..])).unwrap();
    let status = pod
        .wait("a structure", |status| status.wanted_structure == set.structure)
        .await
        .unwrap();
    assert!(!status.synced);
    let runtime = pod.runtime_faults().unwrap();
    assert!(
        stays_ready(&pod, runtime, 12).await.unwrap(),
        "the worker answers during a reload"
    );
    pod.master_faults().unwrap().release(Direction::ToClient);
    pod.synced(&set).await.unwrap();
}

#[tokio::test]
async fn agent_continues_after_a_kill() {
    let backends = pool(6).await.unwrap();
    let mut pod = ProxyPod::start(with_faults(), &ready(&backends[..1]))
        .await
        .unwrap();
    let client = come_back(&pod, &backends[0]).await.unwrap();
    for k in 1..5 {
        let wanted = if k % 2 == 0 {
            ready(&backends[..2])
        } else {
            ready(&backends)
        };
        let set = pod.publish(&wanted).unwrap();
        tries(&pod, k).await.unwrap();
        pod.kill_agent().await.unwrap();
        pod.start_agent().unwrap();
        let status = pod.synced(&set).await.unwrap();
        assert_eq!((status.names().len(), status.reloads), (wanted.len(), 0));
    }
    assert!(answers(&client, "hello").await);
}

#[tokio::test]
async fn agent_ends_after_its_last_client() {
    let backends = pool(1).await.unwrap();
    // The second is the image's stop signal, meant for HAProxy.
    for signal in [Signal::TERM, Signal::USR1] {
        let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
            .await
            .unwrap();
        let client = connect(&pod).await.unwrap();
        pod.stop_softly().unwrap();
        pod.terminate_agent(signal).unwrap();
        eventually(WAIT, "a pod that leaves", || async {
            Ok((pod.admin("/readyz").await?.0 == 503).then_some(()))
        })
        .await
        .unwrap();
        let left = |status: &AgentStatus| !status.synced && status.connections == 1;
        let status = pod.wait("who is left", left).await.unwrap();
        assert_eq!(status.server("chat-0").map(|server| server.sessions), Some(1));
        assert!(connect(&pod).await.is_err(), "nobody new");
        assert!(answers(&client, "hello").await);
        client.close(1000, "").await.unwrap();
        pod.agent_ended().await.unwrap();
    }
}

#[tokio::test]
async fn agent_alone_does_not_wait() {
    let backends = [Backend::start("chat-0", 10).await.unwrap()];
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let client = connect(&pod).await.unwrap();
    pod.terminate_agent(Signal::TERM).unwrap();
    pod.agent_ended().await.unwrap();
    assert!(answers(&client, "hello").await);
    pod.start_agent().unwrap();
    pod.wait("the next agent", |status| status.synced && status.reloads == 0)
        .await
        .unwrap();
}
