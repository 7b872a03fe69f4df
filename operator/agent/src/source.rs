//! What is wanted: the `ConfigMap` by a watch, or its mounted copy.
//!
//! The mounted copy lags by up to two minutes, so it counts only where nothing newer is known: with `--source file`, and at a start
//! without API server until the watch has spoken once.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use wsc_haproxy::Published;

use crate::args::{RunArgs, SourceKind};
use crate::folder::{Folder, SET_KEY, TEXT_KEY};

/// How often the mounted files are looked at.
const POLL: Duration = Duration::from_millis(250);
/// How long the watch may take before the mounted copy is used at a start.
const FIRST_WATCH: Duration = Duration::from_secs(3);
/// A stalled watch is noticed after this; the API server ends it by itself then.
const WATCH_SECONDS: u32 = 60;
const CLIENT_PAUSE: Duration = Duration::from_secs(10);
/// Longer than a silent watch may last, so that only the first list can meet it.
const READ_WAIT: Duration = Duration::from_secs(90);
/// Between two tries of a watch that fails: an API server that is back is seen within seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The newest that is known.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub published: Option<Arc<Published>>,
    /// Why something newer than `published` is not used.
    pub problem: Option<String>,
}

/// Where the sources meet.
struct Intake {
    wanted: watch::Sender<Wanted>,
    folder: Folder,
    /// The watch has spoken: the mounted copy does not count any more.
    watched: AtomicBool,
}

/// Follows the sources until it is dropped.
pub async fn follow(args: &RunArgs, wanted: watch::Sender<Wanted>) {
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
    fn offer(&self, from: &'static str, text: &str, json: &str) {
        match Published::parse(text, json) {
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
            "wanted"
        );
        if let Err(error) = self.folder.save_published(&published) {
            tracing::warn!(
                error = format!("{error:#}"),
                "what was published is not remembered"
            );
        }
        self.wanted.send_replace(Wanted {
            published: Some(Arc::new(published)),
            problem: None,
        });
    }

    /// Keeps what was wanted before.
    fn reject(&self, problem: &str) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = wanted.problem.as_deref() != Some(problem);
            if is_new {
                tracing::error!(
                    problem,
                    "what was published cannot be used; the last good one stays"
                );
                wanted.problem = Some(problem.to_owned());
            }
            is_new
        });
    }

    async fn follow_files(&self, mut mounted: Mounted, patience: Duration) {
        tokio::time::sleep(patience).await;
        if !patience.is_zero() && !self.watched.load(Ordering::Acquire) && self.start_from_memory() {
            // What this pod saw last is newer than a mounted copy that has not changed since.
            mounted.skip();
        }
        while !self.watched.load(Ordering::Acquire) {
            match mounted.changed() {
                Ok(Some((text, json))) => self.offer("mounted files", &text, &json),
                Ok(None) => {}
                Err(error) => self.reject(&format!("mounted files: {error}")),
            }
            tokio::time::sleep(POLL).await;
        }
        // `join!` waits for both; the watch never ends.
    }

    fn start_from_memory(&self) -> bool {
        match self.folder.published() {
            Some(published) => {
                self.accept("memory of this pod", published);
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
                    let error = format!("{error:#}");
                    tracing::error!(error, "no Kubernetes client; the mounted files are used");
                    tokio::time::sleep(CLIENT_PAUSE).await;
                }
            }
        };
        let name = format!("{}-haproxy", args.cluster);
        let config_maps = kube::Api::<ConfigMap>::namespaced(client, &args.namespace);
        let config = watcher::Config::default()
            .fields(&format!("metadata.name={name}"))
            .timeout(WATCH_SECONDS);
        let mut events = std::pin::pin!(watcher(config_maps, config).backoff(Pauses(FIRST_PAUSE)));
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(config_map) | watcher::Event::InitApply(config_map)) => {
                    self.take(&config_map);
                }
                Ok(watcher::Event::Delete(_)) => {
                    tracing::warn!(name, "the ConfigMap is gone; the last one stays");
                }
                Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                Err(error) => tracing::warn!(%error, "the watch was interrupted"),
            }
        }
    }

    fn take(&self, config_map: &ConfigMap) {
        self.watched.store(true, Ordering::Release);
        let value = |key| config_map.data.as_ref().and_then(|data| data.get(key));
        match (value(TEXT_KEY), value(SET_KEY)) {
            (Some(text), Some(json)) => self.offer("ConfigMap", text, json),
            _ => self.reject(&format!("ConfigMap: {TEXT_KEY} or {SET_KEY} is missing")),
        }
    }
}

/// A client for one watch, which has retries of its own.
async fn client() -> anyhow::Result<kube::Client> {
    let mut config = kube::Config::infer().await?;
    config.default_retry = false;
    config.read_timeout = Some(READ_WAIT);
    config.reset_reader_on_write = true;
    Ok(kube::Client::try_from(config)?)
}

/// Pauses that double. All agents lose the API server at the same moment, so each one comes back at its own.
struct Pauses(Duration);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = pause.saturating_mul(2).min(LONGEST_PAUSE);
        // The seed of a map is the randomness at hand.
        let percent = RandomState::new().hash_one(()) % 50;
        Some(pause.mul_f64(1.0 - f64::from(u8::try_from(percent).unwrap_or(0)) / 100.0))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

/// The two files of the mounted `ConfigMap`.
struct Mounted {
    folder: PathBuf,
    seen: Option<Mark>,
}

/// What a change of a file changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    folder: PathBuf,
    files: [(u64, SystemTime); 2],
}

impl Mounted {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            seen: None,
        }
    }

    /// Both files, if they are others than the last time.
    fn changed(&mut self) -> std::io::Result<Option<(String, String)>> {
        match self.read() {
            // The kubelet removes a generation as soon as it has made the next.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.read(),
            other => other,
        }
    }

    fn read(&mut self) -> std::io::Result<Option<(String, String)>> {
        let mark = self.mark()?;
        if self.seen.as_ref() == Some(&mark) {
            return Ok(None);
        }
        let text = std::fs::read_to_string(mark.folder.join(TEXT_KEY))?;
        let json = std::fs::read_to_string(mark.folder.join(SET_KEY))?;
        self.seen = Some(mark);
        Ok(Some((text, json)))
    }

    fn skip(&mut self) {
        self.seen = self.mark().ok();
    }

    /// The kubelet replaces both files at once by turning the link `..data`: reading behind it never mixes two generations.
    fn mark(&self) -> std::io::Result<Mark> {
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
        let files = [file(TEXT_KEY)?, file(SET_KEY)?];
        Ok(Mark { folder, files })
    }
}
