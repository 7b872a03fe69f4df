//! Room for new pods, and pods that never served, do not serve any more or have ended.

use std::cmp::Reverse;

use k8s_openapi::jiff::SignedDuration;

use crate::crashes;
use crate::draft::Draft;
use crate::goal::{Goal, Intent, Report};
use crate::numbers::{div_ceil, since};
use crate::observed::DrainReason;
use crate::outdated;
use crate::pool::{Member, Pool, Role};
use crate::scale::Scale;
use crate::victim;

/// Ended pods that are kept for inspection, and how long.
const DEAD_KEPT: usize = 3;
const DEAD_KEPT_FOR: SignedDuration = SignedDuration::from_secs(3600);

/// New pods beyond the wanted number while old ones are replaced, as a share of it.
const SURGE_PERCENT: i64 = 10;

/// A pod that cannot be reached may come back within this time and keep its clients.
pub(crate) const BROKEN_FOR: SignedDuration = SignedDuration::from_mins(5);

/// How many more pods there may be: the wanted ones, those by which a rollout exceeds them and as
/// many broken ones as may be replaced while they exist; at most the maximum and a surge.
pub(crate) fn room(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> usize {
    let with_surge = |pods: i32| pods.saturating_add(surge(pods));
    let wanted = with_surge(scale.desired).saturating_add(broken_budget(scale.desired));
    let most = with_surge(draft.cluster.scaling.max_replicas).min(wanted);
    let stays = |member: &&Member<'_>| *draft.goals.of(member) == Goal::Keep;
    let there = pool.live().filter(stays).count() + pool.reserved;
    usize::try_from(most).unwrap_or(0).saturating_sub(there)
}

/// Pods that a rollout may add to this number.
pub(crate) fn surge(pods: i32) -> i32 {
    let share = div_ceil(i64::from(pods) * SURGE_PERCENT, 100);
    i32::try_from(share).unwrap_or(1).max(1)
}

/// Broken pods that are replaced while they exist. Half of the pool replaces a lost zone of two or
/// three at once, and a fault of all pods costs no more than half of the pool.
fn broken_budget(wanted: i32) -> i32 {
    (wanted / 2).max(1)
}

/// How long the pod has been in rotation and not Ready.
pub(crate) fn broken_for(draft: &Draft<'_>, member: &Member<'_>) -> SignedDuration {
    let memory = draft.memory.pods.get(&member.view.uid);
    let unready_since = memory.and_then(|pod| pod.unready_since);
    unready_since.map_or(SignedDuration::ZERO, |at| since(at, draft.now))
}

/// Pods are missing and the pool is at its limit: a broken pod drains or is deleted, first one of
/// an old template, then one that has been broken for long.
pub(crate) fn make_room(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Vec<Intent> {
    if room(draft, pool, scale) > 0 {
        return Vec::new();
    }
    let may_leave = |member: &&Member<'_>| {
        let long = broken_for(draft, member) >= BROKEN_FOR;
        (long || !member.current)
            && member.view.node_ready
            && !member.view.protected
            && !draft.goals.is_taken(member)
            && scale.holds.protects(member).is_none()
    };
    let broken = pool.of(Role::Broken).filter(may_leave);
    let first =
        broken.min_by_key(|member| (member.current, Reverse(broken_for(draft, member)), member.index));
    let leave = |member: &Member<'_>| {
        if has_no_server(member) {
            let reason = "its server does not run, and the pool has no room for another pod";
            return Intent::delete(member, reason);
        }
        let report = Report {
            action: "Replace",
            reason: "PodNotReady",
            what: format!(
                "drain {}, not ready, to make room for another pod",
                member.view.name
            ),
        };
        let goal = Goal::leave(draft.cluster, DrainReason::ScaleDown, draft.now);
        Intent::pod(member, goal, report)
    };
    first.map(leave).into_iter().collect()
}

