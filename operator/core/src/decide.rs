//! The steps of a plan, in their order.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::draft::{Draft, Verdict};
use crate::memory::Memory;
use crate::numbers::since;
use crate::observed::{DrainReason, Observed};
use crate::plan::{Event, EventKind, Plan};
use crate::pool::{Pool, Role};
use crate::scale::{self, Scale};
use crate::validate::ValidCluster;
use crate::{
    backends, children, conditions, drain, expectations, resources, rollout, startup, status, victim,
};

/// While there are pods.
const TICK: Duration = Duration::from_secs(5);
/// While there are none, and nothing to create.
const IDLE: Duration = Duration::from_mins(1);
/// Between two batches of new pods, if no pod says anything before.
const NEXT_BATCH: Duration = Duration::from_secs(1);
/// Creates are counted over this long.
const CREATE_WINDOW: SignedDuration = SignedDuration::from_secs(15);
/// The pool may always grow by this number of pods in a window.
const LEAST_CREATES: usize = 4;

/// A pod that cannot be reached may come back within this time and keep its clients.
const BROKEN_FOR: SignedDuration = SignedDuration::from_mins(5);

/// Decides what to do about one cluster, now. Pure: equal arguments make equal plans, whatever the order of pods.
pub fn decide(cluster: &ValidCluster, observed: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    let revision = resources::template_hash(cluster);
    let (observed, unconfirmed) = expectations::apply_pending_writes(observed, memory, now);
    let observed = &*observed;
    let mut draft = Draft::new(cluster, observed, memory.clone(), now);
    draft.unconfirmed = unconfirmed;
    draft.memory.look(observed, &revision, now);
    let pool = Pool::new(observed, &draft.memory, &revision, now);
    update_health(&mut draft, &pool);
    if observed.watches_fresh {
        startup::activate(&mut draft, &pool);
        startup::count_failures(&mut draft, &pool);
    }
    let scale = scale::assess(&mut draft, &pool);
    if observed.watches_fresh {
        change_pods(&mut draft, &pool, &scale);
    }
    let config = backends::config(cluster, &pool, &draft);
    if observed.watches_fresh {
        children::plan(&mut draft, &pool, &config);
    }
    let conditions = conditions::all(conditions::Facts {
        draft: &draft,
        pool: &pool,
        scale: &scale,
        structure: &config.backend_set.structure,
    });
    status::write(&mut draft, &pool, &scale, &revision, conditions);
    finish(draft, &pool, &scale)
}

fn change_pods(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) {
    startup::remove_hopeless(draft, pool);
    let kept = rollout::roll_back(draft, pool, scale);
    let missing = usize::try_from(scale.desired - scale.serving - scale.starting - kept).unwrap_or(0);
    if missing > 0 {
        grow(draft, pool, scale, missing);
    } else if kept == 0 {
        rollout::step(draft, pool, scale);
        shrink(draft, pool, scale);
        retire_broken(draft, pool, scale);
    }
    drain::heal_serving(draft, pool);
    drain::advance(draft, pool, scale.load.up);
    startup::remove_dead(draft, pool);
}

/// While Redis is down, moved clients could not reach the other pods: moves are slow and no drain begins.
fn update_health(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let samples = pool.of(Role::Serving).filter_map(|member| member.sample);
    let (up, down): (Vec<_>, Vec<_>) = samples.partition(|sample| sample.broker_up);
    let redis_healthy = down.len() * 2 <= up.len() + down.len();
    draft.memory.budget.update_health(redis_healthy, draft.now);
}

/// First what is there already and leaving, the fullest first; then new pods.
fn grow(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale, missing: usize) {
    let cancelled: Vec<_> = scale::to_cancel(draft, pool).into_iter().take(missing).collect();
    for member in &cancelled {
        drain::cancel(draft, member);
        let verdict = Verdict {
            action: "CancelDrain",
            reason: "DemandIncreased",
        };
        let what = format!(
            "cancel the drain of {} with {} connections",
            member.view.name,
            member.connections()
        );
        scale.report(draft, verdict, &what);
    }
    let missing = missing - cancelled.len();
    let batch = batch(draft, scale, missing);
    if batch == 0 {
        return;
    }
    let names = draft.create(batch);
    let status = &draft.observed.status;
    let were_there = status.replicas + status.starting_replicas >= scale.desired;
    let verdict = if were_there {
        Verdict {
            action: "Replace",
            reason: "PodsMissing",
        }
    } else {
        Verdict {
            action: "ScaleUp",
            reason: "InsufficientReplicas",
        }
    };
    let what = format!(
        "create {} of {missing} missing pods: {}",
        names.len(),
        names.join(", ")
    );
    scale.report(draft, verdict, &what);
}

/// 1, 2, 4, … pods, and at most as many as there are in 15 s: whatever is wrong with them shows early.
fn batch(draft: &mut Draft<'_>, scale: &Scale, missing: usize) -> usize {
    let now = draft.now;
    draft
        .memory
        .created_at
        .retain(|at| since(*at, now) < CREATE_WINDOW);
    if draft.memory.starts.next_try().is_some_and(|at| now < at) {
        return 0;
    }
    let created = draft.memory.created_at.len();
    let most = usize::try_from(scale.serving).unwrap_or(0).max(LEAST_CREATES);
    missing.min(most.saturating_sub(created)).min(created + 1)
}

fn shrink(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) {
    startup::remove_surplus(draft, pool, scale);
    let slots = scale::slots(draft, pool, scale);
    let mut left = scale.serving;
    for victim in victim::for_scale_down(pool, draft.now).into_iter().take(slots) {
        if draft.is_taken(victim.view) || !scale.fits(left - 1) {
            break;
        }
        left -= 1;
        drain::start(draft, victim, DrainReason::ScaleDown);
        let verdict = Verdict {
            action: "ScaleDown",
            reason: "SurplusReplicas",
        };
        let what = format!(
            "drain {} with {} connections",
            victim.view.name,
            victim.connections()
        );
        scale.report(draft, verdict, &what);
    }
}

/// A pod that was unreachable for long drains like any other, once there are enough others.
fn retire_broken(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) {
    if scale.serving < scale.desired || scale::common_hold(draft).is_some() {
        return;
    }
    for member in pool.of(Role::Broken) {
        let unready_since = draft.memory.unready_since.get(&member.view.uid);
        let long = unready_since.is_some_and(|at| since(*at, draft.now) >= BROKEN_FOR);
        if !long || member.view.protected || draft.is_taken(member.view) {
            continue;
        }
        drain::start(draft, member, DrainReason::ScaleDown);
        let verdict = Verdict {
            action: "ScaleDown",
            reason: "PodNotReady",
        };
        let what = format!(
            "drain {}, not ready for {} s",
            member.view.name,
            BROKEN_FOR.as_secs()
        );
        scale.report(draft, verdict, &what);
    }
}

fn finish(mut draft: Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Plan {
    for conflict in draft.observed.conflicts.iter().filter(|c| !c.terminating) {
        draft.plan.events.push(Event {
            kind: EventKind::Warning,
            reason: "ChildConflict".to_owned(),
            action: "Apply".to_owned(),
            note: conditions::conflict_message(conflict),
        });
    }
    let missing = scale.desired > scale.serving + scale.starting && !draft.memory.starts.stalled();
    draft.plan.recheck_after = match (missing, pool.members.is_empty() && pool.reserved == 0) {
        (true, _) => NEXT_BATCH,
        (false, true) => IDLE,
        (false, false) => TICK,
    };
    expectations::remember(&draft.plan, &mut draft.memory, draft.observed, draft.now);
    draft.plan.memory = draft.memory;
    draft.plan
}
