//! What changes without a reload: the path of the clients and the allowed origins.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;
use wsc_contract::agent::AgentStatus;
use wsc_contract::files;
use wsc_contract::origin::OriginPattern;
use wsc_haproxy::{BackendSet, PatternFile, Server, ServerOptions, structure_of, with_servers};
use wsc_testing::arrivals::{Arrivals, status};
use wsc_testing::client::{Client, Options};
use wsc_testing::faults::Direction;
use wsc_testing::haproxy::{PodOptions, ProxyPod};

use crate::pool::{WAIT, answers, connect, pool, ready, tries, with_faults};

/// Between two clients that arrive.
const INTERVAL: Duration = Duration::from_millis(100);

/// The status of a page's handshake.
async fn page(url: &str, origin: &str) -> u16 {
    status(&Options::new(url.to_owned()).origin(origin)).await
}

/// The status of a client that is no page.
async fn plain(pod: &ProxyPod, path: &str) -> u16 {
    status(&Options::new(url(pod, path))).await
}

fn url(pod: &ProxyPod, path: &str) -> String {
    format!("ws://127.0.0.1:{}{path}", pod.port())
}

fn patterns(origins: &[&str]) -> Vec<OriginPattern> {
    let parsed = origins.iter().map(|origin| origin.parse());
    parsed.collect::<Result<_, _>>().unwrap_or_default()
}

