//! The init container: HAProxy starts from a file in the shared directory, which must exist before.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use wsc_contract::files;
use wsc_haproxy::{Published, PublishedError};
use wsc_runtime::telemetry::chain;

use crate::args::Places;
use crate::check::{CheckError, check};
use crate::folder::{Folder, FolderError};

/// HAProxy cannot start.
#[derive(Debug, Error)]
pub enum InitError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot read {}", path.display())]
    Mounted { path: PathBuf, source: io::Error },
    #[error("the published configuration is invalid")]
    Published(#[from] PublishedError),
    #[error("the published configuration is rejected")]
    Check(#[from] CheckError),
}

/// Copies the mounted configuration unless there is one that HAProxy accepts. That was written by
/// the agent before a restart of the pod's sandbox, and is at least as new as the mounted copy,
/// which the kubelet refreshes only about once a minute.
pub async fn init(places: &Places) -> Result<(), InitError> {
    let folder = Folder::new(&places.run_folder);
    folder.remove_state()?;
    if let Some(text) = folder.configuration()? {
        let candidate = folder.save_candidate(&text)?;
        match check(places, &candidate).await {
            Ok(()) => {
                tracing::info!("keeping the current configuration");
                return Ok(());
            }
            Err(error) => tracing::warn!(error = chain(&error), "replacing an unusable configuration"),
        }
    }
    let read = |name| {
        let path = places.config_folder.join(name);
        std::fs::read_to_string(&path).map_err(|source| InitError::Mounted { path, source })
    };
    let settings = match read(files::SETTINGS) {
        Ok(text) => Some(text),
        // An operator before release 0.2.0 publishes none.
        Err(InitError::Mounted { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let (text, json) = (read(files::CONFIGURATION)?, read(files::BACKENDS)?);
    let published = Published::parse(&text, &json, settings.as_deref())?;
    if let Some(settings) = published.settings() {
        folder.save_settings(settings)?;
    }
    let candidate = folder.save_candidate(published.text())?;
    check(places, &candidate).await?;
    folder.save_configuration(published.text())?;
    folder.save_published(&published)?;
    tracing::info!(
        hash = published.set().hash,
        servers = published.set().servers.len(),
        "configuration written"
    );
    Ok(())
}
