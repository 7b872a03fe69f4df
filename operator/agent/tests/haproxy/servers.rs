//! Servers come, rest and go while clients are connected; HAProxy is never reloaded for it.

use wsc_contract::agent::{AgentStatus, ServerState};
use wsc_testing::cluster::eventually;
use wsc_testing::haproxy::{PodOptions, ProxyPod};

use crate::pool::{Backend, WAIT, answers, come_back, connect, given, is_ready, pool, ready};

#[tokio::test]
async fn scaling_needs_no_reload_and_cuts_nothing() {
    let backends = pool(20).await.unwrap();
    let first = &backends[0];
    let mut pod = ProxyPod::start(PodOptions::default(), &[first.ready()])
        .await
        .unwrap();
    let pid = pod.worker_pid().await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(connect(&pod).await.unwrap());
    }

    let set = pod.publish(&ready(&backends)).unwrap();
    let status = pod.synced(&set).await.unwrap();
    assert_eq!(status.names().len(), 20);
    assert!(
        status
            .servers
            .iter()
            .all(|server| server.state == ServerState::Ready && server.up),
        "{status:?}"
    );
    for backend in &backends {
        // Every server takes the holders of its cookie from now on: run-time ones have all
        // keywords.
        clients.push(come_back(&pod, backend).await.unwrap());
        let expected = if backend.name() == first.name() { 11 } else { 1 };
        assert_eq!(
            backend.count("/connections").await.unwrap(),
            expected,
            "{}",
            backend.name()
        );
    }

    let set = pod.publish(&[first.ready()]).unwrap();
    let status = pod.synced(&set).await.unwrap();
    assert_eq!(
        status.names().len(),
        20,
        "a server with clients stays until they have left"
    );
    let leaving = status
        .servers
        .iter()
        .filter(|server| server.state == ServerState::Maint && server.sessions == 1);
    assert_eq!(leaving.count(), 19);
    for client in &clients {
        assert!(answers(client, "still here").await);
    }
    clients.truncate(10);
    let status = pod
        .wait("one server", |status| status.names() == [first.name()])
        .await
        .unwrap();
    assert_eq!((status.reloads, status.pid_changes, status.pid), (0, 0, pid));
    assert_eq!((pod.worker_pid().await.unwrap(), pod.haproxy_starts()), (pid, 1));
    assert!(clients.iter().all(|client| client.ended().is_none()));
    assert!(answers(&clients[0], "at the end").await);
}

#[tokio::test]
async fn server_in_maint_keeps_its_clients() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let resting = &backends[0];
    let stays = come_back(&pod, resting).await.unwrap();
    assert_eq!(given(&stays), None, "the cookie that it came with is good");

    let cordoned = [resting.server(ServerState::Maint), backends[1].ready()];
    let set = pod.publish(&cordoned).unwrap();
    let status = pod.synced(&set).await.unwrap();
    let server = status.server(resting.name()).unwrap();
    assert_eq!(
        (server.state, server.up, server.sessions),
        (ServerState::Maint, false, 1)
    );
    for _ in 0..5 {
        let moved = come_back(&pod, resting).await.unwrap();
        assert_eq!(
            given(&moved),
            Some(backends[1].cookie()),
            "the holder of a cookie goes elsewhere"
        );
        assert_eq!(given(&connect(&pod).await.unwrap()), Some(backends[1].cookie()));
    }
    assert_eq!(resting.count("/accepted_total").await.unwrap(), 1);
    assert!(answers(&stays, "hello").await, "its tunnel lives");

    let set = pod.publish(&ready(&backends)).unwrap();
    pod.synced(&set).await.unwrap();
    let back = come_back(&pod, resting).await.unwrap();
    assert_eq!(given(&back), None, "in rotation again, the cookie is good again");
    assert_eq!(pod.status().await.unwrap().reloads, 0);
}

#[tokio::test]
async fn server_is_deleted_after_its_last_client() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let gone = &backends[0];
    let client = come_back(&pod, gone).await.unwrap();
    let set = pod.publish(&[backends[1].ready()]).unwrap();
    let status = pod.synced(&set).await.unwrap();
    let server = status.server(gone.name()).unwrap();
    assert_eq!((server.state, server.sessions), (ServerState::Maint, 1));
    assert!(answers(&client, "hello").await);
    client.close(1000, "").await.unwrap();
    pod.wait("the end of the server", |status| {
        status.names() == [backends[1].name()]
    })
    .await
    .unwrap();

    let set = pod.publish(&ready(&backends)).unwrap();
    pod.synced(&set).await.unwrap();
    assert_eq!(
        given(&come_back(&pod, gone).await.unwrap()),
        None,
        "it can come again"
    );
}

#[tokio::test]
async fn a_server_with_another_address_is_replaced() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let again = Backend::start(backends[0].name(), 1_000).await.unwrap();
    let set = pod.publish(&[again.ready(), backends[1].ready()]).unwrap();
    pod.synced(&set).await.unwrap();
    let client = come_back(&pod, &again).await.unwrap();
    assert_eq!(given(&client), None);
    assert_eq!(again.count("/connections").await.unwrap(), 1);
}

