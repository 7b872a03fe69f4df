//! Applies a plan in one fixed order. A failed step does not prevent the others, except those that
//! depend on it; the next reconcile plans again what was missed.

mod applied;
mod children;
mod pods;
mod revision;
mod secret;
mod target;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use wsc_api::v1alpha1::WebSocketClusterStatus;
use wsc_contract::{labels, names};
use wsc_core::common;
use wsc_core::observed::{ChildKey, ChildKind};
use wsc_core::plan::{ControlCall, ControlVerb, Plan, PodDelete, PodMark, PodMetadata};

use crate::clock;
use crate::state::State;
use crate::status;
pub(crate) use applied::Applied;
pub(crate) use target::Target;

/// Marks or deletes of one cluster that are under way at the same time.
const POD_WRITES: usize = 8;

/// Applies a plan. Fields bound to `_` belong to a function that takes the whole plan, or to the
/// caller (`events`, `holds`, `decisions`, `recheck_after`, `is_quiet`). The memory is stored first
/// and corrected as each step ends, so an abandoned reconcile keeps what it did.
pub(crate) async fn apply(target: &Target<'_>, plan: &Plan, state: &mut State) -> Applied {
    let Plan {
        apply: _,
        remove,
        create_redis_secret: _,
        check_redis_secret: _,
        reserve_serials,
        create_pods,
        mark_pods,
        update_pods,
        calls,
        delete_pods,
        status: _,
        memory,
        events: _,
        holds: _,
        decisions: _,
        recheck_after: _,
        is_quiet: _,
    } = plan;
    let mut applied = Applied::default();
    let marked = mark_pods.iter().map(|mark| mark.uid.clone());
    let updated = update_pods.iter().map(|update| update.uid.clone());
    let written = marked
        .chain(updated)
        .chain(delete_pods.iter().map(|pod| pod.uid.clone()));
    state.begin(memory.clone(), written);
    // First: a settled resource has its record.
    revision::record(target, state, &mut applied).await;
    let has_secret = secret::step(target, plan, state, &mut applied).await;
    // Before the ConfigMap: HAProxy drains only pods that are marked so.
    let unmarked = mark(target, mark_pods, state, &mut applied).await;
    let is_missing = |mark: &PodMark| unmarked.contains(&mark.uid) && changes_rotation(target, mark);
    let waiting = Waiting {
        redis: !has_secret,
        config: mark_pods.iter().any(is_missing),
    };
    apply_children(target, plan, waiting, state, &mut applied).await;
    for key in remove {
        let result = children::remove(target, key).await;
        applied.child(state, key, None, result);
    }
    let mut resource = target.resource.clone();
    let reserved = match reserve_serials {
        None => Ok(()),
        Some(end) => {
            let status = status_now(target, plan, state);
            pods::reserve(target, &status, *end, &mut resource, state).await
        }
    };
    match reserved {
        Ok(()) => create(target, create_pods, state, &mut applied).await,
        // Another operator may have reserved the same serials: without a reservation nothing is
        // created.
        Err(error) => applied.errors.push(error),
    }
    call(target, calls, &unmarked, &mut applied).await;
    delete(target, delete_pods, state, &mut applied).await;
    update(target, update_pods, state, &mut applied).await;
    // Last, because it reports the results of all steps above.
    let status = status_now(target, plan, state);
    if let Some(wanted) = wsc_core::status::update(resource.status.as_ref(), &status) {
        let written = status::put(target.context, target.key, &resource, &wanted, state).await;
        applied.note(written.map(|_| ()));
    }
    applied
}

fn status_now(target: &Target<'_>, plan: &Plan, state: &State) -> WebSocketClusterStatus {
    wsc_core::status::applied(plan, &state.memory, target.observed, clock::now())
}

/// Children that a later reconcile applies.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// The Deployment of Redis: the Secret that it mounts does not exist.
    redis: bool,
    /// The list of servers: it has a pod that was to be marked, and was not, in the state of the
    /// mark.
    config: bool,
}

/// The mark takes a pod out of rotation or puts it back.
fn changes_rotation(target: &Target<'_>, mark: &PodMark) -> bool {
    let pod = target.observed.pods.get(&mark.name);
    pod.is_some_and(|pod| pod.state.is_draining() != mark.state.is_draining())
}

