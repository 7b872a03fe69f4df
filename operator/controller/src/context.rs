//! What every reconcile uses.

use std::sync::Arc;

use tokio::sync::Semaphore;
use wsc_core::validate::Images;

use crate::api::ApiServer;
use crate::report::events::Events;
use crate::report::metrics::Metrics;
use crate::watch::World;

/// Concurrent requests to pods, over all clusters.
pub(crate) const POD_CALLS: usize = 32;

pub(crate) struct Context {
    pub(crate) api: ApiServer,
    pub(crate) world: Arc<World>,
    pub(crate) images: Images,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: Events,
    /// Bounds requests to pods: [`POD_CALLS`].
    pub(crate) pod_calls: Semaphore,
}
