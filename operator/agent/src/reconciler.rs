//! Keeps HAProxy equal to the published configuration and servers. It runs at every change and
//! periodically, so manual changes and crashes of HAProxy are repaired too.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;
use wsc_contract::agent::Refusal;
use wsc_haproxy::{Info, PatternError, Published, is_equal, structure_of, with_servers};
use wsc_runtime::telemetry::chain;

use crate::args::RunArgs;
use crate::folder::{Folder, FolderError};
use crate::metrics::Metrics;
use crate::observe::{Observation, ObserveError, Observer};
use crate::reload::{Reload, ReloadError, Reloader};
use crate::settings::{self, SettingsError};
use crate::source::Wanted;
use crate::status::SharedStatus;
use crate::sync::Sync;

/// The first release with cookies of run-time servers and `wait … srv-removable`.
const OLDEST_RELEASE: (u32, u32) = (3, 0);
/// Interval of attempts while HAProxy does not reply.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// After a reload the old worker may still accept a connection or two.
const TAKEOVER_WAIT: Duration = Duration::from_secs(3);
const TAKEOVER_INTERVAL: Duration = Duration::from_millis(20);
/// Interval of queries to the worker during a reload.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A reconcile that did not reach its end.
#[derive(Debug, Error)]
enum ReconcileError {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Reload(#[from] ReloadError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

pub(crate) struct Reconciler {
    observer: Observer,
    folder: Folder,
    reloader: Reloader,
    wanted: watch::Receiver<Wanted>,
    status: Arc<SharedStatus>,
    metrics: Arc<Metrics>,
    /// Interval of reconciles without a change.
    recheck: Duration,
    worker: Option<Worker>,
    /// The last known structure of the running HAProxy.
    structure: Option<String>,
    /// Set when this HAProxy release is not supported.
    unsupported: Option<String>,
    /// Hash of the settings that the running HAProxy has; empty while that is not known.
    settings: String,
    /// Why it does not have the published ones.
    settings_refusal: Option<String>,
    /// The last error; logged once.
    last_error: Option<String>,
}

/// A worker process. The pid alone does not identify it: a restarted container may reuse it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Worker {
    pid: u32,
    uptime_seconds: u64,
}

impl Reconciler {
    pub(crate) fn new(
        args: &RunArgs,
        wanted: watch::Receiver<Wanted>,
        status: Arc<SharedStatus>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let places = args.places.clone();
        Self {
            observer: Observer::new(&places.run_folder),
            folder: Folder::new(&places.run_folder),
            reloader: Reloader::new(places, args.reload_interval(), Arc::clone(&metrics)),
            wanted,
            status,
            metrics,
            recheck: args.recheck(),
            worker: None,
            structure: None,
            unsupported: None,
            settings: String::new(),
            settings_refusal: None,
            last_error: None,
        }
    }

    /// The sockets, for the drain after the last reconcile.
    pub(crate) fn into_observer(self) -> Observer {
        self.observer
    }

