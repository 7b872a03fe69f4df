//! Pods that start, fail to start, or have ended.

use k8s_openapi::jiff::SignedDuration;

use crate::draft::Draft;
use crate::goal::{Goal, Intent, Report};
use crate::numbers::since;
use crate::observed::PodState;
use crate::outdated;
use crate::plan::EventKind;
use crate::pool::{Member, Pool, Role, START_DEADLINE};
use crate::scale::Scale;
use crate::victim;

/// Ended pods that are kept for inspection, and how long.
const DEAD_KEPT: usize = 3;
const DEAD_KEPT_FOR: SignedDuration = SignedDuration::from_secs(3600);

/// Counts starts that failed since the last plan; a pod that became ready ends a row of them.
pub(crate) fn count_starts(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let started =
        |member: &Member<'_>| member.view.state == PodState::Starting && !draft.goals.is_unconfirmed(member);
    if pool.of(Role::Serving).any(started) {
        draft.memory.starts.failed = 0;
    }
    let was_stalled = draft.memory.starts.stalled();
    for member in &pool.members {
        let never_served = member.view.state == PodState::Starting;
        let failed = match member.role {
            Role::Dead => never_served,
            Role::Starting => member.late,
            _ => false,
        };
        let memory = draft.memory.pod(&member.view.uid);
        if !failed || !member.current || std::mem::replace(&mut memory.failure_counted, true) {
            continue;
        }
        let reason = reason(member);
        draft.memory.starts.failed(reason.clone(), draft.now);
        let failed = draft.memory.starts.failed;
        draft.line(format!(
            "{} failed to start ({reason}), {failed} consecutive failures",
            member.view.name
        ));
    }
    if draft.memory.starts.stalled() && !was_stalled {
        let note = format!(
            "{} consecutive server pods failed to start: {}",
            draft.memory.starts.failed, draft.memory.starts.reason
        );
        draft.event(EventKind::Warning, "PodStartFailed", "Create", note);
    }
}

fn reason(member: &Member<'_>) -> String {
    match (member.role, &member.view.waiting_reason) {
        (_, Some(reason)) => reason.clone(),
        (Role::Dead, None) => "it terminated".to_owned(),
        (_, None) => format!("not ready within {} s", START_DEADLINE.as_secs()),
    }
}

/// Removes pods that never served and never will: late ones while replacing them may help, and those of an old template.
pub(crate) fn remove_hopeless(draft: &Draft<'_>, pool: &Pool<'_>) -> Vec<Intent> {
    let stalled = draft.memory.starts.stalled();
    pool.of(Role::Starting)
        .filter_map(|member| {
            if !member.current {
                Some(Intent::delete(
                    member,
                    "its template is outdated and it was never ready",
                ))
            } else if member.late && !stalled {
                let reason = format!("it failed to start: {}", reason(member));
                Some(Intent::delete(member, reason))
            } else {
                None
            }
        })
        .collect()
}

/// Pods that were never ready are deleted before a serving one drains, the newest first: no client has to move.
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

/// Keeps the newest dead pods for a while, so that a person can look at them.
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
