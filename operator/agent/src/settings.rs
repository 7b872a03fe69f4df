//! Settings: the files of patterns, and one transaction of the runtime socket for each of them that
//! differs.
//!
//! Files come first, so that a reload and a restart of HAProxy have the same entries.

use thiserror::Error;
use wsc_haproxy::{PatternError, PatternFile, Settings};

use crate::folder::{Folder, FolderError};
use crate::observe::Observer;
use crate::socket::{REPLY_WAIT, SocketError};

/// Settings that HAProxy does not have.
#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The entries before it stay in use.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// Gives the running HAProxy the entries of these settings. False where its configuration does not
/// refer to all files yet.
pub(crate) async fn apply(
    observer: &Observer,
    folder: &Folder,
    settings: &Settings,
) -> Result<bool, SettingsError> {
    let mut applied = true;
    for file in PatternFile::of(settings) {
        folder.save_patterns(&file)?;
        applied &= apply_file(observer, folder, &file).await?;
    }
    Ok(applied)
}

async fn apply_file(observer: &Observer, folder: &Folder, file: &PatternFile) -> Result<bool, SettingsError> {
    let list = observer.runtime.send(&file.list(), REPLY_WAIT).await?;
    let Some(reference) = file.reference(&list)? else {
        return Ok(false);
    };
    let reply = observer.runtime.send(&file.show(&reference), REPLY_WAIT).await?;
    let running = file.parse(&reply)?;
    if file.has(&running) {
        return Ok(true);
    }
    match replace(observer, file, &reference).await {
        Ok(()) => {
            tracing::info!(file = file.name(), "settings applied");
            Ok(true)
        }
        Err(error) => {
            // HAProxy must not start with what it refuses while it runs.
            if matches!(error, SettingsError::Pattern(PatternError::Refused { .. })) {
                folder.save_patterns(&file.with(running))?;
            }
            Err(error)
        }
    }
}

async fn replace(observer: &Observer, file: &PatternFile, reference: &str) -> Result<(), SettingsError> {
    let send = async |line: &str| observer.runtime.send(line, REPLY_WAIT).await;
    let version = file.version(&send(&file.prepare(reference)).await?)?;
    for (line, commands) in file.additions(reference, version) {
        file.expect_silence(&send(&line).await?, commands)?;
    }
    file.expect_silence(&send(&file.commit(reference, version)).await?, 1)?;
    Ok(())
}
