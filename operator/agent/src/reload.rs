//! The structure: checked by HAProxy, replaced on disk, reloaded by the master. The last accepted
//! one stays in use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use wsc_contract::agent::Refusal;
use wsc_haproxy::Published;

use crate::args::Places;
use crate::check::{CheckError, check, reason};
use crate::folder::{Folder, FolderError};
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::socket::{REPLY_WAIT, SocketError};

/// A reload starts a process that reads the complete configuration.
const RELOAD_WAIT: Duration = Duration::from_secs(15);
/// A refusal may have a temporary cause, such as a port in use.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The result of [`Reloader::reload`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// HAProxy runs the structure.
    Done,
    /// Too soon after the last reload, or after the last refusal of the same structure.
    Postponed,
    /// HAProxy rejected the structure.
    Refused,
}

/// A reload that could not be tried to its end.
#[derive(Debug, Error)]
pub(crate) enum ReloadError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("unexpected reply to reload: {0:?}")]
    Reply(String),
}

/// Reloads HAProxy, and remembers the last refusal.
#[derive(Debug)]
pub(crate) struct Reloader {
    places: Places,
    interval: Duration,
    metrics: Arc<Metrics>,
    last: Option<Instant>,
    refused: Option<(Refusal, Instant)>,
}

impl Reloader {
    pub(crate) fn new(places: Places, interval: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            places,
            interval,
            metrics,
            last: None,
            refused: None,
        }
    }

    /// The refusal of this structure, if any.
    pub(crate) fn refusal(&self, structure: &str) -> Option<&Refusal> {
        let (refusal, _) = self.refused.as_ref()?;
        (refusal.structure == structure).then_some(refusal)
    }

    /// Whether it was refused too recently for another attempt.
    fn is_refused(&self, structure: &str) -> bool {
        self.refused
            .as_ref()
            .is_some_and(|(refusal, at)| refusal.structure == structure && at.elapsed() < RETRY_AFTER)
    }

    /// Whether HAProxy accepts this configuration. A refusal holds for [`RETRY_AFTER`].
    pub(crate) async fn is_accepted(
        &mut self,
        folder: &Folder,
        published: &Published,
    ) -> Result<bool, ReloadError> {
        let structure = &published.set().structure;
        if self.is_refused(structure) {
            return Ok(false);
        }
        let candidate = folder.save_candidate(published.text())?;
        match check(&self.places, &candidate).await {
            Ok(()) => Ok(true),
            Err(CheckError::Refused(message)) => {
                self.refuse(structure, message);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes HAProxy run the published structure.
    pub(crate) async fn reload(
        &mut self,
        observer: &Observer,
        folder: &Folder,
        published: &Published,
    ) -> Result<Reload, ReloadError> {
        let is_early = self.last.is_some_and(|at| at.elapsed() < self.interval);
        if is_early || self.is_refused(&published.set().structure) {
            return Ok(Reload::Postponed);
        }
        if !self.is_accepted(folder, published).await? {
            return Ok(Reload::Refused);
        }
        self.last = Some(Instant::now());
        let before = folder.configuration()?;
        let state = observer.runtime.send("show servers state", REPLY_WAIT).await?;
        if state.ends_with("\n\n") {
            // Keeps the states of health checks and slow starts. A worker without it only starts
            // them again.
            folder.save_state(&state)?;
        }
        folder.save_configuration(&folder.text_to_start(published)?)?;
        let reply = observer.master.send("reload", RELOAD_WAIT).await;
        folder.remove_state()?;
        let reply = match reply {
            Ok(reply) if reply.starts_with("Success=1") => {
                self.refused = None;
                return Ok(Reload::Done);
            }
            other => other,
        };
        if let Some(text) = before {
            folder.save_configuration(&text)?;
        }
        let reply = reply?;
        if !reply.starts_with("Success=0") {
            let line = reply.lines().next().unwrap_or_default();
            return Err(ReloadError::Reply(line.to_owned()));
        }
        self.refuse(&published.set().structure, reason(&reply));
        Ok(Reload::Refused)
    }

    fn refuse(&mut self, structure: &str, message: String) {
        tracing::error!(
            structure,
            reason = message,
            "haproxy rejected the configuration; keeping the last accepted one"
        );
        self.metrics.refusals.inc();
        let refusal = Refusal {
            structure: structure.to_owned(),
            message,
        };
        self.refused = Some((refusal, Instant::now()));
    }
}
