//! Failed writes in the conditions that depend on them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::finding::Finding;
use crate::children::OTHERS;
use crate::failures::{Failure, Failures, ObjectName};
use crate::observed::Observed;

/// Reasons that name a cause of their own; it is corrected first.
const KNOWN: [&str; 2] = ["ChildConflict", "InvalidSpec"];

/// The conditions with the failed writes: `Reconciling` always, `Ready` where a child does not
/// exist, `Stalled` where it lasts.
pub(crate) fn with_failures(
    mut conditions: Vec<Condition>,
    failures: &Failures,
    observed: &Observed,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let all = failures.all();
    let Some(first) = all.first() else {
        return conditions;
    };
    let mut findings = vec![finding("Reconciling", true, first, all.len())];
    let missing = all.iter().find(|(object, _)| is_missing(object, observed));
    findings.extend(missing.map(|failure| finding("Ready", false, failure, 1)));
    // Server pods that are rejected again and again stall the pool by a rule of their own.
    let has_own_rule =
        |object: &ObjectName, failure: &Failure| object.kind == "Pod" && failure.problem.is_rejection();
    let lasting = all
        .iter()
        .find(|(object, failure)| failure.is_lasting() && !has_own_rule(object, failure));
    findings.extend(lasting.map(|failure| finding("Stalled", true, failure, 1)));
    for finding in findings {
        let Some(found) = conditions.iter_mut().find(|found| found.type_ == finding.type_) else {
            continue;
        };
        let is_known = finding.type_ != "Reconciling" && KNOWN.contains(&found.reason.as_str());
        if !is_known {
            let mut live = observed.status.conditions.iter();
            let before = live.find(|before| before.type_ == finding.type_);
            *found = finding.condition(before, generation, now);
        }
    }
    conditions
}

fn finding(
    type_: &'static str,
    truth: bool,
    (object, failure): &(&ObjectName, &Failure),
    number: usize,
) -> Finding {
    let ObjectName { kind, name } = object;
    let cause = &failure.problem.message;
    let more = match number {
        0 | 1 => String::new(),
        more => format!("; {} more objects could not be written", more - 1),
    };
    let message = format!("cannot write {kind} {name}: {cause}; it is retried{more}");
    Finding::new(type_, truth, "ApplyFailed", message)
}

/// It is a child, and does not exist.
fn is_missing(object: &ObjectName, observed: &Observed) -> bool {
    let is_child = !OTHERS.contains(&object.kind.as_str());
    let mut live = observed.children.iter().filter(|(_, view)| !view.terminating);
    is_child && !live.any(|(key, _)| crate::children::object_name(key) == *object)
}
