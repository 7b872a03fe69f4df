//! One watch: from the API server into a mirror, for ever.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};

use super::liveness::WatchLiveness;
use super::mirror::Mirror;
use crate::cluster_key::ClusterKey;
use crate::error::{category, describe};
use crate::report::metrics::Metrics;

/// First and longest pause of a watch that fails. Each has its own, so that a broken one does not hold up the others.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A watch that is not required fails for want of permission: that is not looked at often.
const OPTIONAL_PAUSE: Duration = Duration::from_mins(5);

/// Called with the clusters that an event concerns.
pub(crate) type Touch = Arc<dyn Fn(&[ClusterKey]) + Send + Sync>;

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

pub(super) struct Watch<K> {
    pub(super) api: Api<K>,
    pub(super) path: String,
    /// A label that objects must have.
    pub(super) labels: Option<&'static str>,
    /// Without it nothing works: its liveness is the operator's.
    pub(super) required: bool,
    pub(super) mirror: Arc<Mirror<K>>,
    pub(super) prune: fn(&mut K),
    pub(super) touch: Touch,
    pub(super) metrics: Arc<Metrics>,
}

impl<K> Watch<K>
where
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
            OPTIONAL_PAUSE
        };
        let events = watcher(self.api.clone(), config).backoff(Pauses::new(longest));
        let mut events = std::pin::pin!(events);
        let mut last_problem = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if last_problem.take().is_some() {
                        tracing::info!(watch = self.path, "watch recovered");
                    }
                    let prune = self.prune;
                    let event = event.modify(|object| {
                        object.meta_mut().managed_fields = None;
                        prune(object);
                    });
                    let touched: Vec<_> = self.mirror.take(event).into_iter().collect();
                    (self.touch)(&touched);
                }
                Err(error) => self.complain(&error, &mut last_problem),
            }
        }
    }

    /// Says each problem once, however often it is met in a row.
    fn complain(&self, error: &watcher::Error, last: &mut Option<String>) {
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

/// Pauses that double, with a tenth of jitter.
struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    fn new(longest: Duration) -> Self {
        Self {
            next: FIRST_PAUSE,
            longest,
        }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        Some(pause.mul_f64(rand::random_range(0.9..1.1)))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }
}
