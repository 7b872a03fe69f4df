//! The summary conditions: `Ready` for `kubectl wait`, `Reconciling` and `Stalled` for kstatus.

use wsc_contract::labels;

use super::deployments::Rollout;
use super::finding::{Facts, Finding, Truth};
use crate::observed::ChildConflict;
use crate::outdated;
use crate::validate::Mode;

/// Clients can connect, and messages reach all server pods. Scaling, rollouts and drains do not
/// change it.
pub(super) fn ready(facts: Facts<'_>, parts: [&Finding; 3], stalled: &Finding) -> Finding {
    let was_ready = facts.was_true("Ready");
    let finding = |reason: &str, message: &str| Finding::new("Ready", false, reason, message);
    if let Some(conflict) = first_conflict(facts) {
        return finding("ChildConflict", &conflict_message(conflict));
    }
    if let Some(key) = &facts.draft.awaited_child {
        let message = format!(
            "the {:?} {} is being deleted; it is created again once it no longer exists",
            key.kind, key.name
        );
        return finding("ChildTerminating", &message);
    }
    if facts.draft.observed.proxy_ready.unwrap_or(0) == 0 {
        return finding(
            "ProxyNotReady",
            "no proxy pod is ready and clients cannot connect; see `kubectl describe` of the proxy pods",
        );
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
        "clients can connect, and messages reach all server pods",
    )
}

/// kstatus: the spec is not fully applied yet, and the operator is working on it.
pub(super) fn reconciling(facts: Facts<'_>, ready: &Finding, rollout: Option<&Rollout>) -> Finding {
    let reconciling = |reason: &str, message: &str| Finding::new("Reconciling", true, reason, message);
    if outdated::rollout_in_progress(facts.pool) || outdated::rollout_waits(facts.pool) {
        return reconciling(
            "RollingOut",
            "server pods of an outdated template are being replaced",
        );
    }
    if let Some(rollout) = rollout {
        return reconciling("RollingOut", &rollout.message());
    }
    if ready.truth != Truth::True {
        return reconciling(&ready.reason, &ready.message);
    }
    if let Some(message) = outside_bounds(facts) {
        return reconciling("Scaling", &message);
    }
    Finding::new("Reconciling", false, "Reconciled", "the spec is fully applied")
}

/// The pool does not have a number of pods that the spec allows, whatever its load.
fn outside_bounds(facts: Facts<'_>) -> Option<String> {
    let scaling = &facts.draft.cluster.scaling;
    let (min, max) = (scaling.min_replicas, scaling.max_replicas);
    let serving = facts.scale.serving;
    match scaling.mode {
        Mode::Replicas(replicas) => {
            let wanted = replicas.clamp(min, max);
            (serving != wanted).then(|| format!("{serving} of {wanted} server pods are serving"))
        }
        Mode::Connections if serving < min => Some(format!(
            "{serving} server pods are serving, scaling.minReplicas is {min}"
        )),
        Mode::Connections if serving > max => Some(format!(
            "{serving} server pods are serving, scaling.maxReplicas is {max}"
        )),
        Mode::Connections => None,
    }
}

/// kstatus: manual action is required.
pub(super) fn stalled(facts: Facts<'_>, proxy: &Finding, rollout: Option<&Rollout>) -> Finding {
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
    if let Some(stall) = facts.draft.memory.starts.stall() {
        return stalled(stall.reason, &stall.message);
    }
    if let Some(rollout) = rollout.filter(|rollout| rollout.problem.is_some()) {
        return stalled("RolloutFailed", &rollout.message());
    }
    if proxy.truth == Truth::False {
        return stalled(&proxy.reason, &proxy.message);
    }
    Finding::new("Stalled", false, "NotStalled", "no manual action required")
}

/// Foreign objects with the names of children; a taken pod name is only skipped.
fn first_conflict(facts: Facts<'_>) -> Option<&ChildConflict> {
    let conflicts = facts.draft.observed.conflicts.iter();
    conflicts
        .filter(|conflict| conflict.kind != "Pod")
        .min_by_key(|conflict| conflict.terminating)
}

pub(crate) fn conflict_message(conflict: &ChildConflict) -> String {
    let ChildConflict { kind, name, .. } = conflict;
    if conflict.terminating {
        format!("waiting for the deletion of the former {kind} {name}")
    } else {
        format!(
            "the {kind} {name} exists and is not controlled by this resource; delete it, annotate it with {}=true if it has no controller, or create the WebSocketCluster under another name",
            labels::ADOPT
        )
    }
}
