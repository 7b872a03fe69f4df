//! The set of servers that the operator publishes and every agent applies to its HAProxy.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use wsc_contract::agent::ServerState;

use crate::config::Directive;
use crate::names::{NameError, check_server_name};

/// Version of the published document that this build writes and reads.
const SCHEMA: u32 = 1;
/// Name of the backend section.
pub const BACKEND: &str = "ws_pool";
/// A larger set is rejected: the resource allows 2000 pods, and as many may be draining.
const SERVERS_LIMIT: usize = 4_000;
/// The longest cookie value, in characters.
const COOKIE_LIMIT: usize = 64;

/// What HAProxy should run, as published in the `ConfigMap` under `backends.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BackendSet {
    /// Version of the document; an agent rejects any other than its own.
    pub schema: u32,
    /// Hash of all other fields.
    pub hash: String,
    /// Hash of the configuration without its server lines; HAProxy is reloaded when it differs from
    /// the running one.
    pub structure: String,
    /// Name of the backend section with the servers.
    pub backend: String,
    /// Keywords of all servers.
    pub options: ServerOptions,
    /// The servers, sorted by name.
    pub servers: Vec<Server>,
}

/// One server line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Server {
    /// Name of the pod.
    pub name: String,
    /// IP address of the pod.
    pub address: IpAddr,
    /// Port of the clients.
    pub port: u16,
    /// Opaque value of the sticky cookie, equal in every proxy: hexadecimal digits.
    pub cookie: String,
    /// Whether HAProxy sends new clients to the server.
    pub state: ServerState,
}

/// Keywords common to all servers. `default-server` has them, so they belong to the structure;
/// servers added at run time do not inherit it, so every `add server` repeats them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ServerOptions {
    /// Milliseconds between health checks (`inter`, `downinter`).
    pub check_interval_ms: u32,
    /// Milliseconds between health checks while the state changes (`fastinter`).
    pub check_fast_interval_ms: u32,
    /// Failed health checks after which a server is down.
    pub fall: u32,
    /// Successful health checks after which a server is up.
    pub rise: u32,
    /// Seconds over which the share of a server that came up grows to the full one.
    pub slowstart_seconds: u32,
}

/// Why a published document cannot be used.
#[derive(Debug, Error)]
pub enum BackendSetError {
    #[error("backends.json is not a backend set: {0}")]
    Json(#[from] serde_json::Error),
    #[error("backends.json has schema {0}, this agent reads {SCHEMA}")]
    Schema(u32),
    #[error("backends.json: hash is {stated}, but the content hashes to {actual}")]
    Hash { stated: String, actual: String },
    #[error("backends.json: {count} servers, the maximum is {SERVERS_LIMIT}")]
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
        // A check a second lets a full pod leave rotation within one; slowstart keeps a reconnect
        // storm from landing on the newest pod.
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

    /// The server's line in the configuration.
    pub(crate) fn directive(&self) -> Directive {
        let mut words = vec![
            self.name.clone(),
            self.socket(),
            "cookie".to_owned(),
            self.cookie.clone(),
        ];
        if self.state == ServerState::Maint {
            words.push("disabled".to_owned());
        }
        Directive::new("server", words)
    }

    fn check(&self) -> Result<(), BackendSetError> {
        let name = || self.name.clone();
        check_server_name(&self.name).map_err(|source| BackendSetError::Name { name: name(), source })?;
        let is_hex = self.cookie.bytes().all(|b| b.is_ascii_hexdigit());
        if is_hex && (1..=COOKIE_LIMIT).contains(&self.cookie.len()) {
            Ok(())
        } else {
            Err(BackendSetError::Cookie {
                name: name(),
                cookie: self.cookie.clone(),
            })
        }
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

    /// Parses and checks a published document.
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
        let mut names = BTreeSet::new();
        for server in &set.servers {
            server.check()?;
            if !names.insert(&server.name) {
                return Err(BackendSetError::Twice {
                    name: server.name.clone(),
                });
            }
        }
        Ok(set)
    }

    /// The published document, in one line: a `ConfigMap` holds 1 MiB, and 4000 servers must fit.
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
    let mut digest = HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
    digest.truncate(16);
    digest
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
    fn set_survives_serialization() {
        let set = BackendSet::new(
            "s".into(),
            ServerOptions::default(),
            vec![server("chat-2"), server("chat-1")],
        );
        assert_eq!(set.servers[0].name, "chat-1");
        assert_eq!(BackendSet::from_json(&set.to_json()).unwrap(), set);
    }

    #[test]
    fn hash_covers_every_server_field() {
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
    fn tampered_documents_are_rejected() {
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