#[tokio::test]
async fn changed_path_refuses_no_client() {
    let backends = pool(3).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let pid = pod.worker_pid().await.unwrap();
    let steady = connect(&pod).await.unwrap();
    let own = "https://chat.example";
    pod.change(|settings| settings.origins = patterns(&[own]));
    let set = pod.publish(&ready(&backends)).unwrap();
    pod.synced(&set).await.unwrap();

    let paths = ["/ws/lobby?echo=0", "/chat/lobby?echo=0"];
    let both = paths.map(|path| Options::new(url(&pod, path)).origin(own));
    let arrivals = Arrivals::start(both.into());
    sleep(INTERVAL * 10).await;
    let patched = Instant::now();
    pod.change(|settings| settings.path = "/chat".to_owned());
    let set = pod.publish(&ready(&backends)).unwrap();
    let after = pod.synced(&set).await.unwrap();
    let applied = Instant::now();
    sleep(INTERVAL * 10).await;

    let seen = arrivals.end().await.unwrap();
    assert!(seen.len() >= 15, "{seen:?}");
    let mut switched = false;
    for arrival in &seen {
        match arrival.statuses[..] {
            [101, 404] => assert!(
                !switched && arrival.begun < applied,
                "the old path after the switch: {seen:?}"
            ),
            [404, 101] => switched = true,
            // The two handshakes of one moment may be on both sides of the switch.
            [101, 101] | [404, 404] if !switched && patched < arrival.ended && arrival.begun < applied => {}
            _ => panic!("{arrival:?} in {seen:?}"),
        }
    }
    assert!(switched, "{seen:?}");
    assert!(applied - patched < Duration::from_secs(5));
    assert_eq!((after.reloads, after.pid, after.old_workers), (0, pid, 0));
    assert!(answers(&steady, "hello").await, "a client of the old path stays");
    assert_eq!(
        pod.runtime("show map")
            .await
            .unwrap()
            .matches(files::PATHS)
            .count(),
        2
    );
    let logs = pod.logs();
    let is_logged =
        |line: &str| line.contains(r#""status":101"#) && line.contains(r#""path":"\/chat\/lobby""#);
    assert!(
        logs.lines().any(is_logged),
        "the access log has the path of the clients: {logs}"
    );
}

#[tokio::test]
async fn added_and_removed_origins_refuse_no_other() {
    let backends = pool(3).await.unwrap();
    let (kept, added) = ("https://a.example", "https://b.example");
    let mut options = PodOptions::default();
    options.settings.origins = patterns(&[kept]);
    let mut pod = ProxyPod::start(options, &ready(&backends)).await.unwrap();
    let pid = pod.worker_pid().await.unwrap();
    let steady = Client::connect(&Options::new(pod.url()).origin(kept))
        .await
        .unwrap();
    let both = [kept, added].map(|origin| Options::new(pod.url()).origin(origin));
    let arrivals = Arrivals::start(both.into());
    let mut marks = Vec::new();
    let long: Vec<String> = (0..60)
        .map(|n| format!("https://*.{}.n{n}.example", "x".repeat(60)))
        .collect();
    let long: Vec<&str> = long.iter().map(String::as_str).chain([kept, added]).collect();
    for (list, allowed) in [
        (&[kept, added][..], true),
        (&[kept], false),
        (&["https://*.b.example", kept], false),
        (&["*"], true),
        (&long, true),
        (&[kept], false),
    ] {
        sleep(INTERVAL * 4).await;
        let from = Instant::now();
        pod.change(|settings| settings.origins = patterns(list));
        let set = pod.publish(&ready(&backends)).unwrap();
        let status = pod.synced(&set).await.unwrap();
        assert_eq!((status.reloads, status.pid, status.refusal), (0, pid, None));
        marks.push((from, Instant::now(), allowed));
    }
    sleep(INTERVAL * 4).await;
    let seen = arrivals.end().await.unwrap();
    for arrival in &seen {
        let [first, second] = arrival.statuses[..] else {
            panic!("{arrival:?}");
        };
        assert_eq!(first, 101, "{kept} is always allowed");
        let changing = marks
            .iter()
            .any(|(from, until, _)| *from < arrival.ended && arrival.begun < *until);
        let last = marks.iter().rfind(|(_, until, _)| *until <= arrival.begun);
        let expected = if last.is_some_and(|(_, _, allowed)| *allowed) {
            101
        } else {
            403
        };
        assert!(changing || second == expected, "{second} instead of {expected}");
    }
    assert!(answers(&steady, "hello").await);
    assert_eq!(backends[0].count("/refused/origin").await.unwrap(), 0);
}

#[tokio::test]
async fn settings_survive_reload_crash_and_hand() {
    let backends = pool(2).await.unwrap();
    let mut pod = ProxyPod::start(with_faults(), &ready(&backends)).await.unwrap();
    let own = "https://a.example";
    pod.change(|settings| {
        settings.path = "/chat".to_owned();
        settings.origins = patterns(&[own]);
    });
    let set = pod.publish(&ready(&backends)).unwrap();
    let synced = pod.synced(&set).await.unwrap();
    let works = async |pod: &ProxyPod| {
        assert_eq!(page(&url(pod, "/chat"), own).await, 101);
        assert_eq!(page(&url(pod, "/ws"), own).await, 404);
        assert_eq!(page(&url(pod, "/chat"), "https://b.example").await, 403);
    };
    works(&pod).await;

    pod.change(|settings| settings.timeouts.tunnel_seconds = 1800);
    let set = pod.publish(&ready(&backends)).unwrap();
    assert_eq!(pod.synced(&set).await.unwrap().reloads, 1);
    works(&pod).await;

    pod.kill_agent().await.unwrap();
    pod.kill_worker().await.unwrap();
    pod.start_haproxy().await.unwrap();
    works(&pod).await;
    pod.start_agent().unwrap();
    pod.synced(&set).await.unwrap();

    let references = pod.runtime("show acl").await.unwrap();
    let settings = pod.render(&[]).settings;
    let [_, origins] = PatternFile::of(&settings);
    let reference = origins.reference(&references).unwrap().unwrap();
    pod.runtime(&format!("clear acl {reference}")).await.unwrap();
    let is_back = async || Ok((page(&url(&pod, "/chat"), own).await == 101).then_some(()));
    wsc_testing::cluster::eventually(WAIT, "the list without the change by hand", is_back)
        .await
        .unwrap();
    works(&pod).await;
    assert_eq!(synced.refusal, None);
}

#[tokio::test]
async fn invalid_settings_change_nothing() {
    let backends = pool(1).await.unwrap();
    let mut pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let rendered = pod.render(&ready(&backends));
    let (text, json, good) = (
        rendered.text,
        rendered.backend_set.to_json(),
        rendered.settings.to_json(),
    );
    let bad_hash = good.replace(rendered.settings.hash(), "0123456789abcdef");
    for (bad, word) in [("{", "no settings document"), (&bad_hash, "hash")] {
        pod.publish_files(&text, &json, Some(bad)).unwrap();
        let is_told = |status: &AgentStatus| {
            let refusal = status.refusal.as_ref();
            refusal.is_some_and(|refusal| refusal.message.contains(word))
        };
        let status = pod.wait("a refusal", is_told).await.unwrap();
        assert_eq!(status.wanted_settings, rendered.settings.hash());
        connect(&pod).await.unwrap();
    }
    pod.publish_files(&text, &json, Some(&good)).unwrap();
    let is_fine = |status: &AgentStatus| status.synced && status.refusal.is_none();
    assert_eq!(pod.wait("no refusal", is_fine).await.unwrap().reloads, 0);
}

#[tokio::test]
async fn settings_follow_when_the_socket_is_back() {
    let backends = pool(1).await.unwrap();
    let mut pod = ProxyPod::start(with_faults(), &ready(&backends)).await.unwrap();
    for bytes in [0, 30, 200] {
        let path = format!("/at{bytes}");
        pod.runtime_faults().unwrap().truncate(Direction::ToClient, bytes);
        pod.change(|settings| settings.path.clone_from(&path));
        let set = pod.publish(&ready(&backends)).unwrap();
        tries(&pod, 6).await.unwrap();
        assert_eq!(plain(&pod, &path).await, 404, "not yet");
        pod.runtime_faults().unwrap().heal();
        let status = pod.synced(&set).await.unwrap();
        assert_eq!((status.refusal, status.reloads), (None, 0));
        assert_eq!(plain(&pod, &path).await, 101);
    }
}

/// What the operator of release 0.1.0 published for the resource with the fewest fields, for this
/// pod and these servers.
fn published_by_0_1_0(pod: &ProxyPod, servers: &[Server]) -> Result<(String, BackendSet)> {
    let agent = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR")?);
    let children = agent.join("../../tests/releases/0.1.0/clusters/minimal/children.yaml");
    let children = std::fs::read_to_string(children)?;
    let (_, text) = children
        .split_once("  haproxy.cfg: |+\n")
        .context("no configuration")?;
    let block = text
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    let lines: Vec<&str> = block
        .map(|line| line.strip_prefix("    ").unwrap_or_default())
        .collect();
    let socket = pod.run("haproxy.sock");
    let folder = socket.parent().context("no folder")?;
    let text = lines
        .join("\n")
        .replace(files::RUN_FOLDER, &folder.to_string_lossy())
        .replace(":::8080", &format!(":::{}", pod.port()));
    let structure = structure_of(&text);
    let text = text.replace("8320ae8c2bb60b27", &structure);
    let set = BackendSet::new(structure, ServerOptions::default(), servers.to_vec());
    Ok((with_servers(&text, &set), set))
}

/// During an upgrade and a rollback an agent gets what the other operator publishes.
#[tokio::test]
async fn agent_follows_the_last_release_and_back() {
    let backends = pool(1).await.unwrap();
    let mut pod = ProxyPod::prepare(PodOptions::default()).unwrap();
    let (text, old) = published_by_0_1_0(&pod, &ready(&backends)).unwrap();
    pod.publish_files(&text, &old.to_json(), None).unwrap();
    pod.init().await.unwrap();
    pod.start_haproxy().await.unwrap();
    pod.start_agent().unwrap();
    pod.synced(&old).await.unwrap();
    let steady = connect(&pod).await.unwrap();

    pod.change(|settings| settings.path = "/chat".to_owned());
    let new = pod.publish(&ready(&backends)).unwrap();
    assert_eq!(pod.synced(&new).await.unwrap().reloads, 1);
    assert_eq!((plain(&pod, "/ws").await, plain(&pod, "/chat").await), (404, 101));
    pod.publish_files(&text, &old.to_json(), None).unwrap();
    assert_eq!(pod.synced(&old).await.unwrap().reloads, 2);
    assert_eq!(page(&url(&pod, "/ws"), "").await, 403, "an empty origin is none");
    assert!(answers(&steady, "hello").await);
}
