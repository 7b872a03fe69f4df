//! Pods that start, fail to start, or have ended.

use k8s_openapi::jiff::SignedDuration;

use crate::draft::{Draft, Verdict};
use crate::numbers::since;
use crate::observed::PodState;
use crate::plan::EventKind;
use crate::pool::{Member, Pool, Role, START_DEADLINE};
use crate::scale::Scale;
use crate::victim;

/// Ended pods that are kept for inspection, and how long.
const DEAD_KEPT: usize = 3;
const DEAD_KEPT_FOR: SignedDuration = SignedDuration::from_secs(3600);

/// Pods that are ready enter rotation. It ends a row of failures.
pub(crate) fn activate(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let ready = pool
        .of(Role::Serving)
        .filter(|member| member.view.state == PodState::Starting);
    for member in ready {
        draft.mark(member.view, PodState::Active, None);
        draft.memory.starts.failed = 0;
        draft.line(format!("{} is ready and enters rotation", member.view.name));
    }
    // A pod in rotation has no drain; what a half-done cancel left behind goes.
    for member in pool.of(Role::Serving) {
        if member.view.state == PodState::Active && member.view.drain.is_some() {
            draft.mark(member.view, PodState::Active, None);
        }
    }
}

/// Counts starts that failed since the last plan.
pub(crate) fn count_failures(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let was_stalled = draft.memory.starts.stalled();
    for member in &pool.members {
        let never_served = member.view.state == PodState::Starting;
        let failed = match member.role {
            Role::Dead => never_served,
            Role::Starting => member.late,
            _ => false,
        };
        let uid = &member.view.uid;
        if !failed || !member.current || !draft.memory.starts.counted.insert(uid.clone()) {
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
pub(crate) fn remove_hopeless(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let stalled = draft.memory.starts.stalled();
    for member in pool.of(Role::Starting) {
        let view = member.view;
        if !member.current {
            draft.delete(view, "its template is outdated and it was never ready".to_owned());
        } else if member.late && !stalled {
            draft.delete(view, format!("it failed to start: {}", reason(member)));
        }
    }
}

/// Pods that were never ready are deleted before a serving one drains, the newest first: no client has to move.
pub(crate) fn remove_surplus(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) {
    if scale.hold.is_some() {
        return;
    }
    let surplus = usize::try_from(scale.serving + scale.starting - scale.desired).unwrap_or(0);
    let mut never_served: Vec<_> = pool
        .of(Role::Starting)
        .filter(|member| !member.view.protected && !victim::is_young(member, draft.now))
        .filter(|member| !draft.is_taken(member.view))
        .collect();
    never_served.sort_by_key(|member| std::cmp::Reverse((member.view.created, member.view.serial)));
    for member in never_served.into_iter().take(surplus) {
        draft.delete(member.view, "it is surplus and was never ready".to_owned());
        let verdict = Verdict {
            action: "ScaleDown",
            reason: "SurplusReplicas",
        };
        let what = format!("delete {}, never ready", member.view.name);
        scale.report(draft, verdict, &what);
    }
}

/// Keeps the newest dead pods for a while, so that a person can look at them.
pub(crate) fn remove_dead(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let since_when = |draft: &Draft<'_>, member: &Member<'_>| {
        let seen = draft.memory.dead_since.get(&member.view.uid);
        seen.copied().unwrap_or(draft.now)
    };
    let mut dead: Vec<_> = pool
        .of(Role::Dead)
        .filter(|member| !member.view.terminating)
        .collect();
    dead.sort_by_key(|member| {
        std::cmp::Reverse((since_when(draft, member), member.view.created, member.view.serial))
    });
    for (index, member) in dead.into_iter().enumerate() {
        let old = since(since_when(draft, member), draft.now) >= DEAD_KEPT_FOR;
        if index >= DEAD_KEPT || old {
            draft.delete(
                member.view,
                "it terminated; only recent terminated pods are kept for inspection".to_owned(),
            );
        }
    }
}
