//! How a proxy begins, with and without an API server.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use wsc_contract::agent::AgentStatus;
use wsc_haproxy::Published;
use wsc_testing::cluster::eventually;
use wsc_testing::faults::{Address, StreamProxy};
use wsc_testing::haproxy::{PodOptions, ProxyPod, Source};

use crate::api_server::{ApiServer, kubeconfig};
use crate::pool::{WAIT, answers, come_back, connect, given, pool, ready};

#[tokio::test]
async fn proxy_starts_without_the_api_server() {
    let backends = pool(4).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut api = ApiServer::new().unwrap();
    // Cut off later, without losing its port.
    let address = Address::Tcp(([127, 0, 0, 1], api.port()).into());
    let between = StreamProxy::tcp(address).await.unwrap();
    let options = PodOptions {
        source: Source::ConfigMap(kubeconfig(folder.path(), between.port()).unwrap()),
        ..PodOptions::default()
    };
    let mut pod = ProxyPod::prepare(options).unwrap();
    let oldest = pod.publish(&ready(&backends[..1])).unwrap();
    pod.init().await.unwrap();
    pod.start_haproxy().await.unwrap();
    let client = connect(&pod).await.expect("haproxy needs no agent");
    pod.start_agent().unwrap();
    pod.synced(&oldest).await.unwrap();

    // The API server comes, and knows more than the mounted files.
    let newer = pod.render(&ready(&backends[..2]));
    api.publish(Some(&newer));
    api.start().await.unwrap();
    pod.synced(&newer.backend_set).await.unwrap();
    let newest = pod.render(&ready(&backends[..3]));
    api.publish(Some(&newest));
    pod.synced(&newest.backend_set).await.unwrap();

    // An agent that starts afterwards uses the configuration that this pod saved, not the older
    // mounted files.
    between.refuse();
    pod.kill_agent().await.unwrap();
    pod.start_agent().unwrap();
    pod.synced(&newest.backend_set).await.unwrap();
    assert_eq!(given(&come_back(&pod, &backends[2]).await.unwrap()), None);
    let mounted = pod.publish(&ready(&backends)).unwrap();
    pod.synced(&mounted)
        .await
        .expect("mounted files that changed are newer than a memory");

    between.heal();
    pod.synced(&newest.backend_set)
        .await
        .expect("the watch has the last word");
    let status = pod.status().await.unwrap();
    assert_eq!((status.reloads, status.pid_changes), (0, 0));
    assert!(answers(&client, "hello").await);
}

#[tokio::test]
async fn broken_watch_and_deleted_map_change_nothing() {
    let backends = pool(3).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut api = ApiServer::new().unwrap();
    let address = Address::Tcp(([127, 0, 0, 1], api.port()).into());
    let between = StreamProxy::tcp(address).await.unwrap();
    let options = PodOptions {
        source: Source::ConfigMap(kubeconfig(folder.path(), between.port()).unwrap()),
        ..PodOptions::default()
    };
    let mut pod = ProxyPod::prepare(options).unwrap();
    pod.publish(&ready(&backends[..1])).unwrap();
    api.publish(Some(&pod.render(&ready(&backends[..1]))));
    api.start().await.unwrap();
    pod.init().await.unwrap();
    pod.start_haproxy().await.unwrap();
    pod.start_agent().unwrap();
    pod.wait("the first set", |status| status.synced).await.unwrap();
    between.cut();
    let rendered = pod.render(&ready(&backends[..2]));
    api.publish(Some(&rendered));
    pod.synced(&rendered.backend_set).await.unwrap();

    api.publish(None);
    let log = || async { Ok(pod.logs().contains("ConfigMap deleted").then_some(())) };
    eventually(WAIT, "a log line about the deletion", log)
        .await
        .unwrap();
    connect(&pod).await.unwrap();
    assert_eq!(pod.status().await.unwrap().names(), ["chat-0", "chat-1"]);
    let rendered = pod.render(&ready(&backends));
    api.publish(Some(&rendered));
    pod.synced(&rendered.backend_set).await.unwrap();
}

