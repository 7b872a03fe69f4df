//! Applies a plan in one fixed order. A failed step does not prevent the others, except those that depend on it; the next pass
//! plans again what was missed.

mod children;
mod pods;
mod revision;
mod secret;
mod target;

use k8s_openapi::jiff::Timestamp;
use wsc_core::memory::Memory;
use wsc_core::plan::{ControlCall, ControlVerb, Plan};

use crate::error::{Error, describe};
use crate::state::State;
use crate::status;
pub(crate) use revision::record;
use secret::Found;
pub(crate) use target::Target;

/// The result of applying a plan.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Steps that failed, in order.
    pub(crate) errors: Vec<Error>,
    /// Connections that pods have newly accepted to move.
    pub(crate) granted: i64,
}

/// Applies a plan. `events`, `holds`, `decisions` and `recheck_after` are the caller's.
pub(crate) async fn apply(target: &Target<'_>, plan: &Plan, state: &mut State) -> Applied {
    let Plan {
        apply,
        remove,
        create_redis_secret,
        check_redis_secret,
        reserve_serials,
        create_pods,
        mark_pods,
        calls,
        delete_pods,
        status,
        memory,
        events: _,
        holds: _,
        decisions: _,
        recheck_after: _,
    } = plan;
    let mut applied = Applied::default();
    let mut memory = memory.clone();
    // Before the children, because the Redis Deployment mounts it.
    let secret = secret::step(target, create_redis_secret.as_deref(), *check_redis_secret);
    match secret.await {
        Ok(Found::Lost) => memory.redis_secret_lost(),
        Ok(Found::Exists) => {}
        Err(error) => applied.errors.push(error),
    }
    for child in apply {
        // On the heap: it holds an object of each kind.
        applied.note(Box::pin(children::apply(target, child, &mut memory, state)).await);
    }
    for key in remove {
        applied.note(children::remove(target, key).await);
    }
    let (mut refused, mut accepted) = (None, false);
    let mut target_resource = target.resource.clone();
    let reserved = match reserve_serials {
        None => Ok(()),
        Some(end) => pods::reserve(target, status, *end, &mut target_resource, state).await,
    };
    match reserved {
        Ok(()) => {
            for result in pods::create(target, create_pods, state).await {
                refused = result.as_ref().err().and_then(refusal).or(refused);
                accepted |= result.is_ok();
                applied.note(result);
            }
        }
        // Another operator may have reserved the same serials: without a reservation nothing is created.
        Err(error) => applied.errors.push(error),
    }
    for mark in mark_pods {
        let result = pods::mark(target, mark).await;
        applied.note_pod(result, &mark.uid, &mut memory);
    }
    call(target, calls, &mut applied).await;
    for pod in delete_pods {
        let result = pods::delete(target, pod).await;
        applied.note_pod(result, &pod.uid, &mut memory);
    }
    if let Some(wanted) = wsc_core::status::update(target_resource.status.as_ref(), status) {
        let written = status::put(target.context, target.key, &target_resource, &wanted, state).await;
        applied.note(written.map(|_| ()));
    }
    if let Some(reason) = refused {
        memory.creates_rejected(reason, Timestamp::now());
    } else if accepted {
        memory.creates_accepted();
    }
    state.memory = memory;
    applied
}

/// Why the API server rejected a pod, in its words: a quota, a policy or an invalid field. An immediate retry is no use.
fn refusal(error: &Error) -> Option<String> {
    match error {
        Error::Api { source, .. } if matches!(error.category(), "invalid" | "forbidden") => {
            Some(describe(source))
        }
        _ => None,
    }
}

impl Applied {
    pub(crate) fn note(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.errors.push(error);
        }
    }

    /// A failed write must not count as done.
    fn note_pod(&mut self, result: Result<(), Error>, uid: &str, memory: &mut Memory) {
        if result.is_err() {
            memory.write_failed(uid);
        }
        self.note(result);
    }
}

async fn call(target: &Target<'_>, calls: &[ControlCall], applied: &mut Applied) {
    for (call, result) in target.context.control.call_all(calls.to_vec()).await {
        match result {
            Ok(sample) => {
                applied.granted += newly_granted(target, &call);
                target.samples.answered(sample);
            }
            Err(error) => applied.errors.push(error),
        }
    }
}

/// Moves that the process had not accepted before. Each answer is a sample, so the newest one names the total until now.
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
