//! Which children are to be applied, and which are no longer wanted.

use std::collections::BTreeSet;

use k8s_openapi::jiff::SignedDuration;
use wsc_contract::{labels, names};
use wsc_haproxy::RenderedConfig;

use crate::draft::Draft;
use crate::failures::ObjectName;
use crate::numbers::since;
use crate::observed::{ChildKey, ChildKind};
use crate::plan::Child;
use crate::pool::Pool;
use crate::validate::RedisTarget;
use crate::{backends, common, resources};

/// After this downtime the Secret of the managed Redis may be missing; also the shortest interval
/// of checks.
const SECRET_DOUBT: SignedDuration = SignedDuration::from_secs(30);

const SECRET: &str = "Secret";
/// Kinds of objects that are written, and of which no [`Child`] is made.
pub(crate) const OTHERS: [&str; 4] = [SECRET, "Pod", common::KIND, "ControllerRevision"];

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
    draft.memory.drift.retain(|key| keys.contains(key));
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
    let apply: Vec<_> = wanted.into_iter().filter(|child| is_due(draft, child)).collect();
    let planned: BTreeSet<_> = stale
        .iter()
        .cloned()
        .chain(apply.iter().map(Child::key))
        .collect();
    let planned: BTreeSet<_> = planned.iter().map(object_name).collect();
    draft
        .memory
        .failures
        .retain(|object| OTHERS.contains(&object.kind.as_str()) || planned.contains(object));
    for key in stale {
        if !is_attempted(draft, &key, None) {
            continue;
        }
        draft.line(format!(
            "delete {:?} {}: no longer part of the spec",
            key.kind, key.name
        ));
        draft.plan.remove.push(key);
    }
    draft.plan.apply = apply
        .into_iter()
        .filter(|child| is_attempted(draft, &child.key(), applied_hash(child)))
        .collect();
    draft.awaited_child = keys
        .into_iter()
        .find(|key| observed.children.get(key).is_some_and(|view| view.terminating));
    redis_secret(draft);
}

pub(crate) fn object_name(key: &ChildKey) -> ObjectName {
    ObjectName::new(format!("{:?}", key.kind), key.name.as_str())
}

/// The write has not failed lately.
fn is_attempted(draft: &Draft<'_>, key: &ChildKey, hash: Option<&String>) -> bool {
    let failures = &draft.memory.failures;
    failures.is_due(&object_name(key), hash, draft.now)
}

fn applied_hash(child: &Child) -> Option<&String> {
    child.metadata().annotations.as_ref()?.get(labels::APPLIED_HASH)
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
    // A child that is being deleted keeps its name until it is gone.
    if live.terminating {
        return false;
    }
    live.applied_hash.as_ref() != applied_hash(child)
        || draft
            .memory
            .drift
            .has_drifted(&key, || child.to_json(), &live.object)
}

/// Creates the Secret before the Deployment that uses it, and checks it when the state of pods
/// suggests that it is missing: the operator cannot read it. Neither Redis nor the pods would learn
/// another password under the same name.
fn redis_secret(draft: &mut Draft<'_>) {
    if !matches!(draft.cluster.redis, RedisTarget::Managed(_)) {
        draft.memory.failures.retain(|object| object.kind != SECRET);
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
    if !live.is_some_and(|live| live.object.mounts(&name)) && !is_taken(draft, &deployment) {
        create_redis_secret(draft, name, &deployment);
        return;
    }
    draft.memory.failures.retain(|object| object.kind != SECRET);
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

/// Redis does not start without the Secret, and a later check would report the Secret as lost: the
/// Deployment waits for it.
fn create_redis_secret(draft: &mut Draft<'_>, name: String, deployment: &ChildKey) {
    let secret = ObjectName::new(SECRET, name.as_str());
    let failures = &mut draft.memory.failures;
    failures.retain(|object| object.kind != SECRET || *object == secret);
    if failures.is_due(&secret, None, draft.now) {
        draft.plan.create_redis_secret = Some(name);
    } else {
        draft.plan.apply.retain(|child| child.key() != *deployment);
    }
}