/// Its server does not run, so that it has no clients. A container beside a server that runs may
/// wait, too.
pub(crate) fn has_no_server(member: &Member<'_>) -> bool {
    member.view.waiting_reason.is_some() && member.sample.is_none()
}

/// Removes pods that never served and never will: those of an old template, and late ones. Once the
/// pool is stalled, only the oldest late pod makes room for each further attempt: another node may
/// be better, and a person finds the others.
pub(crate) fn remove_hopeless(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Vec<Intent> {
    let stalled = draft.memory.starts.pods_fail();
    let is_due = draft.memory.starts.next_try().is_none_or(|at| at <= draft.now);
    let none_is_missing = scale.serving + scale.starting >= scale.desired;
    let mut tried = pool
        .of(Role::Starting)
        .filter(|member| member.current && !member.late);
    let is_next = stalled && is_due && none_is_missing && pool.reserved == 0 && tried.next().is_none();
    let late = pool
        .of(Role::Starting)
        .filter(|member| member.current && member.late);
    let oldest = late
        .min_by_key(|member| (member.first_seen, member.view.serial))
        .filter(|_| is_next)
        .map(|member| member.index);
    let start_deadline = draft.cluster.server.start_deadline;
    pool.of(Role::Starting)
        .filter_map(|member| {
            if !member.current {
                Some(Intent::delete(
                    member,
                    "its template is outdated and it was never ready",
                ))
            } else if member.late && (!stalled || oldest == Some(member.index)) {
                let reason = format!(
                    "it failed to start: {}",
                    crashes::start_failure(member, start_deadline)
                );
                Some(Intent::delete(member, reason))
            } else {
                None
            }
        })
        .collect()
}

/// Pods that were never ready are deleted before a serving one drains, the newest first: no client
/// has to move.
pub(crate) fn remove_surplus(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Vec<Intent> {
    if scale.shrink_hold().is_some() || outdated::rollout_in_progress(pool) {
        return Vec::new();
    }
    let surplus = usize::try_from(scale.serving + scale.starting - scale.desired).unwrap_or(0);
    let mut never_served: Vec<_> = pool
        .of(Role::Starting)
        .filter(|member| !member.view.protected && !victim::is_young(member, draft.now))
        .filter(|member| !draft.goals.is_taken(member))
        .collect();
    never_served.sort_by_key(|member| std::cmp::Reverse((member.view.created, member.view.serial)));
    let surplus = never_served.into_iter().take(surplus);
    surplus
        .map(|member| {
            let goal = Goal::Delete("it is surplus and was never ready".to_owned());
            let report = Report {
                action: "ScaleDown",
                reason: "SurplusReplicas",
                what: format!("delete {}, never ready", member.view.name),
            };
            Intent::pod(member, goal, report)
        })
        .collect()
}

/// Keeps the newest dead pods for a while, for inspection.
pub(crate) fn remove_dead(draft: &Draft<'_>, pool: &Pool<'_>) -> Vec<Intent> {
    let since_when = |draft: &Draft<'_>, member: &Member<'_>| {
        let memory = draft.memory.pods.get(&member.view.uid);
        memory.and_then(|pod| pod.ended_since).unwrap_or(draft.now)
    };
    let mut dead: Vec<_> = pool
        .of(Role::Dead)
        .filter(|member| !member.view.terminating)
        .collect();
    dead.sort_by_key(|member| {
        std::cmp::Reverse((since_when(draft, member), member.view.created, member.view.serial))
    });
    let is_old = |member: &Member<'_>| since(since_when(draft, member), draft.now) >= DEAD_KEPT_FOR;
    let dead = dead.into_iter().enumerate();
    dead.filter(|(index, member)| *index >= DEAD_KEPT || is_old(member))
        .map(|(_, member)| {
            let reason = "it terminated; only recent terminated pods are kept for inspection";
            Intent::delete(member, reason)
        })
        .collect()
}
