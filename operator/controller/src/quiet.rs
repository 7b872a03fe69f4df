//! A quiet cluster: new samples are compared with the last outlook, and start a pass only when it changed.

use wsc_core::observed::Observed;
use wsc_core::validate::ValidCluster;
use wsc_core::{Outlook, outlook};

use crate::clock;
use crate::context::Context;
use crate::identity::ClusterKey;
use crate::observe;
use crate::sample::Samples;
use crate::state::State;

/// Input of the last pass, and the outlook after it.
pub(crate) struct Quiet {
    cluster: ValidCluster,
    observed: Observed,
    outlook: Outlook,
}

impl Quiet {
    /// The memory is the one that the pass has left.
    pub(crate) fn new(cluster: ValidCluster, observed: Observed, state: &State) -> Self {
        let outlook = outlook(&cluster, &observed, &state.memory, clock::now());
        Self {
            cluster,
            observed,
            outlook,
        }
    }

    /// New samples, or missing ones, require a pass.
    pub(crate) fn is_over(
        &mut self,
        context: &Context,
        key: &ClusterKey,
        samples: &Samples,
        state: &mut State,
    ) -> bool {
        observe::refresh(context, key, samples, &mut self.observed);
        let now = clock::now();
        let seen = outlook(&self.cluster, &self.observed, &state.memory, now);
        if !seen.is_same(&self.outlook) {
            return true;
        }
        state.memory.still_recommended(now);
        context.metrics.connections(key, seen.connections);
        false
    }
}
