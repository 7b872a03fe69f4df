//! A new pod template replaces the pods one at a time: surge one, drain one.

use k8s_openapi::jiff::SignedDuration;

use crate::drain;
use crate::numbers::since;
use crate::observed::DrainReason;
use crate::plan::{Draft, Verdict};
use crate::pool::{Member, Pool, Role};
use crate::scale::{Scale, common_hold};
use crate::starts;
use crate::victim;

/// A new pod has proved itself once it has been ready for so long.
const MIN_READY: SignedDuration = SignedDuration::from_secs(10);

/// There are pods of an old template, or one is leaving.
pub(crate) fn in_progress(pool: &Pool<'_>) -> bool {
    let old = |role| pool.of(role).any(|member| !member.current);
    old(Role::Serving) || old(Role::Starting) || pool.draining_for(DrainReason::Rollout).next().is_some()
}

/// The template went back to what these pods have: they stay.
pub(crate) fn roll_back(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) {
    let reverted: Vec<_> = pool
        .draining_for(DrainReason::Rollout)
        .filter(|member| member.current && member.view.ready)
        .collect();
    for member in reverted {
        drain::cancel(draft, member);
        let verdict = Verdict {
            action: "CancelDrain",
            reason: "TemplateReverted",
        };
        let what = format!(
            "{} has the template that is wanted again and stays",
            member.view.name
        );
        draft.decide(scale, verdict, &what);
    }
}

/// The next step, if there is one to take now.
pub(crate) fn step(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) {
    let old = pool.of(Role::Serving).filter(|member| !member.current).count();
    let busy = pool
        .draining_for(DrainReason::Rollout)
        .any(|member| !draft.is_taken(member.view));
    if old == 0 || busy || scale.panic || scale.blind || common_hold(draft).is_some() {
        return;
    }
    let proved = pool.of(Role::Serving).filter(|member| is_proved(member, draft));
    let proved = i32::try_from(proved.count()).unwrap_or(i32::MAX);
    if proved > scale.desired {
        drain_one(draft, pool, scale, old);
    } else if scale.serving + scale.starting == scale.desired && !starts::stalled(&draft.memory) {
        surge(draft, scale, old);
    }
}

fn is_proved(member: &Member<'_>, draft: &Draft<'_>) -> bool {
    let ready_since = member.view.ready_since;
    !member.current || ready_since.is_some_and(|at| since(at, draft.now) >= MIN_READY)
}

fn surge(draft: &mut Draft<'_>, scale: &Scale, old: usize) {
    let names = draft.create(1);
    let verdict = Verdict {
        action: "Replace",
        reason: "TemplateChanged",
    };
    let what = format!(
        "create {} with the new template, {old} pods have an old one",
        names.join(", ")
    );
    draft.decide(scale, verdict, &what);
}

fn drain_one(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale, old: usize) {
    let victims = victim::for_rollout(pool);
    let Some(victim) = victims.into_iter().find(|m| !draft.is_taken(m.view)) else {
        return;
    };
    // The clients of the victim must find room elsewhere.
    let room = i64::from(scale.serving - 1) * scale.capacity_per_pod;
    if scale.load.down > room {
        return;
    }
    drain::start(draft, victim, DrainReason::Rollout);
    let verdict = Verdict {
        action: "Replace",
        reason: "TemplateChanged",
    };
    let what = format!(
        "drain {} with {} connections, {old} pods have an old template",
        victim.view.name,
        victim.connections()
    );
    draft.decide(scale, verdict, &what);
}
