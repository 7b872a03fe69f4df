//! The agent's `/status`, field by field as docs/contracts.md has it.

use serde::Deserialize;

/// A field that is missing or new is an error: the contract says what is in there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub version: String,
    pub haproxy_version: String,
    pub pid: u32,
    pub wanted_hash: String,
    pub applied_hash: String,
    pub wanted_structure: String,
    pub applied_structure: String,
    pub refusal: Option<Refusal>,
    pub synced: bool,
    pub reloads: u64,
    pub pid_changes: u64,
    pub old_workers: u64,
    pub connections: u64,
    pub servers: Vec<ServerStatus>,
}

/// Why a configuration is not used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    pub structure: String,
    pub message: String,
}

/// One server over all workers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerStatus {
    pub name: String,
    pub state: String,
    pub up: bool,
    pub sessions: u64,
}

impl Status {
    /// The server of this name.
    pub fn server(&self, name: &str) -> Option<&ServerStatus> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// The names of all servers.
    pub fn names(&self) -> Vec<&str> {
        self.servers.iter().map(|server| server.name.as_str()).collect()
    }
}
