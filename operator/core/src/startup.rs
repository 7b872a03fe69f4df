//! Pods that start, fail to start, or have ended.

use std::cmp::Reverse;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::draft::Draft;
use crate::goal::{Goal, Intent, Report};
use crate::numbers::{div_ceil, since};
use crate::observed::{DrainReason, PodState};
use crate::outdated;
use crate::plan::EventKind;
use crate::pool::{Member, Pool, Role};
use crate::scale::Scale;
use crate::starts::Row;
use crate::victim;

/// Ended pods that are kept for inspection, and how long.
const DEAD_KEPT: usize = 3;
const DEAD_KEPT_FOR: SignedDuration = SignedDuration::from_secs(3600);

/// A server that ends within this time of the first Ready of its pod counts against its template,
/// until a pod was Ready for as long.
const PROVEN_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// New pods beyond the wanted number while old ones are replaced, as a share of it.
const SURGE_PERCENT: i64 = 10;

/// A pod that cannot be reached may come back within this time and keep its clients.
pub(crate) const BROKEN_FOR: SignedDuration = SignedDuration::from_mins(5);

/// Counts what failed since the last plan, and ends the rows of failures that are over.
pub(crate) fn count_starts(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let was_stalled = draft.memory.starts.stall().is_some();
    let proves_template = proves_template(draft, pool);
    let mut serving = pool.of(Role::Serving).filter(|member| member.current);
    let is_new =
        |member: &Member<'_>| member.view.state == PodState::Starting && !draft.goals.is_unconfirmed(member);
    if serving.any(is_new) {
        draft.memory.starts.failed = Row::default();
    }
    if proves_template {
        draft.memory.starts.prove();
    }
    for member in pool.members.iter().filter(|member| member.current) {
        count_failure(draft, member);
    }
    if let Some(stall) = draft.memory.starts.stall().filter(|_| !was_stalled) {
        draft.event(EventKind::Warning, stall.reason, "Create", stall.message);
    }
}

/// A pod has been Ready long enough to prove the template.
pub(crate) fn proves_template(draft: &Draft<'_>, pool: &Pool<'_>) -> bool {
    let mut serving = pool.of(Role::Serving).filter(|member| member.current);
    serving.any(|member| {
        member
            .ready_since
            .is_some_and(|at| since(at, draft.now) >= PROVEN_AFTER)
    })
}

/// Counts the end of a server process, and a missed deadline.
fn count_failure(draft: &mut Draft<'_>, member: &Member<'_>) {
    let (view, now) = (member.view, draft.now);
    let is_ours = matches!(view.state, PodState::Starting | PodState::Active) && !view.terminating;
    let memory = draft.memory.pods.entry(view.uid.clone()).or_default();
    let (restarts, began) = *memory.process.get_or_insert_with(|| {
        let began = if view.restarts == 0 {
            member.first_seen
        } else {
            now
        };
        (view.restarts, began)
    });
    let restarted = view.restarts > restarts;
    if restarted {
        memory.process = Some((view.restarts, now));
    }
    let over = member.role == Role::Dead || member.late;
    let over = over && !std::mem::replace(&mut memory.failure_counted, over);
    // A node that is lost takes its pods with it.
    if !is_ours || !view.node_ready || !(restarted || over) {
        return;
    }
    let starts = &mut draft.memory.starts;
    let soon = |at: Timestamp| since(at, now) <= PROVEN_AFTER && !starts.proven;
    let (row, what) = match memory.first_ready {
        None => (&mut starts.failed, "failed to start"),
        Some(at) if soon(at) => (&mut starts.crashed, "ended soon after it became ready"),
        Some(_) => return,
    };
    let reason = reason(member, draft.cluster.server.start_deadline);
    if row.fail(began, reason.clone(), now) {
        let count = row.count;
        draft.line(format!(
            "{} {what} ({reason}), {count} consecutive failures",
            view.name
        ));
    }
}

fn reason(member: &Member<'_>, start_deadline: Duration) -> String {
    let view = member.view;
    let ended = view.last_exit.as_ref();
    match (&view.waiting_reason, ended) {
        (Some(waiting), Some(ended)) => format!("{waiting}, {ended}"),
        (Some(reason), None) | (None, Some(reason)) => reason.clone(),
        (None, None) if member.role == Role::Dead => "it terminated".to_owned(),
        (None, None) => format!("not ready within {} s", start_deadline.as_secs()),
    }
}

/// How many more pods there may be: the maximum, and those by which a rollout exceeds it.
pub(crate) fn room(draft: &Draft<'_>, pool: &Pool<'_>) -> usize {
    let maximum = draft.cluster.scaling.max_replicas;
    let most = maximum.saturating_add(surge(maximum));
    let stays = |member: &&Member<'_>| *draft.goals.of(member) == Goal::Keep;
    let there = pool.live().filter(stays).count() + pool.reserved;
    usize::try_from(most).unwrap_or(0).saturating_sub(there)
}

/// Pods that a rollout may add to this number.
pub(crate) fn surge(pods: i32) -> i32 {
    let share = div_ceil(i64::from(pods) * SURGE_PERCENT, 100);
    i32::try_from(share).unwrap_or(1).max(1)
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
    if room(draft, pool) > 0 {
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
        if member.view.waiting_reason.is_some() {
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

/// Removes pods that never served and never will: late ones while replacing them may help, and
/// those of an old template.
pub(crate) fn remove_hopeless(draft: &Draft<'_>, pool: &Pool<'_>) -> Vec<Intent> {
    let stalled = draft.memory.starts.pods_fail();
    let start_deadline = draft.cluster.server.start_deadline;
    pool.of(Role::Starting)
        .filter_map(|member| {
            if !member.current {
                Some(Intent::delete(
                    member,
                    "its template is outdated and it was never ready",
                ))
            } else if member.late && !stalled {
                let reason = format!("it failed to start: {}", reason(member, start_deadline));
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
