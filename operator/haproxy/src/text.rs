//! The configuration's text as it travels: which part of it asks for a reload, and which part only lists servers.

use thiserror::Error;

use crate::backend::{BackendSet, BackendSetError, hash};
use crate::render::server_line;

const SERVER: &str = "    server ";
const DESCRIPTION: &str = "    description ";
/// A `ConfigMap` cannot hold more, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// A configuration and its servers, as the operator published them, checked against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    text: String,
    set: BackendSet,
}

/// Why a published pair cannot be used.
#[derive(Debug, Error)]
pub enum PublishedError {
    #[error(transparent)]
    Set(#[from] BackendSetError),
    #[error("haproxy.cfg: structure is {actual}, backends.json says {stated}")]
    Structure { stated: String, actual: String },
    #[error("haproxy.cfg: line {line} is not what backends.json says: {text:?}")]
    Servers { line: usize, text: String },
    #[error("haproxy.cfg and backends.json: {size} bytes, at most {SIZE_LIMIT} are allowed")]
    Size { size: usize },
}

impl Published {
    /// Takes a pair only if both say the same: neither a half-written pair nor one that a person edited passes.
    pub fn parse(text: &str, json: &str) -> Result<Self, PublishedError> {
        let size = text.len().saturating_add(json.len());
        if size > SIZE_LIMIT {
            return Err(PublishedError::Size { size });
        }
        let set = BackendSet::from_json(json)?;
        let actual = structure_of(text);
        if actual != set.structure || stated_structure(text) != Some(&set.structure) {
            return Err(PublishedError::Structure {
                stated: set.structure,
                actual,
            });
        }
        let expected = with_servers(text, &set);
        if expected == text {
            let text = expected;
            return Ok(Self { text, set });
        }
        let differs = |(line, expected): &(&str, &str)| line != expected;
        let place = text.lines().zip(expected.lines()).position(|pair| differs(&pair));
        let line = place.unwrap_or_else(|| text.lines().count().min(expected.lines().count()));
        Err(PublishedError::Servers {
            line: line.saturating_add(1),
            text: text
                .lines()
                .nth(line)
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect(),
        })
    }

    /// The whole configuration.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The servers in it.
    pub fn set(&self) -> &BackendSet {
        &self.set
    }
}

/// Hash of a configuration without its servers, comments and its own name: when it differs from what runs, HAProxy is reloaded.
pub fn structure_of(text: &str) -> String {
    let skipped =
        |line: &&str| !line.starts_with(SERVER) && !line.starts_with(DESCRIPTION) && !line.starts_with('#');
    let kept: Vec<&str> = text.lines().filter(skipped).collect();
    hash(kept.join("\n").trim_end())
}

/// The same configuration with these servers instead of its own. Servers stand at the end: the backend is the last section.
pub fn with_servers(text: &str, set: &BackendSet) -> String {
    let structure: Vec<&str> = text.lines().filter(|line| !line.starts_with(SERVER)).collect();
    let mut result = structure.join("\n").trim_end().to_owned();
    result.push('\n');
    for server in &set.servers {
        result.push_str(&format!("    {}\n", server_line(server)));
    }
    result.push('\n');
    result
}

/// The same configuration with the server lines of another one, in the order that they have there.
pub fn with_servers_of(text: &str, other: &str) -> String {
    let is_server = |line: &&str| line.starts_with(SERVER);
    let structure: Vec<&str> = text.lines().filter(|line| !is_server(line)).collect();
    let mut result = structure.join("\n").trim_end().to_owned();
    result.push('\n');
    for line in other.lines().filter(is_server) {
        result.push_str(line);
        result.push('\n');
    }
    result.push('\n');
    result
}

/// What the configuration says of itself, and what `show info` will repeat once it runs.
fn stated_structure(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix(DESCRIPTION))
}
