//! A new pod template replaces the pods one at a time: surge one, drain one.

use k8s_openapi::jiff::SignedDuration;

use crate::draft::{Draft, Verdict};
use crate::drain;
use crate::numbers::{count, since};
use crate::observed::DrainReason;
use crate::pool::{Member, Pool, Role};
use crate::scale::{self, Scale, common_hold};
use crate::victim;

/// Time for which a new pod must be ready before an old one drains.
const MIN_READY: SignedDuration = SignedDuration::from_secs(10);

/// The template went back to what these pods have: they stay. Returns how many.
pub(crate) fn roll_back(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> i32 {
    let reverted: Vec<_> = pool
        .draining_for(DrainReason::Rollout)
        .filter(|member| member.current && member.view.ready && !draft.is_taken(member.view))
        .collect();
    let kept = count(reverted.len());
    for member in reverted {
        drain::cancel(draft, member);
        let verdict = Verdict {
            action: "CancelDrain",
            reason: "TemplateReverted",
        };
        let what = format!(
            "cancel the drain of {}: its template is current again",
            member.view.name
        );
        scale.report(draft, verdict, &what);
    }
    kept
}

/// The next step, if there is one to take now.
pub(crate) fn step(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) {
    let old = victim::for_rollout(pool).len();
    let busy = pool
        .draining_for(DrainReason::Rollout)
        .any(|member| draft.state(member.view).is_draining());
    if old == 0 || busy || scale.blind || common_hold(draft).is_some() {
        return;
    }
    let proved = pool.of(Role::Serving).filter(|member| is_proved(member, draft));
    let proved = i32::try_from(proved.count()).unwrap_or(i32::MAX);
    if proved > scale.desired {
        if !scale.panic && scale::free_drains(draft, pool, scale) > 0 {
            drain_one(draft, pool, scale, old);
        }
    } else if scale.serving + scale.starting == scale.desired && !draft.memory.starts.stalled() {
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
        "create {} with the new template, outdated pods: {old}",
        names.join(", ")
    );
    scale.report(draft, verdict, &what);
}

fn drain_one(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale, old: usize) {
    let victims = victim::for_rollout(pool);
    let Some(victim) = victims.into_iter().find(|m| !draft.is_taken(m.view)) else {
        return;
    };
    // The clients of the victim must find room elsewhere; templates may differ in how much a pod takes.
    let others = pool.of(Role::Serving).filter(|m| m.view.uid != victim.view.uid);
    let room: i64 = others
        .map(|m| m.sample.map_or(scale.capacity_per_pod, |sample| sample.capacity))
        .sum();
    if scale.load.down > room {
        return;
    }
    drain::start(draft, victim, DrainReason::Rollout);
    let verdict = Verdict {
        action: "Replace",
        reason: "TemplateChanged",
    };
    let what = format!(
        "drain {} with {} connections, outdated pods: {old}",
        victim.view.name,
        victim.connections()
    );
    scale.report(draft, verdict, &what);
}
