//! Properties of rendering and diff for any settings and servers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use wsc_contract::agent::ServerState;
use wsc_contract::origin::OriginPattern;

use crate::config::{Argument, Config};
use crate::render::config;
use crate::{
    BackendSet, Command, ProxySettings, Published, RenderedConfig, RunningServer, RunningState, SameSite,
    Server, ServerOptions, Sticky, Timeouts, diff, render, with_servers_of,
};

fn settings() -> ProxySettings {
    ProxySettings {
        port: 8080,
        path: "/ws".into(),
        server_path: "/ws".into(),
        sticky: Sticky {
            cookie_name: "wsc".parse().unwrap(),
            max_age_seconds: 0,
            same_site: SameSite::Lax,
        },
        origins: Vec::new(),
        timeouts: Timeouts {
            connect_seconds: 2,
            handshake_seconds: 10,
            tunnel_seconds: 3600,
        },
        server_options: ServerOptions::default(),
        runtime_folder: None,
    }
}

fn server(name: &str, address: &str, state: ServerState) -> Server {
    Server {
        name: name.into(),
        address: address.parse().unwrap(),
        port: 8080,
        cookie: "5f0c2a".into(),
        state,
    }
}

fn pool() -> Vec<Server> {
    vec![
        server("chat-1", "10.244.1.7", ServerState::Maint),
        server("chat-0", "fd00::5", ServerState::Ready),
    ]
}

#[test]
fn default_configuration() {
    insta::assert_snapshot!(render(&settings(), &pool()).text);
}

#[test]
fn full_configuration() {
    let mut settings = settings();
    settings.sticky.max_age_seconds = 600;
    settings.sticky.same_site = SameSite::None;
    insta::assert_snapshot!(render(&settings, &pool()).text);
}

/// HAProxy is reloaded for a change of the text only.
#[test]
fn structure_excludes_origins_and_paths() {
    let before = render(&settings(), &pool());
    let others = ProxySettings {
        path: "/api/live".into(),
        server_path: "/chat".into(),
        origins: vec![OriginPattern::Any, "https://*.example.org".parse().unwrap()],
        ..settings()
    };
    let after = render(&others, &pool());
    assert_eq!(before.text, after.text);
    assert_ne!(before.settings.hash(), after.settings.hash());
}

#[test]
fn servers_are_no_part_of_the_structure() {
    let structure = |servers: &[Server], port| {
        render(&ProxySettings { port, ..settings() }, servers)
            .backend_set
            .structure
    };
    assert_eq!(structure(&[], 8080), structure(&pool(), 8080));
    assert_ne!(structure(&[], 8080), structure(&[], 8081));
}

#[test]
fn structure_changes_keep_servers() {
    let old = render(&settings(), &pool()).text;
    let new = render(
        &ProxySettings {
            port: 9090,
            ..settings()
        },
        &[],
    )
    .text;
    let kept = with_servers_of(&new, &old);
    assert_eq!(
        kept,
        render(
            &ProxySettings {
                port: 9090,
                ..settings()
            },
            &pool()
        )
        .text
    );
    assert_eq!(with_servers_of(&old, &new), render(&settings(), &[]).text);
    assert_eq!(with_servers_of(&old, &old), old);
}

/// Splits a line as HAProxy does: blanks separate words unless they are quoted.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t') => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (Some(q), c) if q == c => quote = None,
            (None, '\\') => {
                word.extend(chars.next());
                begun = true;
            }
            (None, '#') => break,
            (_, c) => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// Section headers with the keyword and the number of words of each line.
fn shape(config: &RenderedConfig) -> Vec<(String, usize)> {
    config
        .text
        .lines()
        .map(words)
        .filter_map(|words| Some((words.first()?.clone(), words.len())))
        .collect()
}

/// The sections and directives of the model as words.
fn model(config: &Config) -> Vec<Vec<String>> {
    let word = |argument: &Argument| match argument {
        Argument::Literal(text) => text.chars().filter(|c| !c.is_control()).collect(),
        Argument::Environment(name) => format!("${{{name}}}"),
    };
    let mut lines = Vec::new();
    for section in &config.sections {
        let head = [Some(section.kind), section.name];
        lines.push(head.into_iter().flatten().map(str::to_owned).collect());
        lines.extend(section.directives.iter().map(|directive| {
            let arguments = directive.arguments.iter().map(word);
            std::iter::once(directive.keyword.to_owned())
                .chain(arguments)
                .collect()
        }));
    }
    lines
}

