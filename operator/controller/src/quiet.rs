//! A quiet cluster: new samples are compared with the last outlook, and start a reconcile only when
//! it changed.

use k8s_openapi::jiff::Timestamp;
use wsc_core::observed::Observed;
use wsc_core::resources::template_hash;
use wsc_core::validate::ValidCluster;
use wsc_core::{Outlook, outlook};

use crate::clock;
use crate::context::Context;
use crate::identity::ClusterKey;
use crate::observe;
use crate::sample::Samples;
use crate::state::State;

/// Input of the last reconcile, and the outlook after it.
pub(crate) struct Quiet {
    cluster: ValidCluster,
    /// Of its template.
    revision: String,
    observed: Observed,
    planned_at: Timestamp,
    /// As the reconcile left it; made when samples arrive, since an event may come first.
    outlook: Option<Outlook>,
}

impl Quiet {
    pub(crate) fn new(cluster: ValidCluster, observed: Observed, planned_at: Timestamp) -> Self {
        Self {
            revision: template_hash(&cluster),
            cluster,
            observed,
            planned_at,
            outlook: None,
        }
    }

    /// The memory is the one that the reconcile has left.
    fn look(&self, state: &State, at: Timestamp) -> Outlook {
        outlook(&self.cluster, &self.revision, &self.observed, &state.memory, at)
    }

    /// New samples, or missing ones, require a reconcile.
    pub(crate) fn is_over(
        &mut self,
        context: &Context,
        key: &ClusterKey,
        samples: &Samples,
        state: &mut State,
    ) -> bool {
        let before = match self.outlook.take() {
            Some(outlook) => outlook,
            None => self.look(state, self.planned_at),
        };
        observe::refresh(context, key, samples, &mut self.observed);
        let now = clock::now();
        let seen = self.look(state, now);
        if !seen.is_same(&before) {
            return true;
        }
        self.outlook = Some(before);
        seen.confirm(&mut state.memory, now);
        context.metrics.connections(key, seen.connections);
        false
    }
}
