//! The agent's status document.

use serde::{Deserialize, Serialize};

/// `GET /status` of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentStatus {
    /// Version of the agent.
    #[serde(default)]
    pub version: String,
    /// Version of the running HAProxy; empty before the servers were read from it.
    #[serde(default)]
    pub haproxy_version: String,
    /// Process id of the current HAProxy worker; 0 before its first reply.
    #[serde(default)]
    pub pid: u32,
    /// Hash of the published server set.
    #[serde(default)]
    pub wanted_hash: String,
    /// Hash of the server set that the running HAProxy was last seen equal to.
    #[serde(default)]
    pub applied_hash: String,
    /// Structure of the published configuration.
    #[serde(default)]
    pub wanted_structure: String,
    /// Structure of the configuration that HAProxy runs.
    #[serde(default)]
    pub applied_structure: String,
    /// Hash of the published settings.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wanted_settings: String,
    /// Hash of the settings that the running HAProxy was last seen to have.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub applied_settings: String,
    /// The published configuration that is rejected, and the cause; null otherwise.
    pub refusal: Option<Refusal>,
    /// Whether HAProxy replies and runs the published configuration and servers.
    pub synced: bool,
    /// Reloads by this agent that HAProxy accepted.
    #[serde(default)]
    pub reloads: u64,
    /// Changes of the worker process, after a reload or a crash.
    #[serde(default)]
    pub pid_changes: u64,
    /// Workers from before a reload that still have clients.
    #[serde(default)]
    pub old_workers: u64,
    /// Client connections over all workers.
    #[serde(default)]
    pub connections: u64,
    /// Counters of the current HAProxy worker; null before its first reply, and in release 0.1.0.
    #[serde(default)]
    pub worker: Option<WorkerCounters>,
    /// Milliseconds since connections, servers and counters were read from HAProxy; null before the
    /// first time, and in release 0.1.0. They keep their last values while HAProxy does not reply.
    #[serde(default)]
    pub observed_ms_ago: Option<u64>,
    /// Servers over all workers, sorted by name.
    pub servers: Vec<ServerStatus>,
}

/// What one HAProxy worker has counted since its start. A reload starts another worker, which
/// counts from zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkerCounters {
    /// Identifies the worker: another value after each reload or restart of HAProxy.
    pub id: String,
    /// Handshakes that HAProxy answered with 503 itself: no server in rotation, a timeout in the
    /// queue, or no connection to a server after all retries. No server counts them.
    pub refused: u64,
    /// Failed attempts that were repeated with the same server.
    pub retries: u64,
    /// Failed attempts that were repeated with another server.
    pub redispatches: u64,
    /// Handshakes that wait for a server now.
    pub queued: u64,
}

/// One server over all workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerStatus {
    /// Name of the pod.
    pub name: String,
    /// Whether the current worker sends new clients to the server.
    pub state: ServerState,
    /// Whether HAProxy's health check passes; a full server counts as up.
    pub up: bool,
    /// Whether the server answers the health check with 404: it is full, short of memory, cordoned
    /// or terminates.
    #[serde(default)]
    pub rejects: bool,
    /// Open connections.
    pub sessions: u64,
}

/// Whether HAProxy sends new clients to a server. `backends.json` uses the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ServerState {
    /// In rotation.
    Ready,
    /// Out of rotation; open connections continue.
    Maint,
}

/// A configuration that is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Refusal {
    /// Structure of the rejected configuration; empty when the published files are invalid.
    pub structure: String,
    /// The line that HAProxy printed, or the cause.
    pub message: String,
}

impl ServerState {
    /// Both states.
    pub const ALL: [Self; 2] = [Self::Ready, Self::Maint];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Maint => "Maint",
        }
    }
}

impl WorkerCounters {
    /// What was counted since `before`: all of it where another worker counted then.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        if self.id != before.id {
            return self.clone();
        }
        Self {
            id: self.id.clone(),
            refused: self.refused.saturating_sub(before.refused),
            retries: self.retries.saturating_sub(before.retries),
            redispatches: self.redispatches.saturating_sub(before.redispatches),
            queued: self.queued,
        }
    }
}

impl AgentStatus {
    /// The document of a proxy in sync, for the reference.
    pub fn example() -> Self {
        Self {
            version: "0.1.0".to_owned(),
            haproxy_version: "3.0.11".to_owned(),
            pid: 12,
            wanted_hash: "9f86d081884c7d65".to_owned(),
            applied_hash: "9f86d081884c7d65".to_owned(),
            wanted_structure: "60303ae22b998861".to_owned(),
            applied_structure: "60303ae22b998861".to_owned(),
            wanted_settings: "b3a8e0e1f9ab1bfe".to_owned(),
            applied_settings: "b3a8e0e1f9ab1bfe".to_owned(),
            refusal: None,
            synced: true,
            reloads: 0,
            pid_changes: 0,
            old_workers: 0,
            connections: 512,
            worker: Some(WorkerCounters {
                id: "12-1795796275".to_owned(),
                refused: 3,
                retries: 0,
                redispatches: 2,
                queued: 0,
            }),
            observed_ms_ago: Some(740),
            servers: vec![ServerStatus {
                name: "chat-17".to_owned(),
                state: ServerState::Ready,
                up: true,
                rejects: false,
                sessions: 120,
            }],
        }
    }

