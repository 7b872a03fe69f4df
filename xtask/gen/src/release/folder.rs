//! The folder of one release, and what its parts share.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// The folder of one release, which is written once.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path })
    }

    pub(super) fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
    }
}

/// One YAML document for each value.
pub(super) fn yaml<T: Serialize>(values: &[T]) -> Result<String> {
    let documents = values.iter().map(serde_yaml::to_string);
    let documents: Vec<String> = documents.collect::<Result<_, _>>().context("writing YAML")?;
    Ok(documents.join("---\n"))
}

/// A variable that `cargo xtask release-snapshot` sets.
pub(super) fn variable(name: &str) -> Result<OsString> {
    std::env::var_os(name).with_context(|| format!("{name} is not set: run `cargo xtask release-snapshot`"))
}
