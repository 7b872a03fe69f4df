//! Which children are to be applied, and which are no longer wanted.

use k8s_openapi::jiff::SignedDuration;
use serde_json::Value;
use wsc_contract::{labels, names};
use wsc_haproxy::RenderedConfig;

use crate::draft::Draft;
use crate::numbers::since;
use crate::observed::{ChildKey, ChildKind};
use crate::plan::Child;
use crate::pool::Pool;
use crate::validate::RedisTarget;
use crate::{backends, resources};

/// After this downtime the Secret of the managed Redis may be missing; also the shortest interval of checks.
const SECRET_DOUBT: SignedDuration = SignedDuration::from_secs(30);

/// Plans the children. One whose name a foreign object has is waited for.
pub(crate) fn plan(draft: &mut Draft<'_>, pool: &Pool<'_>, config: &RenderedConfig) {
    let mut wanted = resources::children(draft.cluster, &backends::ports(draft.cluster, pool));
    let config_map = Child::ConfigMap(Box::new(resources::config_map(draft.cluster, config)));
    // The Deployment mounts it, so it comes before.
    let at = wanted
        .iter()
        .position(|child| child.key().kind > ChildKind::ConfigMap);
    wanted.insert(at.unwrap_or(wanted.len()), config_map);
    let keys: Vec<_> = wanted.iter().map(Child::key).collect();
    let observed = draft.observed;
    // Server pods that still use it lose each other when it goes.
    let redis = names::redis(&draft.cluster.name);
    let in_use = |key: &ChildKey| key.name == redis && pool.members.iter().any(|member| !member.current);
    let stale: Vec<_> = observed
        .children
        .iter()
        .filter(|(key, view)| !view.terminating && !keys.contains(key) && !in_use(key))
        .map(|(key, _)| key.clone())
        .collect();
    for key in stale {
        draft.line(format!(
            "delete {:?} {}: no longer part of the spec",
            key.kind, key.name
        ));
        draft.plan.remove.push(key);
    }
    let apply: Vec<_> = wanted.into_iter().filter(|child| is_due(draft, child)).collect();
    draft.plan.apply = apply;
    redis_secret(draft);
}

/// A foreign object has the name.
fn is_taken(draft: &Draft<'_>, key: &ChildKey) -> bool {
    let kind = format!("{:?}", key.kind);
    let mut conflicts = draft.observed.conflicts.iter();
    conflicts.any(|conflict| conflict.name == key.name && conflict.kind == kind)
}

fn is_due(draft: &Draft<'_>, child: &Child) -> bool {
    let key = child.key();
    if is_taken(draft, &key) {
        return false;
    }
    let Some(live) = draft.observed.children.get(&key) else {
        return true;
    };
    let annotations = child.metadata().annotations.as_ref();
    let wanted_hash = annotations.and_then(|annotations| annotations.get(labels::APPLIED_HASH));
    // A child that is being deleted keeps its name until it is gone.
    if live.terminating {
        return false;
    }
    let accepted = &draft.memory.accepted_drift;
    live.applied_hash.as_ref() != wanted_hash || accepted.has_drifted(&key, &child.to_json(), &live.object)
}

/// Creates the Secret before the Deployment that uses it, and checks it when the state of pods suggests that it is missing: the
/// operator cannot read it. Neither Redis nor the pods would learn another password under the same name.
fn redis_secret(draft: &mut Draft<'_>) {
    if !matches!(draft.cluster.redis, RedisTarget::Managed(_)) {
        return;
    }
    let now = draft.now;
    let deployment = ChildKey {
        kind: ChildKind::Deployment,
        name: names::redis(&draft.cluster.name),
    };
    let down = draft.observed.redis_ready == Some(0);
    draft.memory.redis_down_since = down.then(|| draft.memory.redis_down_since.unwrap_or(now));
    let name = resources::redis_secret_name(draft.cluster);
    let live = draft.observed.children.get(&deployment);
    // A Deployment that waits for its name does not need it yet.
    if !live.is_some_and(|live| mounts(&live.object, &name)) && !is_taken(draft, &deployment) {
        draft.plan.create_redis_secret = Some(name);
        return;
    }
    let missed =
        draft.observed.pods.values().any(|pod| {
            !pod.terminating && pod.waiting_reason.as_deref() == Some("CreateContainerConfigError")
        });
    let suspected = draft
        .memory
        .redis_down_since
        .is_some_and(|at| since(at, now) >= SECRET_DOUBT);
    let rested = draft
        .memory
        .secret_checked_at
        .is_none_or(|at| since(at, now) >= SECRET_DOUBT);
    if (missed || suspected) && rested && live.is_some() {
        draft.memory.secret_checked_at = Some(now);
        draft.plan.check_redis_secret = true;
    }
}

/// The Deployment uses the Secret with this name.
fn mounts(deployment: &Value, secret: &str) -> bool {
    let volumes = deployment.pointer("/spec/template/spec/volumes");
    let mut volumes = volumes.and_then(Value::as_array).into_iter().flatten();
    volumes.any(|volume| volume["secret"]["secretName"] == secret)
}
