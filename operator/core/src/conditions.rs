//! The nine conditions with status, reason and message: what happened, the object, the cause, the
//! remedy. Messages contain no numbers that change by the minute, so that the status of an idle
//! cluster is not written.

mod children;
mod deployments;
mod failures;
mod finding;
mod pods;
mod summary;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use crate::validate::Invalid;

pub(crate) use failures::with_failures;
pub(crate) use finding::Facts;
use finding::Finding;
pub(crate) use summary::conflict_message;

/// All conditions, sorted by type, with the time of their last change.
pub(crate) fn all(facts: Facts<'_>) -> Vec<Condition> {
    let available = pods::available(facts);
    let redis = children::redis_reachable(facts);
    let proxy = children::proxy_configured(facts);
    let rollout = deployments::rollout(facts);
    let stalled = summary::stalled(facts, &proxy, rollout.as_ref());
    let ready = summary::ready(facts, [&available, &redis, &proxy], &stalled);
    let reconciling = summary::reconciling(facts, &ready, rollout.as_ref());
    let summary = match &facts.draft.cluster.rejected {
        Some(rejected) => stopped("InvalidSpec", &rejected.message()),
        None => [ready, stalled, reconciling],
    };
    let details = [
        available,
        pods::progressing(facts),
        pods::scaling_active(facts),
        pods::scaling_limited(facts),
        proxy,
        redis,
    ];
    let (generation, now) = (facts.draft.observed.generation, facts.draft.now);
    let mut conditions: Vec<_> = summary
        .into_iter()
        .chain(details)
        .map(|finding| {
            let before = facts.before(finding.type_);
            finding.condition(before, generation, now)
        })
        .collect();
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    let failures = &facts.draft.memory.failures;
    with_failures(conditions, failures, facts.draft.observed, generation, now)
}

/// The summary of a resource whose spec is not in force before a manual action.
fn stopped(reason: &str, message: &str) -> [Finding; 3] {
    [("Ready", false), ("Stalled", true), ("Reconciling", false)]
        .map(|(type_, truth)| Finding::new(type_, truth, reason, message))
}

/// The conditions of a spec that cannot be applied while no earlier one is known; all others are
/// kept.
pub(crate) fn invalid(
    live: &[Condition],
    invalid: &Invalid,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let message = format!(
        "{}; the current state is kept until it is fixed",
        invalid.in_resource()
    );
    blocked(live, "InvalidSpec", &message, generation, now)
}

/// The conditions of a resource that requires a manual action before it is reconciled; all others
/// are kept.
pub(crate) fn blocked(
    live: &[Condition],
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = live.to_vec();
    for finding in stopped(reason, message) {
        let before = conditions
            .iter()
            .position(|condition| condition.type_ == finding.type_);
        let before = before.map(|index| conditions.remove(index));
        conditions.push(finding.condition(before.as_ref(), generation, now));
    }
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}
