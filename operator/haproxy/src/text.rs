//! The published configuration: its structure, which needs a reload, and its server lines, which do
//! not.

use thiserror::Error;

use crate::backend::{BackendSet, BackendSetError, hash};
use crate::settings::{Settings, SettingsError};

const SERVER: &str = "    server ";
const DESCRIPTION: &str = "    description ";
/// The maximum size of a `ConfigMap`, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// A published configuration and its server set, checked against each other, and the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    text: String,
    set: BackendSet,
    settings: Option<Settings>,
}

/// Published data that cannot be used.
#[derive(Debug, Error)]
pub enum PublishedError {
    #[error(transparent)]
    Set(#[from] BackendSetError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("haproxy.cfg: structure is {actual}, but {stated} in backends.json")]
    Structure { stated: String, actual: String },
    #[error("haproxy.cfg: line {line} differs from backends.json: {text:?}")]
    Servers { line: usize, text: String },
    #[error("haproxy.cfg, backends.json and settings.json: {size} bytes, the maximum is {SIZE_LIMIT}")]
    Size { size: usize },
}

impl Published {
    /// Accepts a pair only if both files agree: a pair that is half written or was edited by hand
    /// is rejected. Operators before release 0.2.0 publish no settings: what these say is part of
    /// their configuration.
    pub fn parse(text: &str, json: &str, settings: Option<&str>) -> Result<Self, PublishedError> {
        let size = text.len() + json.len() + settings.map_or(0, str::len);
        if size > SIZE_LIMIT {
            return Err(PublishedError::Size { size });
        }
        let settings = settings.map(Settings::from_json).transpose()?;
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
            return Ok(Self { text, set, settings });
        }
        let place = text
            .lines()
            .zip(expected.lines())
            .position(|(line, expected)| line != expected);
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

    /// The complete configuration.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its servers.
    pub fn set(&self) -> &BackendSet {
        &self.set
    }

    /// What is taken over at run time besides the servers.
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }
}

/// Hash of a configuration without its server lines, comments and description; HAProxy is reloaded
/// when it changes.
pub fn structure_of(text: &str) -> String {
    let skipped =
        |line: &&str| !line.starts_with(SERVER) && !line.starts_with(DESCRIPTION) && !line.starts_with('#');
    let kept: Vec<&str> = text.lines().filter(skipped).collect();
    hash(kept.join("\n").trim_end())
}

/// The configuration with other servers. Server lines are the end of the text, because the backend
/// is the last section.
pub fn with_servers(text: &str, set: &BackendSet) -> String {
    let structure: Vec<&str> = text.lines().filter(|line| !line.starts_with(SERVER)).collect();
    let mut result = structure.join("\n").trim_end().to_owned();
    result.push('\n');
    for server in &set.servers {
        result.push_str(&format!("    {}\n", server.directive()));
    }
    result.push('\n');
    result
}

/// The configuration with the server lines of another one, in their order.
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

/// The structure in the description, which `show info` reports once the configuration runs.
fn stated_structure(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix(DESCRIPTION))
}