async fn apply_children(
    target: &Target<'_>,
    plan: &Plan,
    waiting: Waiting,
    state: &mut State,
    applied: &mut Applied,
) {
    let redis = ChildKey {
        kind: ChildKind::Deployment,
        name: names::redis(&target.cluster.name),
    };
    for child in &plan.apply {
        let key = child.key();
        if (waiting.redis && key == redis) || (waiting.config && key.kind == ChildKind::ConfigMap) {
            continue;
        }
        // On the heap: it holds an object of each kind.
        let result = Box::pin(children::apply(target, child, state)).await;
        let annotations = child.metadata().annotations.as_ref();
        let hash = annotations.and_then(|annotations| annotations.get(labels::APPLIED_HASH));
        applied.child(state, &key, hash, result);
    }
}

/// Creates pods. Whatever prevents it, the next attempt is delayed.
async fn create(target: &Target<'_>, pods: &[Pod], state: &mut State, applied: &mut Applied) {
    let mut refused = None;
    let mut created = false;
    for (name, result) in pods::create(target, pods, state).await {
        match &result {
            Ok(()) => created = true,
            Err(error) => refused = error.problem().map(|problem| (name, problem)).or(refused),
        }
        applied.note(result);
    }
    let now = clock::now();
    match refused {
        Some((name, problem)) => state.memory.creates_failed(&name, problem, now),
        None if created => state.memory.creates_accepted(),
        None => {}
    }
}

/// Marks pods, some at a time, and returns the uids of those that are not marked.
async fn mark(
    target: &Target<'_>,
    marks: &[PodMark],
    state: &mut State,
    applied: &mut Applied,
) -> BTreeSet<String> {
    let mut unmarked = BTreeSet::new();
    let writes = marks
        .iter()
        .map(|mark| async move { (mark, pods::mark(target, mark).await) });
    let mut writes = stream::iter(writes.collect::<Vec<_>>()).buffer_unordered(POD_WRITES);
    while let Some((mark, result)) = writes.next().await {
        if result.is_err() {
            unmarked.insert(mark.uid.clone());
        }
        applied.pod(state, &mark.name, &mark.uid, result);
    }
    unmarked
}

async fn delete(target: &Target<'_>, pods: &[PodDelete], state: &mut State, applied: &mut Applied) {
    let writes = pods
        .iter()
        .map(|pod| async move { (pod, pods::delete(target, pod).await) });
    let mut writes = stream::iter(writes.collect::<Vec<_>>()).buffer_unordered(POD_WRITES);
    while let Some((pod, result)) = writes.next().await {
        applied.pod(state, &pod.name, &pod.uid, result);
    }
}

/// Writes labels and annotations of the spec on pods, after everything that clients depend on.
async fn update(target: &Target<'_>, updates: &[PodMetadata], state: &mut State, applied: &mut Applied) {
    let writes = updates
        .iter()
        .map(|update| async move { (update, pods::update(target, update).await) });
    let mut writes = stream::iter(writes.collect::<Vec<_>>()).buffer_unordered(POD_WRITES);
    while let Some((update, result)) = writes.next().await {
        state.written(&update.uid, result.is_ok());
        applied.object(state, common::KIND, &update.name, Some(&update.hash), result);
    }
}

/// Calls pods, except those whose mark was not written: after a restart of the operator the mark is
/// the only record of a drain.
async fn call(
    target: &Target<'_>,
    calls: &[ControlCall],
    unmarked: &BTreeSet<String>,
    applied: &mut Applied,
) {
    let calls = calls.iter().filter(|call| !unmarked.contains(&call.pod_uid));
    for (call, result) in target.context.control.call_all(calls.cloned().collect()).await {
        match result {
            Ok(sample) => {
                applied.granted += newly_granted(target, &call);
                target.samples.answered(sample);
            }
            Err(error) => applied.errors.push(error),
        }
    }
}

/// Moves that the process had not accepted before. Each answer is a sample, so the newest one names
/// the total until now.
fn newly_granted(target: &Target<'_>, call: &ControlCall) -> i64 {
    let ControlVerb::Shed { boot_id, total, .. } = &call.verb else {
        return 0;
    };
    let newest = target.observed.samples.get(&call.pod);
    let accepted = newest
        .filter(|sample| sample.boot_id == *boot_id)
        .map_or(0, |sample| sample.shed_target);
    (total - accepted).max(0)
}
