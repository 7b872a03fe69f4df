//! Conditions about the server pods and their number.

use wsc_contract::labels;

use super::finding::{Facts, Finding};
use crate::numbers::whole_second;
use crate::observed::NoNode;
use crate::outdated;
use crate::pool::{Role, Wait};
use crate::scale::Limit;
use crate::validate::Mode;
use crate::victim::{self, Obstacle, YOUNG};

/// True once minReplicas pods serve, and from then on while one serves: scaling and rollouts do not
/// change it.
pub(super) fn available(facts: Facts<'_>) -> Finding {
    let serving = facts.scale.serving;
    let least = facts.draft.cluster.scaling.min_replicas;
    if serving >= least || (serving > 0 && facts.was_true("Available")) {
        let message = if serving >= least {
            "at least scaling.minReplicas server pods are serving"
        } else {
            "fewer than scaling.minReplicas server pods are serving; more are starting"
        };
        return Finding::new("Available", true, "PodsServing", message);
    }
    let starting = facts.pool.of(Role::Starting);
    let failing = starting
        .clone()
        .filter(|member| member.wait.is_none())
        .find_map(|member| member.view.waiting_reason.as_ref());
    if let Some((reason, message)) = waiting(facts).filter(|_| failing.is_none()) {
        return Finding::new("Available", false, reason, message);
    }
    if let Some(reason) = failing {
        let message =
            format!("server pods fail to start: {reason}; see `kubectl describe pod` of one of them");
        return Finding::new("Available", false, "PodStartFailed", message);
    }
    let message = format!("waiting for server pods: scaling.minReplicas is {least}");
    Finding::new("Available", false, "MinimumReplicasUnavailable", message)
}

/// What starting pods wait for that is no failure of theirs.
fn waiting(facts: Facts<'_>) -> Option<(&'static str, String)> {
    let waits = |wait| {
        facts
            .pool
            .of(Role::Starting)
            .any(|member| member.wait == Some(wait))
    };
    if waits(Wait::Redis) {
        let message = "server pods are not ready because they have no connection to Redis; they wait for it";
        return Some(("WaitingForBroker", message.to_owned()));
    }
    let message = || {
        let no_node = facts.draft.observed.no_node.as_ref();
        no_node.map_or_else(|| "server pods are not scheduled because no node has room for them; they wait for one. See `kubectl describe pod` of one of them".to_owned(), NoNode::text)
    };
    waits(Wait::Node).then(|| ("WaitingForNodes", message()))
}

/// True while the pool changes.
pub(super) fn progressing(facts: Facts<'_>) -> Finding {
    let progressing = |reason: &str, message: &str| Finding::new("Progressing", true, reason, message);
    let pool = facts.pool;
    if outdated::rollout_in_progress(pool) {
        let message = "server pods of an outdated template are being replaced";
        let wait = facts.draft.rollout_wait.as_ref();
        let message = wait.map_or_else(|| message.to_owned(), |wait| format!("{message}: {wait}"));
        return progressing("RollingOut", &message);
    }
    if outdated::rollout_waits(pool) {
        let message = format!(
            "outdated server pods are protected by the annotation {}; remove it to replace them",
            labels::PROTECT
        );
        return progressing("RolloutBlocked", &message);
    }
    let created = !facts.draft.plan.create_pods.is_empty();
    if let Some((reason, message)) = waiting(facts) {
        return progressing(reason, &message);
    }
    if created || facts.scale.starting > 0 {
        return progressing("PodsStarting", "server pods are starting");
    }
    let draining = pool.members.iter().any(|member| facts.draft.is_draining(member));
    if draining {
        return progressing("PodsDraining", "server pods are draining; see status.drains");
    }
    scale_down_obstacle(facts).unwrap_or_else(|| {
        Finding::new(
            "Progressing",
            false,
            "Steady",
            "no server pods are starting or draining",
        )
    })
}

/// More pods serve than desired, and none of them can be drained yet.
fn scale_down_obstacle(facts: Facts<'_>) -> Option<Finding> {
    let scale = facts.scale;
    if scale.shrink_hold().is_some() || scale.serving <= scale.desired || !scale.fits(scale.serving - 1) {
        return None;
    }
    let finding = |reason: &str, message: String| Finding::new("Progressing", false, reason, message);
    Some(
        match victim::obstacle(facts.pool, scale.target_per_pod, facts.draft.now)? {
            Obstacle::Young(until) => finding(
                "ScaleDownDelayed",
                format!(
                    "the scale-down starts at {} at the latest: server pods are drained from an age of {} s on",
                    whole_second(until),
                    YOUNG.as_secs()
                ),
            ),
            Obstacle::Protected => finding(
                "ScaleDownBlocked",
                format!(
                    "all server pods are protected by the annotation {}; remove it to scale down",
                    labels::PROTECT
                ),
            ),
        },
    )
}

/// Whether the number of pods follows the connections.
pub(super) fn scaling_active(facts: Facts<'_>) -> Finding {
    let finding =
        |truth: bool, reason: &str, message: &str| Finding::new("ScalingActive", truth, reason, message);
    let draft = facts.draft;
    if !draft.observed.watches_fresh {
        return finding(
            false,
            "StaleWatch",
            "the watches of the API server are stale; no server pods are created, drained or deleted until they recover",
        );
    }
    if draft.cluster.scaling.mode != Mode::Connections && facts.scale.held().is_none() {
        return finding(
            true,
            "ReplicasMode",
            "spec.replicas sets the number of server pods",
        );
    }
    if facts.scale.blind {
        return finding(
            false,
            "StatsUnavailable",
            "most server pods do not respond on their control port; the number of pods is kept. Check their logs and NetworkPolicies",
        );
    }
    if facts.scale.unknown
        && let Some(before) = facts.before_samples("ScalingActive")
    {
        return before;
    }
    if let Some(hold) = facts.scale.held() {
        let message = format!(
            "fewer server pods would be enough, but a hold forbids the scale-down: {}",
            hold.text()
        );
        return finding(true, "Held", &message);
    }
    finding(
        true,
        "StatsAvailable",
        "the number of server pods follows the number of connections",
    )
}

/// Whether the desired number differs from the recommended one or that of `spec.replicas`.
pub(super) fn scaling_limited(facts: Facts<'_>) -> Finding {
    let finding =
        |truth: bool, reason: &str, message: &str| Finding::new("ScalingLimited", truth, reason, message);
    if facts.scale.unknown
        && let Some(before) = facts.unchanged("ScalingLimited")
    {
        return before;
    }
    match facts.scale.limit {
        None => finding(
            false,
            "DesiredWithinRange",
            "the recommended number of server pods is within the range",
        ),
        Some(Limit::AtMaximum) => finding(
            true,
            "TooManyReplicas",
            "more server pods are needed than scaling.maxReplicas allows; raise it",
        ),
        Some(Limit::AtMinimum) => finding(
            true,
            "TooFewReplicas",
            "fewer server pods are needed than scaling.minReplicas requires",
        ),
        Some(Limit::InsufficientCapacity) => finding(
            true,
            "InsufficientCapacity",
            "the connected clients do not fit into spec.replicas server pods; raise spec.replicas",
        ),
    }
}
