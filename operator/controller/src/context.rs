//! What every reconcile has at hand.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use tokio::sync::Semaphore;
use wsc_core::observed::{Memory, Observed};
use wsc_core::plan::Plan;
use wsc_core::validate::{Images, ValidCluster};

use crate::api::ApiServer;
use crate::report::events::Events;
use crate::report::metrics::Metrics;
use crate::watch::World;

/// The deciding function: `wsc_core::plan::plan`.
pub type Planner = fn(&ValidCluster, &Observed, &Memory, Timestamp) -> Plan;

/// Pods that are asked at the same time, over all clusters.
pub const POD_CALLS: usize = 32;

pub struct Context {
    pub api: ApiServer,
    pub world: Arc<World>,
    pub images: Images,
    pub planner: Planner,
    pub metrics: Arc<Metrics>,
    pub events: Events,
    /// Bounds calls to pods: [`POD_CALLS`].
    pub pod_calls: Semaphore,
}

/// A `WebSocketCluster`, by where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterKey {
    pub namespace: String,
    pub name: String,
}

impl ClusterKey {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A lock that outlives the panic of another holder: what it guards is whole between statements.
pub(crate) fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
