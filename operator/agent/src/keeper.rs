//! The loop that keeps HAProxy equal to what is published. It is driven by changes and repeats by itself, so whatever a person or
//! a crash did to HAProxy heals without being noticed as such.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wsc_haproxy::{Published, is_equal, structure_of, with_servers};

use crate::folder::Folder;
use crate::metrics::Metrics;
use crate::observe::{Observation, ObserveError, Observer};
use crate::reload::{Outcome, Reloader};
use crate::source::Wanted;
use crate::status::{Refusal, Shared};
use crate::sync::Sync;

/// Run-time servers have cookies, and `wait … srv-removable` exists, since this release.
const OLDEST_RELEASE: (u32, u32) = (3, 0);
/// How soon a HAProxy that does not answer is asked again.
const SILENT_PAUSE: Duration = Duration::from_millis(200);
/// After a reload the old worker may still take a call or two.
const TAKEOVER_WAIT: Duration = Duration::from_secs(3);
const TAKEOVER_PAUSE: Duration = Duration::from_millis(20);

/// Everything that the loop needs.
pub struct Keeper {
    pub observer: Observer,
    pub folder: Folder,
    pub reloader: Reloader,
    pub wanted: watch::Receiver<Wanted>,
    pub shared: Arc<Shared>,
    pub metrics: Arc<Metrics>,
    /// How long without a change before HAProxy is looked at again.
    pub recheck: Duration,
    pub worker: Option<Worker>,
    pub complaint: Option<String>,
}

/// A worker process. The number alone does not tell: a restarted container may have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    pid: u32,
    uptime_seconds: u64,
}

