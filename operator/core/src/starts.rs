//! Pods that do not start: replaced a few times, then the pool waits for a person or for luck.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::numbers::since;
use crate::observed::{Memory, PodState};
use crate::plan::{Draft, EventKind, Verdict};
use crate::pool::{Member, Pool, Role};
use crate::scale::Scale;
use crate::victim;

/// So many failed starts in a row are no accident.
const STALLED_AFTER: u32 = 3;
/// Pause before the next try of a stalled pool; doubled by each further failure.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(300);
/// Dead pods that stay for a person to look at, and how long.
const DEAD_KEPT: usize = 3;
const DEAD_KEPT_FOR: SignedDuration = SignedDuration::from_secs(3600);

/// Too many starts failed in a row.
pub(crate) fn stalled(memory: &Memory) -> bool {
    memory.starts.failed >= STALLED_AFTER
}

/// When the next pod may be created.
pub(crate) fn next_try(memory: &Memory) -> Option<Timestamp> {
    let more = memory.starts.failed.checked_sub(STALLED_AFTER)?;
    let factor = 1_i32 << more.min(5);
    let pause = (FIRST_PAUSE * factor).min(LONGEST_PAUSE);
    memory.starts.last_failed_at.map(|at| at + pause)
}

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
    let was_stalled = stalled(&draft.memory);
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
        let starts = &mut draft.memory.starts;
        starts.failed = starts.failed.saturating_add(1);
        starts.last_failed_at = Some(draft.now);
        starts.reason.clone_from(&reason);
        let failed = starts.failed;
        draft.line(format!(
            "{} failed to start ({reason}): {failed} in a row",
            member.view.name
        ));
    }
    if stalled(&draft.memory) && !was_stalled {
        let note = format!(
            "{} server pods in a row did not start: {}",
            draft.memory.starts.failed, draft.memory.starts.reason
        );
        draft.event(EventKind::Warning, "PodsDoNotStart", "Create", note);
    }
}

fn reason(member: &Member<'_>) -> String {
    match (member.role, &member.view.waiting_reason) {
        (_, Some(reason)) => reason.clone(),
        (Role::Dead, None) => "it ended".to_owned(),
        (_, None) => "it was not ready in time".to_owned(),
    }
}

/// Removes pods that never served and never will: late ones while replacing them may help, and those of an old template.
pub(crate) fn remove_hopeless(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let stalled = stalled(&draft.memory);
    for member in pool.of(Role::Starting) {
        let view = member.view;
        if !member.current {
            draft.delete(view, "its template is old and it never served".to_owned());
        } else if member.late && !stalled {
            draft.delete(view, format!("it did not start: {}", reason(member)));
        }
    }
}

/// Pods that never served leave before any that does, the newest first: nobody has to move.
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
        draft.delete(
            member.view,
            "it is not wanted any more and never served".to_owned(),
        );
        let verdict = Verdict {
            action: "ScaleDown",
            reason: "FewerPodsWanted",
        };
        let what = format!("delete {}, which never served", member.view.name);
        draft.decide(scale, verdict, &what);
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
                "it ended, and newer ones are kept to look at".to_owned(),
            );
        }
    }
}
