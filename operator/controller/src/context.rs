//! What every reconcile uses.

use std::sync::Arc;

use wsc_core::validate::Images;

use crate::api::ApiServer;
use crate::control::ControlClient;
use crate::report::events::Events;
use crate::report::metrics::Metrics;
use crate::sample::Sampler;
use crate::watch::Caches;

pub(crate) struct Context {
    pub(crate) api: ApiServer,
    pub(crate) caches: Arc<Caches>,
    pub(crate) images: Images,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: Events,
    pub(crate) sampler: Arc<Sampler>,
    pub(crate) control: ControlClient,
}
