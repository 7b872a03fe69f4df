//! The published configuration and servers: the `ConfigMap` by a watch, or its mounted copy.
//!
//! The mounted copy lags by up to two minutes, so it counts only with `--source file`, and at a
//! start without the API server until the first event of the watch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use backon::ExponentialBuilder;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::config::InferConfigError;
use kube::runtime::watcher::ExponentialBackoff;
use kube::runtime::{WatchStreamExt, watcher};
use thiserror::Error;
use tokio::sync::watch;
use wsc_contract::{files, names};
use wsc_haproxy::Published;
use wsc_runtime::telemetry::chain;

use crate::args::{RunArgs, SourceKind};
use crate::folder::Folder;

/// Interval of reading the mounted files.
const POLL: Duration = Duration::from_millis(250);
/// How long the watch may take at a start before the mounted copy is used.
const FIRST_WATCH: Duration = Duration::from_secs(3);
/// The API server ends a watch after this; a stalled one is noticed then.
const WATCH_SECONDS: u32 = 60;
const CLIENT_RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Longer than a watch without events may last, so that only the first list can reach it.
const READ_WAIT: Duration = Duration::from_secs(90);
/// Delays between attempts of a watch: an API server that is back is noticed within seconds.
/// Jitter, up to the delay once more, spreads the agents of a cluster, which lose the API server at
/// the same moment.
const RETRY: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(200))
    .with_max_delay(Duration::from_millis(2_500))
    .without_max_times()
    .with_jitter();

/// The newest published data.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) published: Option<Arc<Published>>,
    /// Why something newer than `published` is not used.
    pub(crate) problem: Option<String>,
}

/// No client for the API server.
#[derive(Debug, Error)]
enum ClientError {
    #[error("no service account and no kubeconfig found")]
    Config(#[from] InferConfigError),
    #[error(transparent)]
    Client(#[from] kube::Error),
}

/// Receives the data of all sources.
struct Intake {
    wanted: watch::Sender<Wanted>,
    folder: Folder,
    /// The watch has delivered: the mounted copy is obsolete.
    watched: AtomicBool,
}

/// Follows the sources until it is dropped.
pub(crate) async fn follow(args: &RunArgs, wanted: watch::Sender<Wanted>) {
    let intake = Intake {
        wanted,
        folder: Folder::new(&args.places.run_folder),
        watched: AtomicBool::new(false),
    };
    let mounted = Mounted::new(&args.places.config_folder);
    match args.source {
        SourceKind::File => intake.follow_files(mounted, Duration::ZERO).await,
        SourceKind::Configmap => {
            tokio::join!(
                intake.follow_files(mounted, FIRST_WATCH),
                intake.follow_config_map(args)
            );
        }
    }
}

impl Intake {
    fn offer(&self, from: &'static str, text: &str, json: &str, settings: Option<&str>) {
        match Published::parse(text, json, settings) {
            Ok(published) => self.accept(from, published),
            Err(error) => self.reject(&format!("{from}: {error}")),
        }
    }

    fn accept(&self, from: &'static str, published: Published) {
        let known = self.wanted.borrow().clone();
        if known.problem.is_none() && known.published.as_deref() == Some(&published) {
            return;
        }
        let set = published.set();
        tracing::info!(
            from,
            hash = set.hash,
            structure = set.structure,
            servers = set.servers.len(),
            "new configuration"
        );
        if let Err(error) = self.folder.save_published(&published) {
            tracing::warn!(error = chain(&error), "cannot save the published configuration");
        }
        self.wanted.send_replace(Wanted {
            published: Some(Arc::new(published)),
            problem: None,
        });
    }

    /// Keeps the last valid data.
    fn reject(&self, problem: &str) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = wanted.problem.as_deref() != Some(problem);
            if is_new {
                tracing::error!(
                    problem,
                    "invalid published configuration; keeping the last valid one"
                );
                wanted.problem = Some(problem.to_owned());
            }
            is_new
        });
    }

    async fn follow_files(&self, mut mounted: Mounted, patience: Duration) {
        tokio::time::sleep(patience).await;
        if !patience.is_zero() && !self.watched.load(Ordering::Acquire) && self.start_from_saved() {
            // The saved copy is newer than mounted files that have not changed since.
            mounted.skip();
        }
        while !self.watched.load(Ordering::Acquire) {
            match mounted.changed() {
                Ok(Some(read)) => {
                    self.offer("mounted files", &read.text, &read.json, read.settings.as_deref());
                }
                Ok(None) => {}
                Err(error) => self.reject(&format!("mounted files: {error}")),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn start_from_saved(&self) -> bool {
        match self.folder.published() {
            Some(published) => {
                self.accept("saved copy", published);
                true
            }
            None => false,
        }
    }

    async fn follow_config_map(&self, args: &RunArgs) {
        let client = loop {
            match client().await {
                Ok(client) => break client,
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(error, "no Kubernetes client; using the mounted files");
                    tokio::time::sleep(CLIENT_RETRY_INTERVAL).await;
                }
            }
        };
        let name = names::haproxy_config(&args.cluster);
        let config_maps = kube::Api::<ConfigMap>::namespaced(client, &args.namespace);
        let config = watcher::Config::default()
            .fields(&format!("metadata.name={name}"))
            .timeout(WATCH_SECONDS);
        let mut events =
            std::pin::pin!(watcher(config_maps, config).backoff(ExponentialBackoff::from(RETRY)));
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(config_map) | watcher::Event::InitApply(config_map)) => {
                    self.take(&config_map);
                }
                Ok(watcher::Event::Delete(_)) => {
                    tracing::warn!(name, "ConfigMap deleted; keeping its last version");
                }
                Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                Err(error) => tracing::warn!(%error, "watch failed; retrying"),
            }
        }
    }

    fn take(&self, config_map: &ConfigMap) {
        self.watched.store(true, Ordering::Release);
        let value = |key| config_map.data.as_ref().and_then(|data| data.get(key));
        match (value(files::CONFIGURATION), value(files::BACKENDS)) {
            (Some(text), Some(json)) => {
                let settings = value(files::SETTINGS).map(String::as_str);
                self.offer("ConfigMap", text, json, settings);
            }
            _ => self.reject(&format!(
                "ConfigMap: {} or {} is missing",
                files::CONFIGURATION,
                files::BACKENDS
            )),
        }
    }
}

