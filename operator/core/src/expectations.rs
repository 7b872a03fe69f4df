//! Expectations: the last writes on pods count until the watch shows them, so that a late watch
//! makes no second drain of one decision.

use std::borrow::Cow;
use std::collections::BTreeSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::memory::{Change, Memory, Written};
use crate::numbers::since;
use crate::observed::{Observed, PodView};
use crate::plan::Plan;

/// A watch that has been silent for longer stops everything anyway.
const EXPECTATION_TTL: SignedDuration = SignedDuration::from_secs(150);

/// The pods as they are once the watch has caught up, and the names of those that it is behind on.
pub(crate) fn apply_pending_writes<'a>(
    observed: &'a Observed,
    memory: &Memory,
    now: Timestamp,
) -> (Cow<'a, Observed>, BTreeSet<String>) {
    let mut seen = Cow::Borrowed(observed);
    let mut behind = BTreeSet::new();
    for (name, pod) in &observed.pods {
        let Some(written) = pending(memory, pod, now) else {
            continue;
        };
        let Some(pod) = seen.to_mut().pods.get_mut(name) else {
            continue;
        };
        behind.insert(name.clone());
        match &written.change {
            Change::Marked(state, drain) => (pod.state, pod.drain) = (*state, *drain),
            Change::Updated(common) => pod.common.clone_from(common),
            Change::Deleted => pod.terminating = true,
        }
    }
    (seen, behind)
}

fn pending<'a>(memory: &'a Memory, pod: &PodView, now: Timestamp) -> Option<&'a Written> {
    let written = memory.pods.get(&pod.uid)?.written.as_ref()?;
    let same = written.resource_version == pod.resource_version;
    (same && since(written.at, now) < EXPECTATION_TTL).then_some(written)
}

/// Stores what a plan writes until the watch cache shows it.
pub(crate) fn remember(plan: &Plan, memory: &mut Memory, observed: &Observed, now: Timestamp) {
    for pod in observed.pods.values() {
        if pending(memory, pod, now).is_none() {
            memory.pod(&pod.uid).written = None;
        }
    }
    let marks = plan.mark_pods.iter().map(|mark| {
        let change = Change::Marked(mark.state, mark.drain);
        (&mark.uid, &mark.resource_version, change)
    });
    let updates = plan.update_pods.iter().map(|update| {
        let change = Change::Updated(update.common.clone());
        (&update.uid, &update.resource_version, change)
    });
    let deletes = plan
        .delete_pods
        .iter()
        .map(|delete| (&delete.uid, &delete.resource_version, Change::Deleted));
    for (uid, resource_version, change) in marks.chain(updates).chain(deletes) {
        memory.pod(uid).written = Some(Written {
            resource_version: resource_version.clone(),
            at: now,
            change,
        });
    }
}
