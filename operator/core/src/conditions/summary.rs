//! The conditions that sum up: what people wait for, and what kstatus reads.

use super::{Facts, Finding, Truth};
use crate::observed::ChildConflict;
use crate::rollout;
use crate::starts;

/// Clients can connect and reach each other. Scaling, rollouts and drains never turn it.
pub(super) fn ready(facts: Facts<'_>, parts: [&Finding; 3], stalled: &Finding) -> Finding {
    let was_ready = facts.was_true("Ready");
    let finding = |reason: &str, message: &str| Finding::new("Ready", false, reason, message);
    if let Some(conflict) = first_conflict(facts) {
        return finding("ChildConflict", &conflict_message(conflict));
    }
    if facts.draft.observed.proxy_ready.unwrap_or(0) == 0 {
        return finding("ProxyNotReady", "no HAProxy pod is ready; clients cannot connect");
    }
    for part in parts {
        let fails = match part.truth {
            Truth::True => false,
            Truth::False => true,
            // What is not known for a moment was all right before.
            Truth::Unknown => !was_ready && part.type_ != "ProxyConfigured",
        };
        if fails {
            // A pool that cannot start says so itself, with the reason of the pods.
            let why = if stalled.truth == Truth::True {
                stalled
            } else {
                part
            };
            return finding(&why.reason, &why.message);
        }
    }
    Finding::new(
        "Ready",
        true,
        "Serving",
        "clients can connect and reach each other",
    )
}

/// kstatus: the spec is not what runs yet, and the operator is at it.
pub(super) fn reconciling(facts: Facts<'_>, ready: &Finding) -> Finding {
    let reconciling = |reason: &str, message: &str| Finding::new("Reconciling", true, reason, message);
    if rollout::in_progress(facts.pool) || rollout::waits(facts.pool) {
        return reconciling("RollingOut", "server pods of an old template are being replaced");
    }
    if ready.truth != Truth::True {
        return reconciling(&ready.reason, &ready.message);
    }
    Finding::new("Reconciling", false, "Done", "what runs is what the spec says")
}

/// kstatus: it will not get better without a person.
pub(super) fn stalled(facts: Facts<'_>, proxy: &Finding) -> Finding {
    let stalled = |reason: &str, message: &str| Finding::new("Stalled", true, reason, message);
    let lasting = facts
        .draft
        .observed
        .conflicts
        .iter()
        .find(|conflict| !conflict.terminating && conflict.kind != "Pod");
    if let Some(conflict) = lasting {
        return stalled("ChildConflict", &conflict_message(conflict));
    }
    if starts::stalled(&facts.draft.memory) {
        let message = format!(
            "several server pods in a row did not start: {}. Running pods go on; change server.image, server.env or server.resources",
            facts.draft.memory.starts.reason
        );
        return stalled("PodsDoNotStart", &message);
    }
    if proxy.truth == Truth::False {
        return stalled(&proxy.reason, &proxy.message);
    }
    Finding::new("Stalled", false, "NotStalled", "nothing needs a person")
}

/// Strangers under the names of children; a taken name of a pod is only skipped.
fn first_conflict(facts: Facts<'_>) -> Option<&ChildConflict> {
    let conflicts = facts.draft.observed.conflicts.iter();
    conflicts
        .filter(|conflict| conflict.kind != "Pod")
        .min_by_key(|conflict| conflict.terminating)
}

fn conflict_message(conflict: &ChildConflict) -> String {
    let ChildConflict { kind, name, .. } = conflict;
    if conflict.terminating {
        format!("waiting until the former {kind} {name} is deleted")
    } else {
        format!(
            "a {kind} {name} exists that does not belong to this resource; delete or rename it, or name the resource otherwise"
        )
    }
}