#[tokio::test]
async fn what_was_done_by_hand_is_undone() {
    let backends = pool(2).await.unwrap();
    let pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let client = come_back(&pod, &backends[1]).await.unwrap();
    let port = backends[0].port();
    for commands in [
        format!("add server ws_pool/intruder 127.0.0.1:{port} cookie ff; set server ws_pool/intruder state ready"),
        "set server ws_pool/chat-0 state maint".to_owned(),
        "set server ws_pool/chat-0 state drain".to_owned(),
        "set server ws_pool/chat-1 state maint".to_owned(),
        "disable health ws_pool/chat-0".to_owned(),
        "set server ws_pool/chat-0 state maint; wait 5s srv-removable ws_pool/chat-0; del server ws_pool/chat-0".to_owned(),
    ] {
        let before = servers(&pod.runtime(SHOW).await.unwrap());
        // In one line: the agent cannot come between.
        let after = pod.runtime(&format!("{commands}; {SHOW}")).await.unwrap();
        assert_ne!(servers(&after), before, "{commands} has an effect");
        eventually(WAIT, &commands, || async {
            Ok((servers(&pod.runtime(SHOW).await?) == before).then_some(()))
        })
        .await
        .unwrap();
    }
    // HAProxy takes a new address a moment after its answer.
    let added = |pod: &ProxyPod| pod.logs().matches("server added server=\"chat-0\"").count();
    let before = added(&pod);
    let reply = pod
        .runtime("set server ws_pool/chat-0 addr 127.0.0.2")
        .await
        .unwrap();
    assert!(reply.contains("IP changed"), "{reply}");
    eventually(WAIT, "the old address", || async {
        Ok((added(&pod) > before).then_some(()))
    })
    .await
    .unwrap();
    let status = pod.wait("all as before", |status| status.synced).await.unwrap();
    assert_eq!((status.reloads, status.pid_changes), (0, 0));
    assert_eq!(given(&come_back(&pod, &backends[0]).await.unwrap()), None);
    assert!(answers(&client, "not cut").await);
}

const SHOW: &str = "show stat ws_pool 6 -1";

/// Name, address, cookie and state; without numbers that change by themselves.
fn servers(reply: &str) -> Vec<(String, String, String, String)> {
    let text = reply
        .find("# pxname")
        .and_then(|begin| reply.get(begin..))
        .unwrap_or_default();
    let servers = wsc_haproxy::parse_stat(text).map_or_else(|_| Vec::new(), |stat| stat.servers);
    let mut all: Vec<_> = servers
        .into_iter()
        .map(|server| {
            (
                server.name,
                server.socket,
                server.cookie,
                format!("{:?}", server.state),
            )
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn an_empty_set_never_empties_the_pool() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let client = connect(&pod).await.unwrap();
    let empty = pod.publish(&[]).unwrap();
    let is_told = |status: &AgentStatus| status.wanted_hash == empty.hash && !status.synced;
    let status = pod
        .wait("an empty set that is not applied", is_told)
        .await
        .unwrap();
    assert_ne!(status.applied_hash, empty.hash);
    assert_eq!(status.names(), ["chat-0", "chat-1"]);
    connect(&pod).await.unwrap();

    // Neither a new agent nor a new HAProxy nor a new structure forgets them.
    pod.kill_agent().await.unwrap();
    pod.start_agent().unwrap();
    pod.wait("a new agent", is_told).await.unwrap();
    is_ready(&pod).await.expect("an empty pool takes no proxy away");
    pod.change(|settings| settings.timeouts.tunnel_seconds = 1800);
    let empty = pod.publish(&[]).unwrap();
    let is_reloaded = |status: &AgentStatus| status.applied_structure == empty.structure;
    pod.wait("a reload", is_reloaded).await.unwrap();
    connect(&pod).await.unwrap();
    assert!(answers(&client, "hello").await);
    pod.kill_worker().await.unwrap();
    pod.wait("another worker", |status| status.pid_changes == 2)
        .await
        .unwrap();
    let status = pod
        .wait("both servers", |status| status.names().len() == 2)
        .await
        .unwrap();
    assert_eq!(status.applied_structure, empty.structure);
    connect(&pod).await.unwrap();

    let set = pod.publish(&[backends[0].ready()]).unwrap();
    pod.synced(&set).await.unwrap();
    pod.wait("one server", |status| status.names() == ["chat-0"])
        .await
        .unwrap();
}

/// HAProxy 3.2.6 hung a thread by this for some releases (its issue 3360): every new HAProxy in the
/// image has to pass.
#[tokio::test]
async fn a_thousand_toggles_leave_haproxy_well() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let client = come_back(&pod, &backends[1]).await.unwrap();
    let pid = pod.worker_pid().await.unwrap();
    pod.kill_agent().await.unwrap();
    let toggle = "set server ws_pool/chat-0 state maint; set server ws_pool/chat-0 state ready";
    let port = backends[0].port();
    let add = format!(
        "add server ws_pool/extra 127.0.0.1:{port} cookie ee check inter 1s slowstart 5s; enable health ws_pool/extra; \
         set server ws_pool/extra state ready; set server ws_pool/extra state maint; \
         wait 5s srv-removable ws_pool/extra; del server ws_pool/extra"
    );
    for _ in 0..50 {
        pod.runtime(&[toggle; 10].join("; ")).await.unwrap();
        let reply = pod.runtime(&add).await.unwrap();
        assert!(reply.contains("Server deleted."), "{reply}");
        connect(&pod).await.unwrap();
    }
    assert_eq!(pod.worker_pid().await.unwrap(), pid);
    assert!(answers(&client, "hello").await);
    pod.start_agent().unwrap();
    pod.wait("an agent", |status| status.synced && status.names().len() == 2)
        .await
        .unwrap();
}
