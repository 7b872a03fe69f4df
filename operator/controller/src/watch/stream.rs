//! One watch: from the API server into a cache, until the process ends.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::StreamExt;
use kube::Api;
use kube::runtime::watcher::ExponentialBackoff;
use kube::runtime::{WatchStreamExt, watcher};

use super::cache::{Cache, Cached};
use super::liveness::WatchLiveness;
use crate::error::{category, describe};
use crate::identity::ClusterKey;
use crate::report::metrics::Metrics;

/// First and longest pause of a failing watch; jitter adds up to as much again. Each watch has its
/// own back-off, so that a broken one does not delay the others.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_millis(2_500);
/// An optional watch fails without permission, which does not change often.
const LONGEST_OPTIONAL_PAUSE: Duration = Duration::from_mins(3);

/// Called with the clusters that an event concerns.
pub(crate) type Enqueue<G = ClusterKey> = Arc<dyn Fn(&[G]) + Send + Sync>;

/// A kind that can be watched.
pub(super) trait Watched:
    kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + serde::de::DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Objects `K` of the API server, of which `S` is kept, in groups `G`.
pub(super) struct Watch<K, S = K, G = ClusterKey> {
    pub(super) api: Api<K>,
    pub(super) path: String,
    /// A label that objects must have.
    pub(super) labels: Option<&'static str>,
    /// The operator does not work without it: its liveness is that of the operator.
    pub(super) required: bool,
    pub(super) cache: Arc<Cache<S, G>>,
    pub(super) keep: fn(K) -> S,
    pub(super) enqueue: Enqueue<G>,
    pub(super) metrics: Arc<Metrics>,
}

impl<K, S, G> Watch<K, S, G>
where
    S: Cached + Send + Sync + 'static,
    G: Clone + Eq + Hash + Ord + Send + Sync + 'static,
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    pub(super) fn spawn(self, liveness: &WatchLiveness) {
        if self.required {
            liveness.register(&self.path);
        }
        tokio::spawn(self.run());
    }

    async fn run(self) {
        let mut config = watcher::Config::default();
        if let Some(label) = self.labels {
            config = config.labels(label);
        }
        let longest = if self.required {
            LONGEST_PAUSE
        } else {
            LONGEST_OPTIONAL_PAUSE
        };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter();
        let events = watcher(self.api.clone(), config).backoff(ExponentialBackoff::from(backoff));
        let mut events = std::pin::pin!(events);
        let mut last_problem = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if last_problem.take().is_some() {
                        tracing::info!(watch = self.path, "watch recovered");
                    }
                    self.accept(event);
                }
                Err(error) => self.log_error(&error, &mut last_problem),
            }
        }
    }

    /// Takes in one event, and enqueues the clusters that it concerns.
    pub(super) fn accept(&self, event: watcher::Event<K>) {
        let keep = |mut object: K| {
            object.meta_mut().managed_fields = None;
            (self.keep)(object)
        };
        let event = match event {
            watcher::Event::Apply(object) => watcher::Event::Apply(keep(object)),
            watcher::Event::Delete(object) => watcher::Event::Delete(keep(object)),
            watcher::Event::Init => watcher::Event::Init,
            watcher::Event::InitApply(object) => watcher::Event::InitApply(keep(object)),
            watcher::Event::InitDone => watcher::Event::InitDone,
        };
        let affected: Vec<_> = self.cache.take(event).into_iter().collect();
        if !affected.is_empty() {
            (self.enqueue)(&affected);
        }
    }

    /// Logs each problem once, however often it occurs in a row.
    fn log_error(&self, error: &watcher::Error, last: &mut Option<String>) {
        let (problem, kind) = explain(error);
        self.metrics.error(kind);
        let problem = match kind {
            "not_found" => format!("{problem}: is the CustomResourceDefinition installed?"),
            "forbidden" if !self.required => {
                format!("{problem}: without this permission every node counts as ready")
            }
            _ => problem,
        };
        if last.as_ref() != Some(&problem) {
            tracing::warn!(watch = self.path, error = problem, "watch failed");
            *last = Some(problem);
        }
    }
}

fn explain(error: &watcher::Error) -> (String, &'static str) {
    match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => (describe(source), category(source)),
        watcher::Error::WatchError(status) if status.code == 410 => (status.message.clone(), "gone"),
        watcher::Error::WatchError(status) => (status.message.clone(), "server"),
        watcher::Error::NoResourceVersion => (error.to_string(), "server"),
    }
}