/// A client for one watch, which retries by itself.
async fn client() -> Result<kube::Client, ClientError> {
    let mut config = kube::Config::infer().await?;
    config.default_retry = false;
    config.read_timeout = Some(READ_WAIT);
    config.reset_reader_on_write = true;
    Ok(kube::Client::try_from(config)?)
}

/// The texts of one version of the mounted files.
struct Texts {
    text: String,
    json: String,
    /// An operator before release 0.2.0 publishes none.
    settings: Option<String>,
}

/// The files of the mounted `ConfigMap`.
struct Mounted {
    folder: PathBuf,
    seen: Option<Version>,
}

/// Identifies one version of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    folder: PathBuf,
    files: [Option<(u64, SystemTime)>; 3],
}

impl Mounted {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            seen: None,
        }
    }

    /// The files, if they have changed.
    fn changed(&mut self) -> std::io::Result<Option<Texts>> {
        match self.read() {
            // The kubelet removes a version as soon as the next one exists.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.read(),
            other => other,
        }
    }

    fn read(&mut self) -> std::io::Result<Option<Texts>> {
        let version = self.version()?;
        if self.seen.as_ref() == Some(&version) {
            return Ok(None);
        }
        let read = |name| std::fs::read_to_string(version.folder.join(name));
        let texts = Texts {
            text: read(files::CONFIGURATION)?,
            json: read(files::BACKENDS)?,
            settings: if_present(read(files::SETTINGS))?,
        };
        self.seen = Some(version);
        Ok(Some(texts))
    }

    fn skip(&mut self) {
        self.seen = self.version().ok();
    }

    /// The kubelet replaces all files at once by the link `..data`; reading behind the link never
    /// mixes two versions.
    fn version(&self) -> std::io::Result<Version> {
        let generation = self.folder.join("..data");
        let folder = match std::fs::canonicalize(&generation) {
            Ok(folder) => folder,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.folder.clone(),
            Err(error) => return Err(error),
        };
        let file = |name| -> std::io::Result<(u64, SystemTime)> {
            let metadata = std::fs::metadata(folder.join(name))?;
            Ok((metadata.len(), metadata.modified()?))
        };
        let files = [
            Some(file(files::CONFIGURATION)?),
            Some(file(files::BACKENDS)?),
            if_present(file(files::SETTINGS))?,
        ];
        Ok(Version { folder, files })
    }
}

fn if_present<T>(read: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