    /// The names of all servers.
    pub fn names(&self) -> Vec<&str> {
        self.servers.iter().map(|server| server.name.as_str()).collect()
    }

    /// The server of this name.
    pub fn server(&self, name: &str) -> Option<&ServerStatus> {
        self.servers.iter().find(|server| server.name == name)
    }
}

impl Refusal {
    /// A refused directive, for the reference.
    pub fn example() -> Self {
        Self {
            structure: "60303ae22b998861".to_owned(),
            message: "config : parsing [haproxy.cfg:40] : unknown keyword 'balanced'.".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = concat!(
        r#"{"version":"0.1.0","haproxy_version":"3.0.11","pid":12,"wanted_hash":"9f86d081884c7d65","applied_hash":"9f86d081884c7d65","#,
        r#""wanted_structure":"60303ae22b998861","applied_structure":"60303ae22b998861","wanted_settings":"b3a8e0e1f9ab1bfe","applied_settings":"b3a8e0e1f9ab1bfe","refusal":null,"synced":true,"reloads":0,"#,
        r#""pid_changes":0,"old_workers":0,"connections":512,"worker":{"id":"12-1795796275","refused":3,"retries":0,"redispatches":2,"queued":0},"#,
        r#""observed_ms_ago":740,"servers":[{"name":"chat-17","state":"Ready","up":true,"rejects":false,"sessions":120}]}"#,
    );

    /// What the operator of release 0.1.0 requires, in its types.
    #[derive(Deserialize)]
    struct Status010 {
        haproxy_version: Option<String>,
        applied_hash: Option<String>,
        applied_structure: Option<String>,
        synced: bool,
        refusal: Option<Refusal010>,
        servers: Vec<Server010>,
    }

    #[derive(Deserialize)]
    struct Refusal010 {
        structure: String,
        message: String,
    }

    #[derive(Deserialize)]
    struct Server010 {
        name: String,
        state: String,
        up: bool,
        sessions: i64,
    }

    #[test]
    fn release_0_1_0_reads_the_status() {
        let mut status = AgentStatus::example();
        status.refusal = Some(Refusal::example());
        status.servers[0].state = ServerState::Maint;
        let text = serde_json::to_string(&status).unwrap();
        let old: Status010 = serde_json::from_str(&text).unwrap();
        assert_eq!(old.haproxy_version, Some(status.haproxy_version));
        assert_eq!(old.applied_hash, Some(status.applied_hash));
        assert_eq!(old.applied_structure, Some(status.applied_structure));
        let refusal = old.refusal.unwrap();
        assert_eq!(
            (refusal.structure, refusal.message, old.synced),
            (Refusal::example().structure, Refusal::example().message, true)
        );
        let Server010 {
            name,
            state,
            up,
            sessions,
        } = &old.servers[0];
        assert_eq!(
            (name.as_str(), state.as_str(), *up, *sessions),
            ("chat-17", "Maint", true, 120)
        );
    }

    #[test]
    fn status_serializes_as_documented() {
        assert_eq!(serde_json::to_string(&AgentStatus::example()).unwrap(), STATUS);
        assert_eq!(
            serde_json::from_str::<AgentStatus>(STATUS).unwrap(),
            AgentStatus::example()
        );
        let refused = AgentStatus {
            refusal: Some(Refusal::example()),
            ..AgentStatus::example()
        };
        let text = serde_json::to_string(&refused).unwrap();
        assert!(
            text.contains(r#""refusal":{"structure":"60303ae22b998861","message":"config : "#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<AgentStatus>(&text).unwrap(), refused);
    }

    #[test]
    fn needed_fields_suffice() {
        let status: AgentStatus =
            serde_json::from_str(r#"{"refusal":null,"synced":false,"servers":[]}"#).unwrap();
        assert_eq!(status, AgentStatus::default());
        for bad in [
            "{}",
            "[]",
            r#"{"synced":true}"#,
            &STATUS.replace("\"sessions\":120", "\"sessions\":-1"),
            &STATUS.replace("\"Ready\"", "\"Drain\""),
        ] {
            assert!(
                serde_json::from_str::<AgentStatus>(bad).is_err(),
                "accepted: {bad}"
            );
        }
    }

    #[test]
    fn counters_of_another_worker_count_from_zero() {
        let counted = |id: &str, refused| WorkerCounters {
            id: id.to_owned(),
            refused,
            ..WorkerCounters::default()
        };
        for (before, now, rise) in [
            (counted("7-1", 5), counted("7-1", 8), 3),
            (counted("7-1", 5), counted("7-1", 4), 0),
            (counted("7-1", 5), counted("7-2", 4), 4),
            (counted("7-1", 5), counted("9-1", 9), 9),
        ] {
            assert_eq!(now.since(&before).refused, rise, "{before:?} to {now:?}");
        }
    }

    #[test]
    fn state_names_match_their_json() {
        for state in ServerState::ALL {
            assert_eq!(
                serde_json::to_string(&state).unwrap(),
                format!("\"{}\"", state.as_str())
            );
        }
    }
}
