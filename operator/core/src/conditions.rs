//! The nine conditions with status, reason and message: what happened, the object, the cause, the remedy. Messages contain no
//! numbers that change by the minute, so that the status of an idle cluster is not written.

mod children;
mod finding;
mod pods;
mod summary;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::numbers::whole_second;
use crate::validate::Invalid;

pub(crate) use finding::Facts;
use finding::Finding;
pub(crate) use summary::conflict_message;

/// All conditions, sorted by type, with the time of their last change.
pub(crate) fn all(facts: Facts<'_>) -> Vec<Condition> {
    let available = pods::available(facts);
    let redis = children::redis_reachable(facts);
    let proxy = children::proxy_configured(facts);
    let stalled = summary::stalled(facts, &proxy);
    let ready = summary::ready(facts, [&available, &redis, &proxy], &stalled);
    let reconciling = summary::reconciling(facts, &ready);
    let summary = match &facts.draft.cluster.rejected {
        Some(rejected) => rejected_spec(&rejected.message()),
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
            condition(finding, before, generation, now)
        })
        .collect();
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}

/// The summary of a resource whose spec is invalid.
fn rejected_spec(message: &str) -> [Finding; 3] {
    [("Ready", false), ("Stalled", true), ("Reconciling", false)]
        .map(|(type_, truth)| Finding::new(type_, truth, "InvalidSpec", message))
}

/// The conditions of a spec that cannot be applied while no earlier one is known; all others are kept.
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
    let mut conditions = live.to_vec();
    for finding in rejected_spec(&message) {
        let before = conditions
            .iter()
            .position(|condition| condition.type_ == finding.type_);
        let before = before.map(|index| conditions.remove(index));
        conditions.push(condition(finding, before.as_ref(), generation, now));
    }
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}

/// The time of the last transition is kept while the status is the same.
fn condition(finding: Finding, before: Option<&Condition>, generation: i64, now: Timestamp) -> Condition {
    let status = finding.truth.as_str();
    let before = before.filter(|before| before.status == status);
    Condition {
        type_: finding.type_.to_owned(),
        status: status.to_owned(),
        reason: finding.reason,
        message: finding.message,
        observed_generation: Some(generation),
        last_transition_time: before.map_or_else(
            || Time(whole_second(now)),
            |before| before.last_transition_time.clone(),
        ),
    }
}
