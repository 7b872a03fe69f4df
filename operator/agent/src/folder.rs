//! The directory that agent and HAProxy share. Every file is replaced atomically, so a reader never
//! sees half of one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use wsc_contract::files;
use wsc_haproxy::{PatternFile, Published, Settings, with_servers_of};

/// A configuration that HAProxy has not checked yet.
const CANDIDATE: &str = "haproxy.cfg.candidate";
/// The last published data, for an agent that starts without the API server.
const PUBLISHED: &str = "published.json";

/// A file operation that failed.
#[derive(Debug, Error)]
pub enum FolderError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot remove {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
}

/// The shared directory.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The configuration that HAProxy would start with, if any.
    pub(crate) fn configuration(&self) -> Result<Option<String>, FolderError> {
        let path = self.path.join(files::CONFIGURATION);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FolderError::Read { path, source }),
        }
    }

    /// The configuration that HAProxy should start with. An empty set is published by mistake or
    /// while no pod is ready, so the current servers stay, as they do in the running HAProxy.
    pub(crate) fn text_to_start(&self, published: &Published) -> Result<String, FolderError> {
        match self.configuration()? {
            Some(text) if published.set().servers.is_empty() => Ok(with_servers_of(published.text(), &text)),
            _ => Ok(published.text().to_owned()),
        }
    }

    /// Replaces the configuration unless it is the same.
    pub(crate) fn save_configuration(&self, text: &str) -> Result<(), FolderError> {
        if self.configuration().ok().flatten().as_deref() == Some(text) {
            return Ok(());
        }
        self.replace(files::CONFIGURATION, text)
    }

    /// Writes a configuration for a check and returns its path.
    pub(crate) fn save_candidate(&self, text: &str) -> Result<PathBuf, FolderError> {
        self.replace(CANDIDATE, text)?;
        Ok(self.path.join(CANDIDATE))
    }

    /// Writes the server states that the next worker starts with.
    pub(crate) fn save_state(&self, state: &str) -> Result<(), FolderError> {
        self.replace(files::SERVER_STATE, state)
    }

    /// Removes the server states of a reload: a later worker must not start with them.
    pub(crate) fn remove_state(&self) -> Result<(), FolderError> {
        let path = self.path.join(files::SERVER_STATE);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(FolderError::Remove { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Writes the files of patterns that the configuration refers to.
    pub(crate) fn save_settings(&self, settings: &Settings) -> Result<(), FolderError> {
        let mut files = PatternFile::of(settings).into_iter();
        files.try_for_each(|file| self.save_patterns(&file))
    }

    /// Replaces a file of patterns unless it is the same.
    pub(crate) fn save_patterns(&self, file: &PatternFile) -> Result<(), FolderError> {
        let before = std::fs::read_to_string(self.path.join(file.name()));
        if before.is_ok_and(|before| before == file.text()) {
            return Ok(());
        }
        self.replace(file.name(), &file.text())
    }

    /// Saves the published data.
    pub(crate) fn save_published(&self, published: &Published) -> Result<(), FolderError> {
        let mut data = BTreeMap::from([
            (files::CONFIGURATION, published.text().to_owned()),
            (files::BACKENDS, published.set().to_json()),
        ]);
        if let Some(settings) = published.settings() {
            data.insert(files::SETTINGS, settings.to_json());
        }
        // A map of strings always serializes.
        let text = serde_json::to_string(&data).unwrap_or_default();
        self.replace(PUBLISHED, &text)
    }

    /// The saved data, if it is complete.
    pub(crate) fn published(&self) -> Option<Published> {
        let text = std::fs::read_to_string(self.path.join(PUBLISHED)).ok()?;
        let data: BTreeMap<String, String> = serde_json::from_str(&text).ok()?;
        let settings = data.get(files::SETTINGS).map(String::as_str);
        Published::parse(
            data.get(files::CONFIGURATION)?,
            data.get(files::BACKENDS)?,
            settings,
        )
        .ok()
    }

    fn replace(&self, name: &'static str, text: &str) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let new = self.path.join(format!("{name}.new"));
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|source| FolderError::Write { path, source })
    }
}