#[tokio::test]
async fn init_keeps_a_valid_saved_configuration() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::prepare(PodOptions::default()).unwrap();
    let error = pod.init().await.unwrap_err().to_string();
    assert!(error.contains("haproxy.cfg"), "nothing is mounted: {error}");
    pod.publish(&ready(&backends[..1])).unwrap();
    pod.init().await.unwrap();
    let on_disk = || std::fs::read_to_string(pod.run("haproxy.cfg")).unwrap();
    let (first, _) = pod.published().unwrap();
    assert_eq!(on_disk(), first);

    // The sandbox of the pod starts again: what is there is at least as new as the mounted copy.
    let newer = pod.render(&ready(&backends));
    std::fs::write(pod.run("haproxy.cfg"), &newer.text).unwrap();
    std::fs::write(pod.run("servers.state"), "1\n").unwrap();
    pod.init().await.unwrap();
    assert_eq!(on_disk(), newer.text);
    assert!(!pod.run("servers.state").exists(), "states of a reload long ago");
    std::fs::write(pod.run("haproxy.cfg"), "global\n    nonsense\n").unwrap();
    pod.init().await.unwrap();
    assert_eq!(on_disk(), first);
}

#[tokio::test]
async fn init_names_why_a_configuration_is_invalid() {
    let backends = pool(1).await.unwrap();
    let mut pod = ProxyPod::prepare(PodOptions::default()).unwrap();
    let rendered = pod.render(&ready(&backends));
    let text = rendered.text.replace("balance leastconn", "balance nonsense");
    let structure = wsc_haproxy::structure_of(&text);
    let text = text.replace(&rendered.backend_set.structure, &structure);
    let set = wsc_haproxy::BackendSet::new(
        structure,
        rendered.backend_set.options,
        rendered.backend_set.servers.clone(),
    );
    assert!(Published::parse(&text, &set.to_json(), None).is_ok());
    pod.publish_text(&text, &set.to_json()).unwrap();
    let error = pod.init().await.unwrap_err().to_string();
    assert!(error.contains("nonsense") || error.contains("balance"), "{error}");
    assert!(!pod.run("haproxy.cfg").exists());
    pod.publish_text(&rendered.text, &set.to_json()).unwrap();
    let error = pod.init().await.unwrap_err().to_string();
    assert!(error.contains("structure"), "{error}");
}

#[tokio::test]
async fn too_old_haproxy_is_reported_and_unchanged() {
    let mut pod = ProxyPod::prepare(PodOptions::default()).unwrap();
    let listener = UnixListener::bind(pod.run("haproxy.sock")).unwrap();
    let (heard, mut lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            // What goes wrong here is missed by the agent, and so by the test.
            let _ = stream.read_line(&mut line).await;
            let answer = "Version: 2.9.1\nPid: 7\nUptime_sec: 4\nMaxconn: 10\nUlimit-n: 100\nCurrConns: 0\n\n\
                # svname,qcur,scur,econ,wretr,wredis,status,addr,cookie,\nBACKEND,0,0,0,0,0,DOWN,,,\n\n";
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = heard.send(line);
        }
    });
    let backends = pool(1).await.unwrap();
    let set = pod.publish(&ready(&backends)).unwrap();
    pod.start_agent().unwrap();
    let is_told = |status: &AgentStatus| {
        let refusal = status.refusal.as_ref();
        status.wanted_hash == set.hash
            && refusal.is_some_and(|refusal| refusal.message.contains("2.9.1 is too old"))
    };
    let status = pod.wait("a refusal", is_told).await.unwrap();
    assert!(!status.synced && status.applied_hash.is_empty());
    assert_eq!(pod.admin("/readyz").await.unwrap().0, 503);
    for _ in 0..10 {
        let line = lines.recv().await.unwrap();
        assert!(line.starts_with("show "), "{line}");
        assert!(is_told(&pod.status().await.unwrap()), "it does not flicker");
    }
}
