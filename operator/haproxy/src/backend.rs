//! The set of servers that the operator publishes and every agent makes true.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::names::{NameError, ServerName};

/// Version of the published document that this build writes and reads.
const SCHEMA: u32 = 1;
/// Name of the backend that the servers belong to.
pub const BACKEND: &str = "ws_pool";
/// A published set larger than this is refused: the resource allows 2000 pods, and as many may be leaving.
const SERVERS_LIMIT: usize = 4_000;

/// What HAProxy should run, as published in the `ConfigMap` under `backends.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendSet {
    pub schema: u32,
    /// Hash of everything else in here.
    pub hash: String,
    /// Hash of the configuration text without its server lines: when it differs from what runs, HAProxy is reloaded.
    pub structure: String,
    pub backend: String,
    pub options: ServerOptions,
    /// Sorted by name.
    pub servers: Vec<Server>,
}

/// One server line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The pod's name.
    pub name: String,
    pub address: IpAddr,
    pub port: u16,
    /// Opaque value of the sticky cookie, equal in every proxy: hexadecimal digits.
    pub cookie: String,
    pub state: ServerState,
}

/// Whether HAProxy sends new clients to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerState {
    /// New clients may go there.
    Ready,
    /// Nobody new goes there, cookie or not; open tunnels live on.
    Maint,
}

/// Keywords of a server, equal for all servers. They stand in `default-server`, and so belong to the structure; run-time servers
/// do not inherit that, so every `add server` repeats them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerOptions {
    pub check_interval_ms: u32,
    pub check_fast_interval_ms: u32,
    pub fall: u32,
    pub rise: u32,
    pub slowstart_seconds: u32,
}

/// Why a published document cannot be used.
#[derive(Debug, Error)]
pub enum BackendSetError {
    #[error("backends.json is not a backend set: {0}")]
    Json(#[from] serde_json::Error),
    #[error("backends.json has schema {0}, this agent reads {SCHEMA}")]
    Schema(u32),
    #[error("backends.json: hash is {stated}, the content has {actual}")]
    Hash { stated: String, actual: String },
    #[error("backends.json: {count} servers, at most {SERVERS_LIMIT} are allowed")]
    TooMany { count: usize },
    #[error("backends.json: server {name:?}: name {source}")]
    Name { name: String, source: NameError },
    #[error("backends.json: server {name:?} is listed twice")]
    Twice { name: String },
    #[error("backends.json: server {name:?}: cookie {cookie:?} is not hexadecimal")]
    Cookie { name: String, cookie: String },
    #[error("backends.json: backend {0:?} is not {BACKEND}")]
    Backend(String),
}

impl Default for ServerOptions {
    fn default() -> Self {
        // A check a second lets a full pod leave rotation within one; slowstart keeps a reconnect storm from landing on the newest pod.
        Self {
            check_interval_ms: 1_000,
            check_fast_interval_ms: 500,
            fall: 3,
            rise: 1,
            slowstart_seconds: 5,
        }
    }
}

impl ServerOptions {
    pub(crate) fn keywords(&self) -> String {
        format!(
            "check inter {}ms fastinter {}ms downinter {}ms fall {} rise {} slowstart {}s",
            self.check_interval_ms,
            self.check_fast_interval_ms,
            self.check_interval_ms,
            self.fall,
            self.rise,
            self.slowstart_seconds
        )
    }
}

impl Server {
    /// Address and port as HAProxy writes them: `10.0.0.1:8080`, `[::1]:8080`.
    pub fn socket(&self) -> String {
        SocketAddr::new(self.address, self.port).to_string()
    }
}

impl BackendSet {
    /// Sorts the servers and computes the hash.
    pub fn new(structure: String, options: ServerOptions, mut servers: Vec<Server>) -> Self {
        servers.sort_by(|a, b| a.name.cmp(&b.name));
        let mut set = Self {
            schema: SCHEMA,
            hash: String::new(),
            structure,
            backend: BACKEND.to_owned(),
            options,
            servers,
        };
        set.hash = set.content_hash();
        set
    }