impl Keeper {
    /// Runs until it is dropped.
    pub async fn run(&mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let pause = match self.round(&wanted).await {
                Ok(()) => {
                    self.complaint = None;
                    self.recheck
                }
                Err(error) => {
                    self.complain(&error);
                    SILENT_PAUSE.min(self.recheck)
                }
            };
            self.shared.progressed();
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() {
                    // The source has ended with the process around it.
                    return;
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn round(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        self.tell_wanted(wanted);
        let seen = match self.observer.observe().await {
            Ok(seen) => seen,
            Err(error) => {
                self.shared.update(|status| status.synced = false);
                if let Some(published) = &wanted.published {
                    self.prepare_start(published).await?;
                }
                return Err(error.into());
            }
        };
        self.note(&seen);
        if seen.info.release().is_none_or(|release| release < OLDEST_RELEASE) {
            let message = format!("haproxy {} is too old: 3.0 or newer is needed", seen.info.version);
            self.refuse(String::new(), message);
            return Ok(());
        }
        let Some(published) = &wanted.published else {
            return Ok(());
        };
        let mut seen = self.adopt_structure(seen, published).await?;
        self.save(&seen, published)?;
        let newer = self.wanted.clone();
        let sync = Sync {
            observer: &self.observer,
            shared: &self.shared,
            metrics: &self.metrics,
            is_outdated: &|| newer.has_changed().unwrap_or(true),
        };
        seen.servers = sync.run(seen.servers, published.set()).await?;
        self.report(&seen, published);
        Ok(())
    }

    /// Reloads if HAProxy runs another structure. When that is not possible the servers are still kept equal.
    async fn adopt_structure(
        &mut self,
        seen: Observation,
        published: &Published,
    ) -> Result<Observation, ObserveError> {
        let wanted = Some(&published.set().structure);
        if seen.info.structure.as_ref() == wanted {
            return Ok(seen);
        }
        let outcome = self
            .reloader
            .reload(&self.observer, &self.folder, published)
            .await;
        self.shared.progressed();
        match outcome {
            Ok(Outcome::Done) => {
                tracing::info!(structure = wanted, "haproxy reloaded");
                self.metrics.reloads.inc();
                self.shared.update(|status| status.reloads += 1);
            }
            Ok(Outcome::Refused) => {
                self.metrics.refusals.inc();
                return Ok(seen);
            }
            Ok(Outcome::Later) => return Ok(seen),
            Err(error) => {
                self.complain(&error);
                return Ok(seen);
            }
        }
        let deadline = Instant::now() + TAKEOVER_WAIT;
        loop {
            let seen = self.observer.observe().await?;
            if seen.info.structure.as_ref() == wanted || Instant::now() > deadline {
                self.note(&seen);
                return Ok(seen);
            }
            tokio::time::sleep(TAKEOVER_PAUSE).await;
        }
    }

    /// Writes what HAProxy would start with: the structure that runs, with the servers that are wanted.
    fn save(&self, seen: &Observation, published: &Published) -> anyhow::Result<()> {
        let running = seen.info.structure.as_deref();
        if running == Some(&published.set().structure) {
            self.folder.save_configuration(published.text())?;
        } else if let Some(text) = self.folder.configuration()?
            && running == Some(&structure_of(&text))
        {
            self.folder
                .save_configuration(&with_servers(&text, published.set()))?;
        }
        Ok(())
    }

    /// HAProxy does not answer, so it may be about to start: then it should start right.
    async fn prepare_start(&mut self, published: &Published) -> anyhow::Result<()> {
        let set = published.set();
        let current = self.folder.configuration()?;
        let same = current
            .as_ref()
            .is_some_and(|text| structure_of(text) == set.structure);
        let refused = self.reloader.refusal(&set.structure).is_some();
        match current {
            _ if same => self.folder.save_configuration(published.text()),
            Some(text) if refused => self.folder.save_configuration(&with_servers(&text, set)),
            _ if self.reloader.is_good(&self.folder, published).await? => {
                self.folder.save_configuration(published.text())
            }
            _ => Ok(()),
        }
    }

    fn note(&mut self, seen: &Observation) {
        self.shared.answered();
        let worker = Worker {
            pid: seen.info.pid,
            uptime_seconds: seen.info.uptime_seconds,
        };
        let is_another =
            |before: Worker| before.pid != worker.pid || worker.uptime_seconds < before.uptime_seconds;
        let changed = self.worker.replace(worker).is_some_and(is_another);
        if changed {
            tracing::info!(pid = worker.pid, "haproxy has another worker");
            self.metrics.worker_changes.inc();
        }
        self.shared.update(|status| {
            status.pid_changes += u64::from(changed);
            status.pid = worker.pid;
            status.haproxy_version.clone_from(&seen.info.version);
            status.applied_structure = seen.info.structure.clone().unwrap_or_default();
            status.old_workers = seen.workers.old.len();
            status.connections = seen.connections();
            status.servers = seen.server_status();
        });
    }

    fn tell_wanted(&self, wanted: &Wanted) {
        let (hash, structure) = match &wanted.published {
            Some(published) => (published.set().hash.clone(), published.set().structure.clone()),
            None => (String::new(), String::new()),
        };
        let unusable = wanted.problem.as_ref().map(|message| Refusal {
            structure: String::new(),
            message: message.clone(),
        });
        let refusal = unusable.or_else(|| self.reloader.refusal(&structure).cloned());
        self.shared.update(|status| {
            status.synced &= status.wanted_hash == hash;
            status.wanted_hash = hash;
            status.wanted_structure = structure;
            status.refusal = refusal;
        });
    }

    fn refuse(&self, structure: String, message: String) {
        self.shared.update(|status| {
            status.synced = false;
            status.refusal = Some(Refusal { structure, message });
        });
    }

    fn report(&self, seen: &Observation, published: &Published) {
        let set = published.set();
        let servers_equal = is_equal(&seen.servers, set);
        let structure_equal = seen.info.structure.as_ref() == Some(&set.structure);
        if servers_equal {
            self.shared.served();
        }
        let refusal = self.reloader.refusal(&set.structure).cloned();
        self.shared.update(|status| {
            status.servers = seen.server_status();
            status.synced = servers_equal && structure_equal;
            if servers_equal {
                status.applied_hash.clone_from(&set.hash);
            }
            if refusal.is_some() {
                status.refusal = refusal;
            }
        });
    }

    /// The same words once, not five times a second.
    fn complain(&mut self, error: &anyhow::Error) {
        let complaint = format!("{error:#}");
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::warn!(error = complaint, "haproxy cannot be kept in step");
            self.complaint = Some(complaint);
        }
    }
}
