//! From what runs to what is wanted, level-triggered: the same call after any failure goes on where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::backend::{BackendSet, Server, ServerOptions, ServerState};
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
    /// Answers when the server has no sessions left, or after the time.
    WaitRemovable {
        backend: String,
        name: String,
        milliseconds: u32,
    },
    Delete {
        backend: String,
        name: String,
    },
    ShutdownSessions {
        backend: String,
        name: String,
    },
}

/// Commands that are about one server and only make sense in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub server: String,
    pub commands: Vec<Command>,
}

/// How long one `wait` may hold the socket. Tunnels that stay longer are found again at the next round.
const WAIT_REMOVABLE_MS: u32 = 500;

/// What to send so that HAProxy runs `wanted`.
///
/// A server that must be replaced (its address or cookie differs) is removed now and added at the next round. A server that has
/// sessions is not deleted, only put to `maint`: its tunnels live. An empty wanted set never empties a pool: it would cut off
/// everybody if it were a mistake, and HAProxy's own checks handle servers that are really gone.
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

/// Whether HAProxy serves exactly what is wanted. A server that is on its way out, in `maint` with its last tunnels, is no
/// difference; a wanted one that could not be replaced yet is.
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
    let mut commands = vec![Command::Add {
        backend: backend.clone(),
        server: server.clone(),
        options: wanted.options,
    }];
    commands.push(Command::EnableHealth {
        backend: backend.clone(),
        name: name.clone(),
    });
    if server.state == ServerState::Ready {
        commands.push(Command::Ready { backend, name });
    }
    commands
}

fn correct(backend: &str, run: &RunningServer, state: ServerState) -> Vec<Command> {
    let (backend, name) = (backend.to_owned(), run.name.clone());
    match (state, run.state) {
        (ServerState::Ready, RunningState::Ready { checked: true, .. })
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
    /// The exact first line of the answer that means success; `None` where success is an empty answer.
    pub fn success(&self) -> Option<&'static str> {
        match self {
            Self::Add { .. } => Some("New server registered."),
            Self::WaitRemovable { .. } => Some("Done."),
            Self::Delete { .. } => Some("Server deleted."),
            Self::EnableHealth { .. }
            | Self::Ready { .. }
            | Self::Maint { .. }
            | Self::ShutdownSessions { .. } => None,
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
            Self::ShutdownSessions { backend, name } => {
                write!(f, "shutdown sessions server {backend}/{name}")
            }
        }
    }
}
