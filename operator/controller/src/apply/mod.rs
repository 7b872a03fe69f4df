//! Does what a plan says, in one written order. A step that fails does not keep the others from being done, except where they
//! depend on it; whatever was missed the next pass plans again.

mod children;
mod pods;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use wsc_api::names;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_core::observed::{Memory, Observed};
use wsc_core::plan::{ControlCall, ControlVerb, Plan};
use wsc_core::resources;
use wsc_core::validate::ValidCluster;

use crate::context::{ClusterKey, Context};
use crate::control;
use crate::error::{Error, describe};
use crate::sample::Samples;
use crate::state::State;
use crate::status;

/// Bytes of randomness in the Redis password.
const PASSWORD_BYTES: usize = 24;

/// What a plan is applied to.
pub struct Target<'a> {
    pub context: &'a Context,
    pub key: &'a ClusterKey,
    pub cluster: &'a ValidCluster,
    pub resource: Arc<WebSocketCluster>,
    pub observed: &'a Observed,
    pub samples: &'a Samples,
}

/// What remains of a plan once it was applied: what to tell.
#[derive(Debug, Default)]
pub struct Applied {
    /// Steps that failed, in order.
    pub errors: Vec<Error>,
    /// Connections that pods have newly accepted to move.
    pub granted: i64,
}

/// Applies a plan. `events`, `decisions` and `recheck_after` are the caller's.
pub async fn apply(target: &Target<'_>, plan: &Plan, state: &mut State) -> Applied {
    let Plan {
        apply,
        remove,
        create_redis_secret,
        reserve_serials,
        create_pods,
        mark_pods,
        calls,
        delete_pods,
        status,
        memory,
        events: _,
        decisions: _,
        recheck_after: _,
    } = plan;
    let mut applied = Applied::default();
    // Before the children, because the Redis Deployment mounts it.
    if let Some(name) = create_redis_secret {
        applied.note(redis_secret(target, name).await);
    }
    for child in apply {
        // On the heap: it holds an object of each kind.
        applied.note(Box::pin(children::apply(target, child, state)).await);
    }
    for key in remove {
        applied.note(children::remove(target, key).await);
    }
    let mut refused = None;
    let mut target_resource = target.resource.clone();
    let reserved = match reserve_serials {
        None => Ok(()),
        Some(end) => pods::reserve(target, status, *end, &mut target_resource, state).await,
    };
    match reserved {
        Ok(()) => {
            for result in pods::create(target, create_pods, state).await {
                refused = result.as_ref().err().and_then(refusal).or(refused);
                applied.note(result);
            }
        }
        // Somebody else may have reserved the same serials: nothing is created on a reservation that did not hold.
        Err(error) => applied.errors.push(error),
    }
    let mut memory = memory.clone();
    for mark in mark_pods {
        let result = pods::mark(target, mark).await;
        applied.note_pod(result, &mark.uid, &mut memory);
    }
    call(target, calls, state, &mut applied).await;
    for pod in delete_pods {
        let result = pods::delete(target, pod).await;
        applied.note_pod(result, &pod.uid, &mut memory);
    }
    applied.note(status::write(target, &target_resource, status, state).await);
    state.memory = memory;
    if let Some(reason) = refused {
        state.memory.starts.refused(reason, Timestamp::now());
    }
    applied
}

/// Why a pod cannot be, in the words of the API server: a quota, a policy, or a field that no pod can have. Trying again at once is
/// no use.
fn refusal(error: &Error) -> Option<String> {
    match error {
        Error::Api { source, .. } if matches!(error.category(), "invalid" | "forbidden") => {
            Some(describe(source))
        }
        _ => None,
    }
}

impl Applied {
    fn note(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.errors.push(error);
        }
    }

    /// A write that failed must not be taken for done.
    fn note_pod(&mut self, result: Result<(), Error>, uid: &str, memory: &mut Memory) {
        if result.is_err() {
            memory.write_failed(uid);
        }
        self.note(result);
    }
}

/// Creates the Secret with the Redis password. It is there already if an earlier pass made it: nobody can read it, and nobody has to.
async fn redis_secret(target: &Target<'_>, name: &str) -> Result<(), Error> {
    let bytes: [u8; PASSWORD_BYTES] = rand::random();
    let password = bytes
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let mut secret = resources::redis_secret(target.cluster, &password);
    secret.metadata.name = Some(name.to_owned());
    let api = target.context.api.objects::<Secret>(&target.key.namespace);
    let how = creating();
    let create = api.create(&how, &secret);
    match target.context.api.write("create", "Secret", name, create).await {
        Err(error) if error.is_conflict() => Ok(()),
        result => result.map(|_| ()),
    }
}

async fn call(target: &Target<'_>, calls: &[ControlCall], state: &mut State, applied: &mut Applied) {
    for (call, result) in control::call_all(target.context, calls.to_vec()).await {
        let sample = match result {
            Ok(sample) => sample,
            Err(error) => {
                applied.errors.push(error);
                continue;
            }
        };
        if let ControlVerb::Shed { boot_id, total, .. } = &call.verb {
            let known = granted_before(target, state, &call, boot_id);
            applied.granted += (total - known).max(0);
            let accepted = (boot_id.clone(), (*total).max(known));
            state.granted.insert(call.pod_uid.clone(), accepted);
        }
        target.samples.answered(sample);
    }
    let pods = &target.observed.pods;
    state
        .granted
        .retain(|uid, _| pods.values().any(|pod| pod.uid == *uid));
}

/// The largest total that this process of the pod was granted before.
fn granted_before(target: &Target<'_>, state: &State, call: &ControlCall, boot_id: &str) -> i64 {
    let sampled = target
        .observed
        .samples
        .get(&call.pod)
        .filter(|sample| sample.boot_id == boot_id)
        .map_or(0, |sample| sample.shed_target);
    let remembered = state
        .granted
        .get(&call.pod_uid)
        .filter(|(boot, _)| boot == boot_id)
        .map_or(0, |(_, total)| *total);
    sampled.max(remembered)
}

fn creating() -> PostParams {
    PostParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}