    /// Runs until the source of changes ends.
    pub(crate) async fn run(&mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let pause = match self.reconcile(&wanted).await {
                Ok(()) => {
                    self.last_error = None;
                    self.recheck
                }
                Err(error) => {
                    self.log_error(&error);
                    RETRY_INTERVAL.min(self.recheck)
                }
            };
            self.status.record_progress();
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn reconcile(&mut self, wanted: &Wanted) -> Result<(), ReconcileError> {
        self.publish_wanted(wanted);
        let seen = match self.observer.observe().await {
            Ok(seen) => seen,
            Err(error) => {
                self.status.update(|status| status.synced = false);
                if let Some(published) = &wanted.published {
                    self.prepare_start(published).await?;
                }
                return Err(error.into());
            }
        };
        self.record(&seen);
        let seen = match &wanted.published {
            Some(published) if self.unsupported.is_none() => self.sync(seen, published).await?,
            _ => seen,
        };
        let mut newer = self.wanted.clone();
        tokio::select! {
            () = self.observer.update_old_workers() => {}
            // New servers are more urgent than old workers.
            _ = newer.changed() => {}
        }
        self.publish_observed(&seen, wanted);
        Ok(())
    }

    /// Makes the current worker run the published servers, then the published structure.
    async fn sync(
        &mut self,
        mut seen: Observation,
        published: &Published,
    ) -> Result<Observation, ReconcileError> {
        self.save(&seen, published)?;
        // Before a reload: no new server waits for it, nor for a master that does not reply.
        self.sync_servers(&mut seen, published).await?;
        self.sync_settings(published).await?;
        let is_outdated = self.wanted.has_changed().unwrap_or(true);
        if is_outdated || seen.info.structure.as_ref() == Some(&published.set().structure) {
            return Ok(seen);
        }
        seen = self.adopt_structure(seen, published).await?;
        self.save(&seen, published)?;
        self.sync_servers(&mut seen, published).await?;
        self.sync_settings(published).await?;
        Ok(seen)
    }

    /// Makes the current worker have the published settings. A refusal delays nothing else: it is
    /// reported, and tried again.
    async fn sync_settings(&mut self, published: &Published) -> Result<(), ReconcileError> {
        let (applied, refusal) = match published.settings() {
            None => (String::new(), None),
            Some(wanted) => match settings::apply(&self.observer, &self.folder, wanted).await {
                Ok(true) => (wanted.hash().to_owned(), None),
                // A structure that refers to the files is about to be loaded.
                Ok(false) => (String::new(), None),
                Err(SettingsError::Pattern(error @ PatternError::Refused { .. })) => {
                    (self.settings.clone(), Some(error.to_string()))
                }
                Err(error) => return Err(error.into()),
            },
        };
        if let Some(problem) = refusal.as_ref().filter(|_| refusal != self.settings_refusal) {
            tracing::error!(
                problem,
                "haproxy rejected the settings; keeping the last accepted ones"
            );
            self.metrics.refusals.inc();
        }
        (self.settings, self.settings_refusal) = (applied, refusal);
        Ok(())
    }

    async fn sync_servers(&self, seen: &mut Observation, published: &Published) -> Result<(), ObserveError> {
        let newer = self.wanted.clone();
        let sync = Sync {
            observer: &self.observer,
            status: &self.status,
            metrics: &self.metrics,
            is_outdated: &|| newer.has_changed().unwrap_or(true),
        };
        sync.run(seen, published.set()).await
    }

    /// Reloads the published structure. Where that fails, HAProxy keeps its structure and only the
    /// servers are in sync.
    async fn adopt_structure(
        &mut self,
        mut seen: Observation,
        published: &Published,
    ) -> Result<Observation, ObserveError> {
        let wanted = Some(&published.set().structure);
        let reload = tokio::select! {
            reload = self.reloader.reload(&self.observer, &self.folder, published) => reload,
            never = heartbeat(&self.observer, &self.status, seen.info.pid) => match never {},
        };
        self.status.record_progress();
        match reload {
            Ok(Reload::Done) => {
                tracing::info!(structure = wanted, "haproxy reloaded");
                self.metrics.reloads.inc();
                self.status.update(|status| status.reloads += 1);
            }
            Ok(Reload::Postponed) => return Ok(seen),
            // Both may have taken long.
            Ok(Reload::Refused) => {
                self.observer.update_servers(&mut seen).await?;
                return Ok(seen);
            }
            Err(error) => {
                self.log_error(&error.into());
                self.observer.update_servers(&mut seen).await?;
                return Ok(seen);
            }
        }
        let deadline = Instant::now() + TAKEOVER_WAIT;
        loop {
            let seen = self.observer.observe().await?;
            if seen.info.structure.as_ref() == wanted || Instant::now() > deadline {
                self.record(&seen);
                return Ok(seen);
            }
            tokio::time::sleep(TAKEOVER_INTERVAL).await;
        }
    }

    /// Writes the configuration that HAProxy would start with: the running structure with the
    /// published servers.
    fn save(&self, seen: &Observation, published: &Published) -> Result<(), FolderError> {
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

    /// HAProxy does not reply, so it may be about to start: with the published servers, and with
    /// the structure that ran before if it is known, because a new one is adopted by a reload,
    /// which can fail without harm.
    async fn prepare_start(&mut self, published: &Published) -> Result<(), ReconcileError> {
        let wanted = &published.set().structure;
        if let Some(settings) = published.settings() {
            self.folder.save_settings(settings)?;
        }
        let current = self.folder.configuration()?;
        let structure = current.as_deref().map(structure_of);
        let is_refused = self.reloader.refusal(wanted).is_some();
        match current {
            Some(text)
                if structure.as_ref() != Some(wanted) && (structure == self.structure || is_refused) =>
            {
                self.save_servers(&text, published)?;
            }
            _ if structure.as_ref() == Some(wanted)
                || self.reloader.is_accepted(&self.folder, published).await? =>
            {
                let text = self.folder.text_to_start(published)?;
                self.folder.save_configuration(&text)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn save_servers(&self, text: &str, published: &Published) -> Result<(), FolderError> {
        if published.set().servers.is_empty() {
            return Ok(());
        }
        self.folder
            .save_configuration(&with_servers(text, published.set()))
    }

    fn record(&mut self, seen: &Observation) {
        self.status.record_reply();
        self.structure.clone_from(&seen.info.structure);
        self.unsupported = unsupported(&seen.info);
        let worker = Worker {
            pid: seen.info.pid,
            uptime_seconds: seen.info.uptime_seconds,
        };
        let is_another =
            |before: Worker| before.pid != worker.pid || worker.uptime_seconds < before.uptime_seconds;
        let before = self.worker.replace(worker);
        let changed = before.is_some_and(is_another);
        if changed {
            tracing::info!(pid = worker.pid, "haproxy worker changed");
            self.metrics.worker_changes.inc();
        }
        if changed || before.is_none() {
            self.compare_limits(&seen.info);
        }
        self.status.update(|status| {
            status.pid_changes += u64::from(changed);
            status.pid = worker.pid;
            status.applied_structure = seen.info.structure.clone().unwrap_or_default();
        });
    }

    /// Every client takes two open files. HAProxy derives one limit from the other, unless its
    /// configuration was changed by hand.
    fn compare_limits(&self, info: &Info) {
        let clients = i64::try_from(info.max_connections).unwrap_or(i64::MAX);
        self.metrics.max_connections.set(clients);
        if info.max_connections.saturating_mul(2) > info.open_files_limit {
            tracing::error!(
                max_connections = info.max_connections,
                open_files_limit = info.open_files_limit,
                "the open-file limit of haproxy is below two files per client"
            );
        }
    }

    /// The refusal in the status: unusable published data, an unsupported HAProxy, or a rejected
    /// structure.
    fn refusal(&self, wanted: &Wanted) -> Option<Refusal> {
        let without_structure = |message: &String| Refusal {
            structure: String::new(),
            message: message.clone(),
        };
        let unusable = wanted.problem.as_ref().or(self.unsupported.as_ref());
        let refused = || {
            let structure = &wanted.published.as_ref()?.set().structure;
            let of_settings = self.settings_refusal.as_ref().map(|message| Refusal {
                structure: structure.clone(),
                message: message.clone(),
            });
            self.reloader.refusal(structure).cloned().or(of_settings)
        };
        unusable.map(without_structure).or_else(refused)
    }

    fn publish_wanted(&self, wanted: &Wanted) {
        let (hash, structure) = match &wanted.published {
            Some(published) => (published.set().hash.clone(), published.set().structure.clone()),
            None => (String::new(), String::new()),
        };
        let settings = wanted_settings(wanted);
        let refusal = self.refusal(wanted);
        self.status.update(|status| {
            status.synced &= status.wanted_hash == hash && status.wanted_settings == settings;
            status.wanted_hash = hash;
            status.wanted_structure = structure;
            status.wanted_settings = settings;
            status.refusal = refusal;
        });
    }

    fn publish_observed(&self, seen: &Observation, wanted: &Wanted) {
        let refusal = self.refusal(wanted);
        let set = wanted.published.as_ref().map(|published| published.set());
        let servers_equal = set.is_some_and(|set| is_equal(&seen.servers, set));
        let settings_equal = self.settings == wanted_settings(wanted);
        let structure_equal = set.is_some_and(|set| seen.info.structure.as_ref() == Some(&set.structure));
        // An empty set is never applied, so it must not delay readiness.
        if servers_equal || set.is_some_and(|set| set.servers.is_empty()) {
            self.status.record_served();
        }
        self.metrics.count(&seen.counters);
        self.status.update_observed(seen.at, |status| {
            status.haproxy_version.clone_from(&seen.info.version);
            status.connections = self.observer.connections(seen);
            status.worker = Some(seen.counters.clone());
            status.old_workers = self.observer.old_workers();
            status.servers = self.observer.server_status(seen);
            status.synced = servers_equal && structure_equal && settings_equal && self.unsupported.is_none();
            status.applied_settings.clone_from(&self.settings);
            if let Some(set) = set.filter(|_| servers_equal) {
                status.applied_hash.clone_from(&set.hash);
            }
            status.refusal = refusal;
        });
    }

    /// Logs an error once, not five times per second.
    fn log_error(&mut self, error: &ReconcileError) {
        let error = chain(error);
        if self.last_error.as_ref() != Some(&error) {
            tracing::warn!(error, "cannot sync haproxy");
            self.last_error = Some(error);
        }
    }
}

/// Keeps the pod ready and its status fresh while a reload waits for the master: the worker still
/// replies.
async fn heartbeat(observer: &Observer, status: &SharedStatus, pid: u32) -> Infallible {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let Ok(seen) = observer.observe().await else {
            continue;
        };
        status.record_reply();
        status.record_progress();
        // The clients of the old worker are not among those of the new one.
        if seen.info.pid == pid {
            let servers = observer.server_status(&seen);
            status.update_observed(seen.at, |status| status.servers = servers);
        }
    }
}

/// Hash of the published settings; empty where there are none.
fn wanted_settings(wanted: &Wanted) -> String {
    let settings = wanted
        .published
        .as_ref()
        .and_then(|published| published.settings());
    settings.map_or_else(String::new, |settings| settings.hash().to_owned())
}

fn unsupported(info: &Info) -> Option<String> {
    let is_new_enough = info.release().is_some_and(|release| release >= OLDEST_RELEASE);
    (!is_new_enough).then(|| format!("haproxy {} is too old: 3.0 or newer is required", info.version))
}