proptest! {
    /// Sections, directives and arguments survive rendering for any settings.
    #[test]
    fn text_equals_model(tried in any_settings(), servers in pool_of_wanted()) {
        let text = config(&tried, &servers).to_string();
        let read: Vec<Vec<String>> = text.lines().map(words).filter(|words| !words.is_empty()).collect();
        prop_assert_eq!(read, model(&config(&tried, &servers)));
        let rendered = render(&tried, &servers);
        let published = Published::parse(&rendered.text, &rendered.backend_set.to_json(), None).unwrap();
        prop_assert_eq!(published.text(), &rendered.text);
    }

    /// No user text changes the number of lines or of words of a line.
    #[test]
    fn user_text_stays_one_argument(cookie in ".{1,40}", folder in "/.{1,40}") {
        let mut tried = settings();
        if let Ok(name) = cookie.parse() {
            tried.sticky.cookie_name = name;
        }
        // The folder is no user's; the model must not depend on that.
        tried.runtime_folder = Some(folder);
        prop_assert_eq!(shape(&render(&tried, &pool())), shape(&render(&settings(), &pool())));
    }

    /// From any state, a few rounds reach the wanted set, except for servers with tunnels: those
    /// end in maint.
    #[test]
    fn diff_converges(running in pool_of_running(), wanted in pool_of_wanted()) {
        let wanted = BackendSet::new("s".into(), ServerOptions::default(), wanted);
        let mut simulated: BTreeMap<String, RunningServer> = running.into_iter().map(|s| (s.name.clone(), s)).collect();
        let tunnels: u64 = simulated.values().map(|s| s.sessions).sum();
        for _ in 0..4 {
            let now: Vec<RunningServer> = simulated.values().cloned().collect();
            for step in diff(&now, &wanted) {
                step.commands.iter().for_each(|command| execute(&mut simulated, command));
            }
        }
        prop_assert_eq!(simulated.values().map(|s| s.sessions).sum::<u64>(), tunnels, "no tunnel was cut");
        if wanted.servers.is_empty() {
            return Ok(());
        }
        for server in &wanted.servers {
            let run = simulated.get(&server.name);
            prop_assert!(run.is_some(), "{} is missing", server.name);
            let run = run.unwrap();
            if run.socket == server.socket() && run.cookie == server.cookie {
                let expected = match server.state {
                    ServerState::Ready => matches!(
                        run.state,
                        RunningState::Ready { checked: true, .. } | RunningState::Rejects
                    ),
                    ServerState::Maint => run.state == RunningState::Maint,
                };
                prop_assert!(expected, "{run:?} for {server:?}");
            } else {
                prop_assert!(run.sessions > 0 && run.state == RunningState::Maint, "only tunnels hold {run:?}");
            }
        }
        for run in simulated.values().filter(|run| wanted.servers.iter().all(|server| server.name != run.name)) {
            prop_assert!(run.sessions > 0 && run.state == RunningState::Maint, "{run:?} is left over");
        }
    }
}

fn any_settings() -> impl Strategy<Value = ProxySettings> {
    let same_site = prop_oneof![Just(SameSite::Lax), Just(SameSite::Strict), Just(SameSite::None)];
    let sticky =
        ("[A-Za-z0-9_.-]{1,64}", any::<u32>(), same_site).prop_map(|(name, age, same_site)| Sticky {
            cookie_name: name.parse().unwrap(),
            max_age_seconds: age,
            same_site,
        });
    let timeouts = any::<[u32; 3]>().prop_map(|[connect, handshake, tunnel]| Timeouts {
        connect_seconds: connect,
        handshake_seconds: handshake,
        tunnel_seconds: tunnel,
    });
    // The folder is no user's; the model must not depend on that.
    let folder = proptest::option::of("/.{1,40}");
    (any::<u16>(), sticky, timeouts, folder).prop_map(|(port, sticky, timeouts, runtime_folder)| {
        ProxySettings {
            port,
            sticky,
            timeouts,
            runtime_folder,
            ..settings()
        }
    })
}

fn pool_of_running() -> impl Strategy<Value = Vec<RunningServer>> {
    let state = prop_oneof![
        Just(RunningState::Maint),
        Just(RunningState::Drain),
        Just(RunningState::Rejects),
        (any::<bool>(), any::<bool>()).prop_map(|(up, checked)| RunningState::Ready { up, checked }),
    ];
    let one = (0..6u8, 1..3u8, 0..2u8, state, 0..2u64).prop_map(|(n, address, cookie, state, sessions)| {
        RunningServer {
            name: format!("chat-{n}"),
            socket: format!("10.0.0.{address}:8080"),
            cookie: format!("a{cookie}"),
            state,
            sessions,
        }
    });
    proptest::collection::vec(one, 0..6)
}

fn pool_of_wanted() -> impl Strategy<Value = Vec<Server>> {
    let one = (1..3u8, 0..2u8, any::<bool>()).prop_map(|(address, cookie, ready)| (address, cookie, ready));
    proptest::collection::btree_map(0..6u8, one, 0..6).prop_map(|servers| {
        servers
            .into_iter()
            .map(|(n, (address, cookie, ready))| Server {
                name: format!("chat-{n}"),
                address: IpAddr::from([10, 0, 0, address]),
                port: 8080,
                cookie: format!("a{cookie}"),
                state: if ready {
                    ServerState::Ready
                } else {
                    ServerState::Maint
                },
            })
            .collect()
    })
}

/// HAProxy's rules: an added server starts in maint and unchecked, only an idle server in maint can
/// be deleted.
fn execute(pool: &mut BTreeMap<String, RunningServer>, command: &Command) {
    match command {
        Command::Add { server, .. } => {
            let new = RunningServer {
                name: server.name.clone(),
                socket: server.socket(),
                cookie: server.cookie.clone(),
                state: RunningState::Maint,
                sessions: 0,
            };
            pool.entry(server.name.clone()).or_insert(new);
        }
        Command::EnableHealth { name, .. } => {
            if let Some(RunningState::Ready { checked, .. }) = pool.get_mut(name).map(|s| &mut s.state) {
                *checked = true;
            }
        }
        Command::Ready { name, .. } => set(
            pool,
            name,
            RunningState::Ready {
                up: true,
                checked: true,
            },
        ),
        Command::Maint { name, .. } => set(pool, name, RunningState::Maint),
        Command::WaitRemovable { .. } => {}
        Command::Delete { name, .. } => {
            if pool
                .get(name)
                .is_some_and(|s| s.state == RunningState::Maint && s.sessions == 0)
            {
                pool.remove(name);
            }
        }
    }
}

fn set(pool: &mut BTreeMap<String, RunningServer>, name: &str, state: RunningState) {
    if let Some(server) = pool.get_mut(name) {
        server.state = state;
    }
}
