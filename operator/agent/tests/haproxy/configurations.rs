//! Every configuration that can be written is one that HAProxy takes without a warning.

use std::path::PathBuf;

use anyhow::{Context, Result};
use wsc_contract::agent::ServerState;
use wsc_contract::files;
use wsc_contract::origin::OriginPattern;
use wsc_haproxy::{
    PatternFile, ProxySettings, SameSite, Server, ServerOptions, Settings, Sticky, Timeouts, parse_info,
    render,
};
use wsc_proxy_agent::args::Places;
use wsc_proxy_agent::check::check;
use wsc_testing::haproxy::{PodOptions, ProxyPod};

use crate::pool::{pool, ready};

/// Checks this text with the files of these settings by HAProxy, which must print no error and no
/// warning.
async fn accepted(text: &str, settings: &Settings) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("haproxy.cfg");
    let mut text = text.to_owned();
    for patterns in PatternFile::of(settings) {
        let path = folder.path().join(patterns.name());
        std::fs::write(&path, patterns.text())?;
        let published = format!("{}/{}", files::RUN_FOLDER, patterns.name());
        text = text.replace(&published, &path.to_string_lossy());
    }
    std::fs::write(&file, text)?;
    let places = Places {
        config_folder: folder.path().to_owned(),
        run_folder: folder.path().to_owned(),
        haproxy: std::env::var_os("WSC_HAPROXY")
            .context("WSC_HAPROXY is not set")?
            .into(),
        pod_name: "chat-proxy-0".to_owned(),
    };
    Ok(check(&places, &file).await?)
}

#[tokio::test]
async fn haproxy_takes_every_golden() {
    let agent = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let folder = agent.join("../haproxy/src/snapshots");
    let settings = Settings::new("/ws", "/ws", Vec::new());
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let snapshot = std::fs::read_to_string(&path).unwrap();
        // Behind the head of the snapshot.
        let text = snapshot.splitn(3, "---\n").nth(2).unwrap();
        if !text.contains("\nbackend ") {
            continue;
        }
        count += 1;
        let answer = accepted(text, &settings).await;
        assert!(answer.is_ok(), "{}: {answer:?}", path.display());
        let broken = text.replace("balance leastconn", "balance nonsense");
        assert!(accepted(&broken, &settings).await.is_err(), "the check bites");
    }
    assert!(count >= 2, "{count} goldens");
}

fn settings() -> ProxySettings {
    PodOptions::default().settings
}

fn server(number: usize, address: &str, state: ServerState) -> Server {
    Server {
        name: format!("{}-{number}", "chat".repeat(10)),
        address: address.parse().unwrap_or(std::net::Ipv6Addr::LOCALHOST.into()),
        port: 65_535,
        cookie: "0123456789abcdef".repeat(4),
        state,
    }
}

fn paths_and_times() -> Vec<ProxySettings> {
    let mut cases = Vec::new();
    for (path, port) in [("/ws", 1024), ("/a/b-c/d_e.f~g", 65_535)] {
        cases.push(ProxySettings {
            path: path.to_owned(),
            port,
            ..settings()
        });
    }
    for (seconds, handshake) in [(1, 1), (86_400 * 7, 3600)] {
        let timeouts = Timeouts {
            connect_seconds: seconds,
            handshake_seconds: handshake,
            tunnel_seconds: seconds,
        };
        let server_options = ServerOptions {
            check_interval_ms: seconds,
            check_fast_interval_ms: seconds,
            fall: handshake,
            rise: handshake,
            slowstart_seconds: seconds,
        };
        cases.push(ProxySettings {
            timeouts,
            server_options,
            ..settings()
        });
    }
    cases
}

fn cookies_and_origins() -> Result<Vec<ProxySettings>> {
    let mut cases = Vec::new();
    for same_site in [SameSite::Lax, SameSite::Strict, SameSite::None] {
        for max_age_seconds in [0, 1, 86_400 * 365] {
            let cookie_name = "a.B-_9".repeat(10).parse()?;
            let sticky = Sticky {
                cookie_name,
                max_age_seconds,
                same_site,
            };
            cases.push(ProxySettings { sticky, ..settings() });
        }
    }
    let long = format!("https://{}.example.org", "a".repeat(63));
    let lists = [
        vec!["*".to_owned()],
        vec![
            long.clone(),
            "https://*.example.org:1".to_owned(),
            "http://[2001:db8::1]:65535".to_owned(),
        ],
        (0..100)
            .map(|number| format!("https://*.n{number}-x.example.org"))
            .collect(),
    ];
    for list in lists {
        let origins = list
            .iter()
            .map(|text| text.parse::<OriginPattern>())
            .collect::<Result<_, _>>()?;
        cases.push(ProxySettings {
            origins,
            ..settings()
        });
    }
    Ok(cases)
}

#[tokio::test]
async fn haproxy_takes_the_ends_of_every_range() {
    let servers = [
        server(0, "10.0.0.1", ServerState::Ready),
        server(1, "fd00::1", ServerState::Maint),
        server(2, "::ffff:10.0.0.1", ServerState::Ready),
    ];
    for case in paths_and_times()
        .into_iter()
        .chain(cookies_and_origins().unwrap())
    {
        let port = if case.port == 0 { 8080 } else { case.port };
        let rendered = render(&ProxySettings { port, ..case }, &servers);
        let answer = accepted(&rendered.text, &rendered.settings).await;
        assert!(answer.is_ok(), "{answer:?}: {rendered:?}");
    }
}

#[tokio::test]
async fn haproxy_takes_the_largest_pool() {
    let servers: Vec<Server> = (0..4_000)
        .map(|number| {
            server(
                number,
                &format!("10.1.{}.{}", number / 250, number % 250),
                ServerState::Ready,
            )
        })
        .collect();
    let settings = ProxySettings {
        port: 8080,
        ..settings()
    };
    let rendered = render(&settings, &servers);
    accepted(&rendered.text, &rendered.settings).await.unwrap();
}

#[tokio::test]
async fn open_file_limit_bounds_the_clients() {
    let backends = pool(1).await.unwrap();
    let pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let info = parse_info(&pod.runtime("show info").await.unwrap()).unwrap();
    let used = info.max_connections * 2;
    assert!(used <= info.open_files_limit, "{info:?}");
    assert!(used + 400 >= info.open_files_limit.min(120_100), "{info:?}");
    let (_, metrics) = pod.admin("/metrics").await.unwrap();
    assert!(
        metrics.contains(&format!("wsc_proxy_max_connections {}\n", info.max_connections)),
        "{metrics}"
    );
}