    /// Reads and checks a published document; nothing in it is trusted to be well formed.
    pub fn from_json(text: &str) -> Result<Self, BackendSetError> {
        let set: Self = serde_json::from_str(text)?;
        if set.schema != SCHEMA {
            return Err(BackendSetError::Schema(set.schema));
        }
        if set.backend != BACKEND {
            return Err(BackendSetError::Backend(set.backend));
        }
        if set.servers.len() > SERVERS_LIMIT {
            return Err(BackendSetError::TooMany {
                count: set.servers.len(),
            });
        }
        let actual = set.content_hash();
        if set.hash != actual {
            return Err(BackendSetError::Hash {
                stated: set.hash,
                actual,
            });
        }
        let mut seen = std::collections::BTreeSet::new();
        for server in &set.servers {
            let name = server.name.clone();
            ServerName::parse(&name).map_err(|source| BackendSetError::Name {
                name: name.clone(),
                source,
            })?;
            if server.cookie.is_empty()
                || server.cookie.len() > 64
                || !server.cookie.bytes().all(|b| b.is_ascii_hexdigit())
            {
                return Err(BackendSetError::Cookie {
                    name,
                    cookie: server.cookie.clone(),
                });
            }
            if !seen.insert(&server.name) {
                return Err(BackendSetError::Twice { name });
            }
        }
        Ok(set)
    }

    /// The published document, on one line: a `ConfigMap` holds 1 MiB, and 4000 servers have to fit in.
    pub fn to_json(&self) -> String {
        // A struct of strings, numbers and enums always serializes.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn content_hash(&self) -> String {
        let mut text = format!(
            "{} {} {} {}\n",
            self.schema,
            self.structure,
            self.backend,
            self.options.keywords()
        );
        for server in &self.servers {
            text.push_str(&format!(
                "{} {} {} {:?}\n",
                server.name,
                server.socket(),
                server.cookie,
                server.state
            ));
        }
        hash(&text)
    }
}

/// 16 hexadecimal digits of SHA-256.
pub(crate) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(8)
        .fold(String::with_capacity(16), |mut hex, byte| {
            hex.push_str(&format!("{byte:02x}"));
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> Server {
        Server {
            name: name.into(),
            address: "10.0.0.1".parse().unwrap(),
            port: 8080,
            cookie: "ab12".into(),
            state: ServerState::Ready,
        }
    }

    #[test]
    fn a_set_comes_back_from_its_document() {
        let set = BackendSet::new(
            "s".into(),
            ServerOptions::default(),
            vec![server("chat-2"), server("chat-1")],
        );
        assert_eq!(set.servers[0].name, "chat-1");
        assert_eq!(BackendSet::from_json(&set.to_json()).unwrap(), set);
    }

    #[test]
    fn the_hash_sees_every_field_of_a_server() {
        let hash = |change: fn(&mut Server)| {
            let mut one = server("chat-1");
            change(&mut one);
            BackendSet::new("s".into(), ServerOptions::default(), vec![one]).hash
        };
        let base = hash(|_| ());
        assert_ne!(base, hash(|s| s.name = "chat-2".into()));
        assert_ne!(base, hash(|s| s.port = 1));
        assert_ne!(base, hash(|s| s.cookie = "cd".into()));
        assert_ne!(base, hash(|s| s.state = ServerState::Maint));
        assert_ne!(base, hash(|s| s.address = "10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn a_document_that_was_tampered_with_is_refused() {
        let set = BackendSet::new("s".into(), ServerOptions::default(), vec![server("chat-1")]);
        let refused = |text: String| BackendSet::from_json(&text).unwrap_err().to_string();
        assert!(refused(set.to_json().replace("8080", "8081")).contains("hash"));
        assert!(refused(set.to_json().replace("\"schema\":1", "\"schema\":9")).contains("schema 9"));
        assert!(refused("{".into()).contains("not a backend set"));
        for (bad, word) in [("a\nb", "name"), ("a b", "name")] {
            let set = BackendSet::new("s".into(), ServerOptions::default(), vec![server(bad)]);
            assert!(refused(set.to_json()).contains(word));
        }
        let twice = BackendSet::new(
            "s".into(),
            ServerOptions::default(),
            vec![server("a"), server("a")],
        );
        assert!(refused(twice.to_json()).contains("twice"));
        let mut cookie = server("a");
        cookie.cookie = "a; rm".into();
        let set = BackendSet::new("s".into(), ServerOptions::default(), vec![cookie]);
        assert!(refused(set.to_json()).contains("cookie"));
    }
}
