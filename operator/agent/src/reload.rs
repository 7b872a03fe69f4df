//! Structure: checked by HAProxy, swapped on disk, reloaded by the master. The last good one wins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wsc_haproxy::Published;

use crate::args::Places;
use crate::check::{CheckError, check, reason};
use crate::folder::Folder;
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::socket::REPLY_WAIT;
use crate::status::Refusal;

/// A reload starts a process that reads the whole configuration.
const RELOAD_WAIT: Duration = Duration::from_secs(15);
/// What was refused may have had a reason that passes, like a port in use.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What came of a wanted structure.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// HAProxy runs it.
    Done,
    /// It is too soon after the last reload, or after the last refusal of the same structure.
    Later,
    /// HAProxy does not take it.
    Refused,
}

/// Reloads, and remembers when and what was refused.
#[derive(Debug)]
pub struct Reloader {
    places: Places,
    interval: Duration,
    metrics: Arc<Metrics>,
    last: Option<Instant>,
    refused: Option<(Refusal, Instant)>,
}

impl Reloader {
    pub fn new(places: Places, interval: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            places,
            interval,
            metrics,
            last: None,
            refused: None,
        }
    }

    /// What HAProxy said about this structure, if it refused it.
    pub fn refusal(&self, structure: &str) -> Option<&Refusal> {
        let (refusal, _) = self.refused.as_ref()?;
        (refusal.structure == structure).then_some(refusal)
    }

    /// Whether it was refused so lately that it is not worth to try again.
    fn is_refused(&self, structure: &str) -> bool {
        self.refused
            .as_ref()
            .is_some_and(|(refusal, at)| refusal.structure == structure && at.elapsed() < RETRY_AFTER)
    }

    /// Whether HAProxy takes this configuration; a refusal is remembered for a while.
    pub async fn is_good(&mut self, folder: &Folder, published: &Published) -> anyhow::Result<bool> {
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
    pub async fn reload(
        &mut self,
        observer: &Observer,
        folder: &Folder,
        published: &Published,
    ) -> anyhow::Result<Outcome> {
        let is_early = self.last.is_some_and(|at| at.elapsed() < self.interval);
        if is_early || self.is_refused(&published.set().structure) {
            return Ok(Outcome::Later);
        }
        if !self.is_good(folder, published).await? {
            return Ok(Outcome::Refused);
        }
        self.last = Some(Instant::now());
        let before = folder.configuration()?;
        let state = observer.runtime.ask("show servers state", REPLY_WAIT).await?;
        if state.ends_with("\n\n") {
            // Checks and slow starts go on where they are; without it every server begins anew, which is no more than a pity.
            folder.save_state(&state)?;
        }
        folder.save_configuration(&folder.text_to_start(published)?)?;
        let reply = observer.master.ask("reload", RELOAD_WAIT).await;
        folder.remove_state()?;
        let reply = match reply {
            Ok(reply) if reply.starts_with("Success=1") => {
                self.refused = None;
                return Ok(Outcome::Done);
            }
            other => other,
        };
        if let Some(text) = before {
            folder.save_configuration(&text)?;
        }
        let reply = reply?;
        if !reply.starts_with("Success=0") {
            anyhow::bail!(
                "unexpected answer to reload: {:?}",
                reply.lines().next().unwrap_or_default()
            );
        }
        self.refuse(&published.set().structure, reason(&reply));
        Ok(Outcome::Refused)
    }

    fn refuse(&mut self, structure: &str, message: String) {
        tracing::error!(
            structure,
            reason = message,
            "haproxy refuses the configuration; the last good one stays"
        );
        self.metrics.refusals.inc();
        let refusal = Refusal {
            structure: structure.to_owned(),
            message,
        };
        self.refused = Some((refusal, Instant::now()));
    }
}
