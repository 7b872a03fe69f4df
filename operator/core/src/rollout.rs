//! A new pod template replaces the pods one at a time: surge one, drain one.

use k8s_openapi::jiff::SignedDuration;

use crate::assess::{self, common_hold};
use crate::draft::Draft;
use crate::goal::{Goal, Intent, NAMES, Report};
use crate::numbers::since;
use crate::observed::DrainReason;
use crate::pool::{Member, Pool, Role};
use crate::scale::Scale;
use crate::victim;

/// Time for which a new pod must be ready before an old one drains.
const MIN_READY: SignedDuration = SignedDuration::from_secs(10);

/// The template went back to what these pods have: they stay.
pub(crate) fn roll_back(draft: &Draft<'_>, pool: &Pool<'_>) -> Vec<Intent> {
    let reverted = pool
        .draining_for(DrainReason::Rollout)
        .filter(|member| member.current && member.view.ready && !draft.goals.is_taken(member));
    reverted
        .map(|member| {
            let what = format!(
                "cancel the drain of {}: its template is current again",
                member.view.name
            );
            let report = Report {
                action: "CancelDrain",
                reason: "TemplateReverted",
                what,
            };
            Intent::pod(member, Goal::Keep, report)
        })
        .collect()
}

/// The next step, if there is one to take now.
pub(crate) fn step(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Vec<Intent> {
    let old = victim::for_rollout(pool).len();
    let busy = pool
        .draining_for(DrainReason::Rollout)
        .any(|member| draft.goals.is_leaving(member));
    if old == 0 || busy || scale.blind || common_hold(draft).is_some() {
        return Vec::new();
    }
    let proved = pool.of(Role::Serving).filter(|member| is_proved(member, draft));
    let proved = i32::try_from(proved.count()).unwrap_or(i32::MAX);
    let next = if proved > scale.desired {
        if !scale.panic && assess::free_drains(draft, pool, scale) > 0 {
            drain_one(draft, pool, scale, old)
        } else {
            None
        }
    } else if scale.serving + scale.starting == scale.desired && !draft.memory.starts.stalled() {
        Some(surge(old))
    } else {
        None
    };
    next.into_iter().collect()
}

fn is_proved(member: &Member<'_>, draft: &Draft<'_>) -> bool {
    let ready_since = member.view.ready_since;
    !member.current || ready_since.is_some_and(|at| since(at, draft.now) >= MIN_READY)
}

fn surge(old: usize) -> Intent {
    let report = Report {
        action: "Replace",
        reason: "TemplateChanged",
        what: format!("create {NAMES} with the new template, outdated pods: {old}"),
    };
    Intent::Create { pods: 1, report }
}

fn drain_one(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale, old: usize) -> Option<Intent> {
    let victims = victim::for_rollout(pool);
    let victim = victims.into_iter().find(|member| !draft.goals.is_taken(member))?;
    // The clients of the victim must find room elsewhere; templates may differ in how much a pod takes.
    let others = pool.of(Role::Serving).filter(|m| m.view.uid != victim.view.uid);
    let room: i64 = others
        .map(|m| m.sample.map_or(scale.capacity_per_pod, |sample| sample.capacity))
        .sum();
    if scale.load.down > room {
        return None;
    }
    let what = format!(
        "drain {} with {} connections, outdated pods: {old}",
        victim.view.name,
        victim.connections()
    );
    let report = Report {
        action: "Replace",
        reason: "TemplateChanged",
        what,
    };
    let goal = Goal::leave(draft.cluster, DrainReason::Rollout, draft.now);
    Some(Intent::pod(victim, goal, report))
}
