//! The folder that agent and HAProxy share. Every file in it is replaced as a whole, so whoever starts reads a whole one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use wsc_haproxy::{Published, with_servers_of};

/// What HAProxy starts and reloads with.
const CONFIGURATION: &str = "haproxy.cfg";
/// A configuration that HAProxy has not seen good yet.
const CANDIDATE: &str = "haproxy.cfg.candidate";
/// The states of the servers, for the worker after a reload.
const STATE: &str = "servers.state";
/// What was published last, for an agent that starts without API server.
const PUBLISHED: &str = "published.json";
/// Keys of the `ConfigMap` and names of the mounted files.
pub const TEXT_KEY: &str = "haproxy.cfg";
pub const SET_KEY: &str = "backends.json";

/// The shared folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The configuration that HAProxy would start with; `None` if there is none.
    pub fn configuration(&self) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.path.join(CONFIGURATION)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What HAProxy should start with when this is published. An empty set is published by mistake, or when no pod is ready: the
    /// servers that were there stay then, as they do in the running HAProxy.
    pub fn text_to_start(&self, published: &Published) -> io::Result<String> {
        match self.configuration()? {
            Some(text) if published.set().servers.is_empty() => Ok(with_servers_of(published.text(), &text)),
            _ => Ok(published.text().to_owned()),
        }
    }

    /// Replaces it, unless it is the same.
    pub fn save_configuration(&self, text: &str) -> anyhow::Result<()> {
        if self.configuration().ok().flatten().as_deref() == Some(text) {
            return Ok(());
        }
        self.replace(CONFIGURATION, text)
    }

    /// Writes a configuration beside the real one, for a check, and returns its path.
    pub fn save_candidate(&self, text: &str) -> anyhow::Result<PathBuf> {
        self.replace(CANDIDATE, text)?;
        Ok(self.path.join(CANDIDATE))
    }

    /// Writes the states that the next worker begins with.
    pub fn save_state(&self, state: &str) -> anyhow::Result<()> {
        self.replace(STATE, state)
    }

    /// Removes states that only the worker of one reload was meant to read: a later one would take them for the truth.
    pub fn remove_state(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(self.path.join(STATE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context("remove servers.state")
            }
            _ => Ok(()),
        }
    }

    /// Remembers what was published.
    pub fn save_published(&self, published: &Published) -> anyhow::Result<()> {
        let data = BTreeMap::from([
            (TEXT_KEY, published.text().to_owned()),
            (SET_KEY, published.set().to_json()),
        ]);
        let text = serde_json::to_string(&data).context("published.json")?;
        self.replace(PUBLISHED, &text)
    }

    /// What was published last, if it is there and whole.
    pub fn published(&self) -> Option<Published> {
        let text = std::fs::read_to_string(self.path.join(PUBLISHED)).ok()?;
        let data: BTreeMap<String, String> = serde_json::from_str(&text).ok()?;
        Published::parse(data.get(TEXT_KEY)?, data.get(SET_KEY)?).ok()
    }

    fn replace(&self, name: &'static str, text: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let new = self.path.join(format!("{name}.new"));
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &path))
            .with_context(|| format!("write {}", path.display()))
    }
}
