//! Commands that turn the running servers into the published ones. Level-triggered: after any
//! failure the same call continues.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use wsc_contract::agent::ServerState;

use crate::backend::{BackendSet, Server, ServerOptions};
use crate::running::{RunningServer, RunningState};

/// One command of the runtime socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Add {
        backend: String,
        server: Server,
        options: ServerOptions,
    },
    EnableHealth {
        backend: String,
        name: String,
    },
    Ready {
        backend: String,
        name: String,
    },
    Maint {
        backend: String,
        name: String,
    },
    /// Returns when the server has no sessions left, or after the time.
    WaitRemovable {
        backend: String,
        name: String,
        milliseconds: u32,
    },
    Delete {
        backend: String,
        name: String,
    },
}

/// Commands for one server, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub server: String,
    pub commands: Vec<Command>,
}

/// How long one `wait` may occupy the socket, in milliseconds. Sessions that last longer are
/// retried at the next sync.
const WAIT_REMOVABLE_MS: u32 = 500;

/// The commands that make HAProxy run `wanted`.
///
/// A server with another address or cookie is removed now and added at the next round; one with
/// sessions is only set to `maint`, so that its tunnels continue. An empty set, which may be a
/// mistake, never empties a pool: HAProxy's own checks find servers that are down.
pub fn diff(running: &[RunningServer], wanted: &BackendSet) -> Vec<Step> {
    if wanted.servers.is_empty() {
        return Vec::new();
    }
    let by_name: BTreeMap<&str, &RunningServer> = running
        .iter()
        .map(|server| (server.name.as_str(), server))
        .collect();
    let mut steps = Vec::new();
    for server in &wanted.servers {
        let commands = match by_name.get(server.name.as_str()) {
            None => add(wanted, server),
            Some(run) if run.socket != server.socket() || run.cookie != server.cookie => {
                remove(&wanted.backend, run)
            }
            Some(run) => correct(&wanted.backend, run, server.state),
        };
        steps.push(Step {
            server: server.name.clone(),
            commands,
        });
    }
    let names: BTreeSet<&str> = wanted.servers.iter().map(|server| server.name.as_str()).collect();
    let unwanted = running.iter().filter(|run| !names.contains(run.name.as_str()));
    steps.extend(unwanted.map(|run| Step {
        server: run.name.clone(),
        commands: remove(&wanted.backend, run),
    }));
    steps.retain(|step| !step.commands.is_empty());
    steps
}

/// Whether HAProxy runs exactly the wanted set. A removed server in `maint` with its last tunnels
/// is no difference; a wanted server that could not be replaced yet is one.
pub fn is_equal(running: &[RunningServer], wanted: &BackendSet) -> bool {
    if wanted.servers.is_empty() {
        return running.iter().all(|run| run.state == RunningState::Maint);
    }
    let by_name: BTreeMap<&str, &RunningServer> = running
        .iter()
        .map(|server| (server.name.as_str(), server))
        .collect();
    let present = wanted.servers.iter().all(|server| {
        by_name
            .get(server.name.as_str())
            .is_some_and(|run| run.socket == server.socket() && run.cookie == server.cookie)
    });
    present && diff(running, wanted).is_empty()
}

fn add(wanted: &BackendSet, server: &Server) -> Vec<Command> {
    let (backend, name) = (wanted.backend.clone(), server.name.clone());
    let mut commands = vec![
        Command::Add {
            backend: backend.clone(),
            server: server.clone(),
            options: wanted.options,
        },
        Command::EnableHealth {
            backend: backend.clone(),
            name: name.clone(),
        },
    ];
    if server.state == ServerState::Ready {
        commands.push(Command::Ready { backend, name });
    }
    commands
}

fn correct(backend: &str, run: &RunningServer, state: ServerState) -> Vec<Command> {
    let (backend, name) = (backend.to_owned(), run.name.clone());
    match (state, run.state) {
        (ServerState::Ready, RunningState::Ready { checked: true, .. } | RunningState::Rejects)
        | (ServerState::Maint, RunningState::Maint) => Vec::new(),
        (ServerState::Ready, RunningState::Ready { checked: false, .. }) => {
            vec![Command::EnableHealth { backend, name }]
        }
        (ServerState::Ready, RunningState::Maint | RunningState::Drain) => {
            vec![
                Command::EnableHealth {
                    backend: backend.clone(),
                    name: name.clone(),
                },
                Command::Ready { backend, name },
            ]
        }
        (ServerState::Maint, _) => vec![Command::Maint { backend, name }],
    }
}

fn remove(backend: &str, run: &RunningServer) -> Vec<Command> {
    let (backend, name) = (backend.to_owned(), run.name.clone());
    let mut commands = Vec::new();
    if run.state != RunningState::Maint {
        commands.push(Command::Maint {
            backend: backend.clone(),
            name: name.clone(),
        });
    }
    if run.sessions == 0 {
        commands.push(Command::WaitRemovable {
            backend: backend.clone(),
            name: name.clone(),
            milliseconds: WAIT_REMOVABLE_MS,
        });
        commands.push(Command::Delete { backend, name });
    }
    commands
}

impl Command {
    /// The exact reply that means success; `None` where it is an empty reply.
    pub(crate) fn success(&self) -> Option<&'static str> {
        match self {
            Self::Add { .. } => Some("New server registered."),
            Self::WaitRemovable { .. } => Some("Done."),
            Self::Delete { .. } => Some("Server deleted."),
            Self::EnableHealth { .. } | Self::Ready { .. } | Self::Maint { .. } => None,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add {
                backend,
                server,
                options,
            } => write!(
                f,
                "add server {backend}/{} {} cookie {} {}",
                server.name,
                server.socket(),
                server.cookie,
                options.keywords()
            ),
            Self::EnableHealth { backend, name } => write!(f, "enable health {backend}/{name}"),
            Self::Ready { backend, name } => write!(f, "set server {backend}/{name} state ready"),
            Self::Maint { backend, name } => write!(f, "set server {backend}/{name} state maint"),
            Self::WaitRemovable {
                backend,
                name,
                milliseconds,
            } => {
                write!(f, "wait {milliseconds}ms srv-removable {backend}/{name}")
            }
            Self::Delete { backend, name } => write!(f, "del server {backend}/{name}"),
        }
    }
}
