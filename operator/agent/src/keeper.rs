//! The loop that keeps HAProxy equal to what is published. It is driven by changes and repeats by itself, so whatever a person or
//! a crash did to HAProxy heals without being noticed as such.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wsc_haproxy::{Info, Published, RunningServer, is_equal, structure_of, with_servers};

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
/// How often the worker is asked during a reload.
const HEARTBEAT: Duration = Duration::from_secs(1);

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
    /// The structure that HAProxy ran when it was seen last.
    pub structure: Option<String>,
    /// Why this HAProxy cannot be kept at all.
    pub too_old: Option<String>,
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
        let seen = match &wanted.published {
            Some(published) if self.too_old.is_none() => self.keep(seen, published).await?,
            _ => seen,
        };
        let mut newer = self.wanted.clone();
        tokio::select! {
            () = self.observer.look_at_old_workers() => {}
            // Old workers can wait, new servers cannot.
            _ = newer.changed() => {}
        }
        self.report(&seen, wanted);
        Ok(())
    }

    /// Makes the current worker run what is published, as far as that goes now.
    async fn keep(&mut self, mut seen: Observation, published: &Published) -> anyhow::Result<Observation> {
        self.save(&seen, published)?;
        // Before a reload: no new server waits for it, nor for a master that does not answer.
        seen.servers = self.sync_servers(seen.servers, published).await?;
        let is_outdated = self.wanted.has_changed().unwrap_or(true);
        if is_outdated || seen.info.structure.as_ref() == Some(&published.set().structure) {
            return Ok(seen);
        }
        seen = self.adopt_structure(seen, published).await?;
        self.save(&seen, published)?;
        seen.servers = self.sync_servers(seen.servers, published).await?;
        Ok(seen)
    }

    async fn sync_servers(
        &self,
        running: Vec<RunningServer>,
        published: &Published,
    ) -> Result<Vec<RunningServer>, ObserveError> {
        let newer = self.wanted.clone();
        let sync = Sync {
            observer: &self.observer,
            shared: &self.shared,
            metrics: &self.metrics,
            is_outdated: &|| newer.has_changed().unwrap_or(true),
        };
        sync.run(running, published.set()).await
    }

    /// Reloads if HAProxy runs another structure. When that is not possible the servers are still kept equal.
    async fn adopt_structure(
        &mut self,
        seen: Observation,
        published: &Published,
    ) -> Result<Observation, ObserveError> {
        let wanted = Some(&published.set().structure);
        let outcome = tokio::select! {
            outcome = self.reloader.reload(&self.observer, &self.folder, published) => outcome,
            never = heartbeat(&self.observer, &self.shared) => match never {},
        };
        self.shared.progressed();
        match outcome {
            Ok(Outcome::Done) => {
                tracing::info!(structure = wanted, "haproxy reloaded");
                self.metrics.reloads.inc();
                self.shared.update(|status| status.reloads += 1);
            }
            Ok(Outcome::Refused | Outcome::Later) => return Ok(seen),
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
            let text = self.folder.text_to_start(published)?;
            self.folder.save_configuration(&text)?;
        } else if let Some(text) = self.folder.configuration()?
            && running == Some(&structure_of(&text))
        {
            self.save_servers(&text, published)?;
        }
        Ok(())
    }

    /// HAProxy does not answer, so it may be about to start: then it should start right. With the structure that ran before, if that
    /// is there: a new one comes by a reload, which can fail without harm.
    async fn prepare_start(&mut self, published: &Published) -> anyhow::Result<()> {
        let wanted = &published.set().structure;
        let current = self.folder.configuration()?;
        let structure = current.as_deref().map(structure_of);
        let is_refused = self.reloader.refusal(wanted).is_some();
        match current {
            Some(text)
                if structure.as_ref() != Some(wanted) && (structure == self.structure || is_refused) =>
            {
                self.save_servers(&text, published)
            }
            _ if structure.as_ref() == Some(wanted)
                || self.reloader.is_good(&self.folder, published).await? =>
            {
                let text = self.folder.text_to_start(published)?;
                self.folder.save_configuration(&text)
            }
            _ => Ok(()),
        }
    }

    fn save_servers(&self, text: &str, published: &Published) -> anyhow::Result<()> {
        if published.set().servers.is_empty() {
            return Ok(());
        }
        self.folder
            .save_configuration(&with_servers(text, published.set()))
    }

    fn note(&mut self, seen: &Observation) {
        self.shared.answered();
        self.structure.clone_from(&seen.info.structure);
        self.too_old = too_old(&seen.info);
        let worker = Worker {
            pid: seen.info.pid,
            uptime_seconds: seen.info.uptime_seconds,
        };
        let is_another =
            |before: Worker| before.pid != worker.pid || worker.uptime_seconds < before.uptime_seconds;
        let before = self.worker.replace(worker);
        let changed = before.is_some_and(is_another);
        if changed {
            tracing::info!(pid = worker.pid, "haproxy has another worker");
            self.metrics.worker_changes.inc();
        }
        if changed || before.is_none() {
            self.compare_limits(&seen.info);
        }
        self.shared.update(|status| {
            status.pid_changes += u64::from(changed);
            status.pid = worker.pid;
            status.haproxy_version.clone_from(&seen.info.version);
            status.applied_structure = seen.info.structure.clone().unwrap_or_default();
        });
    }

    /// Every client takes two open files. HAProxy computes the one from the other, unless somebody changed its configuration.
    fn compare_limits(&self, info: &Info) {
        let clients = i64::try_from(info.max_connections).unwrap_or(i64::MAX);
        self.metrics.max_connections.set(clients);
        if info.max_connections.saturating_mul(2) > info.open_files_limit {
            tracing::error!(
                max_connections = info.max_connections,
                open_files_limit = info.open_files_limit,
                "haproxy accepts more clients than it can open files for"
            );
        }
    }

    /// What is not in use of what is published, and why.
    fn refusal(&self, wanted: &Wanted) -> Option<Refusal> {
        let without_structure = |message: &String| Refusal {
            structure: String::new(),
            message: message.clone(),
        };
        let unusable = wanted.problem.as_ref().or(self.too_old.as_ref());
        let refused = || {
            let published = wanted.published.as_ref()?;
            self.reloader.refusal(&published.set().structure).cloned()
        };
        unusable.map(without_structure).or_else(refused)
    }

    fn tell_wanted(&self, wanted: &Wanted) {
        let (hash, structure) = match &wanted.published {
            Some(published) => (published.set().hash.clone(), published.set().structure.clone()),
            None => (String::new(), String::new()),
        };
        let refusal = self.refusal(wanted);
        self.shared.update(|status| {
            status.synced &= status.wanted_hash == hash;
            status.wanted_hash = hash;
            status.wanted_structure = structure;
            status.refusal = refusal;
        });
    }

    fn report(&self, seen: &Observation, wanted: &Wanted) {
        let refusal = self.refusal(wanted);
        let set = wanted.published.as_ref().map(|published| published.set());
        let servers_equal = set.is_some_and(|set| is_equal(&seen.servers, set));
        let structure_equal = set.is_some_and(|set| seen.info.structure.as_ref() == Some(&set.structure));
        // Nothing is done for an empty set, so nothing more can be waited for.
        if servers_equal || set.is_some_and(|set| set.servers.is_empty()) {
            self.shared.served();
        }
        self.shared.update(|status| {
            status.connections = self.observer.connections(seen);
            status.old_workers = self.observer.old_workers();
            status.servers = self.observer.server_status(seen);
            status.synced = servers_equal && structure_equal && self.too_old.is_none();
            if let Some(set) = set.filter(|_| servers_equal) {
                status.applied_hash.clone_from(&set.hash);
            }
            status.refusal = refusal;
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

/// The worker goes on while the master is waited for.
async fn heartbeat(observer: &Observer, shared: &Shared) -> Infallible {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if observer.servers().await.is_ok() {
            shared.answered();
            shared.progressed();
        }
    }
}

fn too_old(info: &Info) -> Option<String> {
    let is_new_enough = info.release().is_some_and(|release| release >= OLDEST_RELEASE);
    (!is_new_enough).then(|| format!("haproxy {} is too old: 3.0 or newer is needed", info.version))
}
