//! The steps of a plan, in their order.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::draft::Draft;
use crate::goal::{Goal, Intent, NAMES, Report};
use crate::memory::Memory;
use crate::numbers::{count, signed, since};
use crate::observed::{DrainReason, Observed};
use crate::plan::{Event, EventKind, Plan};
use crate::pool::{Member, Pool, Role};
use crate::scale::Scale;
use crate::validate::ValidCluster;
use crate::{
    assess, backends, children, conditions, control, expectations, outdated, outlook, pod_metadata,
    resources, rollout, startup, status, victim,
};

/// While there are pods.
const TICK: Duration = Duration::from_secs(5);
/// While there are none, and nothing to create.
const IDLE: Duration = Duration::from_mins(1);
/// In a quiet cluster: an event or another outlook starts a pass earlier.
const QUIET: Duration = Duration::from_mins(30);
/// Between two batches of new pods, if no event comes before.
const NEXT_BATCH: Duration = Duration::from_secs(1);
/// Creates are counted over this long.
const CREATE_WINDOW: SignedDuration = SignedDuration::from_secs(15);
/// The pool may always grow by this number of pods in a window.
const LEAST_CREATES: usize = 4;

/// Decides what to do about one cluster, now. Pure: equal arguments make equal plans, whatever the
/// order of pods.
pub fn decide(cluster: &ValidCluster, observed: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    let revision = resources::template_hash(cluster);
    let (observed, unconfirmed) = expectations::apply_pending_writes(observed, memory, now);
    let observed = &*observed;
    let mut draft = Draft::new(cluster, observed, memory.clone(), now);
    draft.memory.look(observed, &revision, now);
    let deadline = signed(cluster.server.start_deadline);
    let pool = Pool::new(observed, &mut draft.memory, &revision, deadline, now);
    draft.set_goals(&pool, &unconfirmed);
    update_health(&mut draft, &pool);
    if observed.watches_fresh {
        startup::count_starts(&mut draft, &pool);
    }
    let scale = assess::assess(&mut draft, &pool);
    if observed.watches_fresh {
        set_goals(&mut draft, &pool, &scale);
        control::apply(&mut draft, &pool, scale.load.up);
        pod_metadata::plan(&mut draft, &pool);
    } else {
        control::unchanged(&mut draft, &pool);
    }
    let config = backends::config(cluster, &pool, &draft);
    draft
        .memory
        .follow_agents(observed, &config.backend_set.hash, now);
    if observed.watches_fresh {
        children::plan(&mut draft, &pool, &config);
        forget_failures(&mut draft, &pool);
    }
    let conditions = conditions::all(conditions::Facts {
        draft: &draft,
        pool: &pool,
        scale: &scale,
        structure: &config.backend_set.structure,
        settings: config.settings.hash(),
    });
    status::write(&mut draft, &pool, &scale, &revision, conditions);
    finish(draft, &pool, &scale)
}

/// Each step sees what the steps before it decided.
fn set_goals(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) {
    let hopeless = startup::remove_hopeless(draft, pool);
    draft.resolve(scale, hopeless);
    let reverted = rollout::roll_back(draft, pool);
    let kept = count(reverted.len());
    draft.resolve(scale, reverted);
    let missing = usize::try_from(scale.desired - scale.serving - scale.starting - kept).unwrap_or(0);
    if missing > 0 {
        let more = grow(draft, pool, scale, missing);
        draft.resolve(scale, more);
        let broken = startup::make_room(draft, pool, scale);
        draft.resolve(scale, broken);
        let replaced = rollout::step_with_missing(draft, pool, scale);
        draft.resolve(scale, replaced);
    } else if kept == 0 {
        if !outdated::rollout_in_progress(pool) {
            // Nothing is to be created: what was rejected is no longer of interest.
            draft.memory.creates_accepted();
        }
        for step in [rollout::step, startup::remove_surplus, shrink, retire_broken] {
            let intents = step(draft, pool, scale);
            draft.resolve(scale, intents);
        }
    }
    let dead = startup::remove_dead(draft, pool);
    draft.resolve(scale, dead);
}

/// While Redis is down, moved clients could not reach the other pods: moves are slow and no drain
/// begins. The pods of the current template count apart: pods of an old one may know another Redis,
/// and the rollout that replaces them is their cure.
fn update_health(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let sampled = |current_only: bool| {
        let members = pool
            .of(Role::Serving)
            .filter(move |member| member.current || !current_only);
        members.filter_map(|member| member.sample)
    };
    let is_healthy = |current_only: bool| {
        let (up, down): (Vec<_>, Vec<_>) = sampled(current_only).partition(|sample| sample.broker_up);
        down.len() <= up.len()
    };
    let current = sampled(true).next().is_some() && is_healthy(true);
    draft
        .memory
        .budget
        .update_health(current || is_healthy(false), draft.now);
}

/// First what is there already and leaving, the fullest first; then new pods.
fn grow(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale, missing: usize) -> Vec<Intent> {
    let cancelled = assess::to_cancel(draft, pool).into_iter().take(missing);
    let mut intents: Vec<Intent> = cancelled
        .map(|member| {
            let what = format!("cancel the drain of {}", member.described());
            let report = Report {
                action: "CancelDrain",
                reason: "DemandIncreased",
                what,
            };
            Intent::pod(member, Goal::Keep, report)
        })
        .collect();
    let missing = missing - intents.len();
    let pods = batch(draft, scale, missing).min(startup::room(draft, pool));
    if pods > 0 {
        let status = &draft.observed.status;
        let were_there = status.replicas + status.starting_replicas >= scale.desired;
        let (action, reason) = if were_there {
            ("Replace", "PodsMissing")
        } else {
            ("ScaleUp", "InsufficientReplicas")
        };
        let what = format!("create {pods} of {missing} missing pods: {NAMES}");
        let report = Report { action, reason, what };
        intents.push(Intent::Create { pods, report });
    }
    intents
}

/// 1, 2, 4, … pods, and at most as many as there are in 15 s: whatever is wrong with them shows
/// early.
fn batch(draft: &mut Draft<'_>, scale: &Scale, missing: usize) -> usize {
    let now = draft.now;
    draft
        .memory
        .created_at
        .retain(|at| since(*at, now) < CREATE_WINDOW);
    if draft.memory.starts.next_try().is_some_and(|at| now < at) {
        return 0;
    }
    if draft.memory.starts.proven && scale.serving == 0 {
        // All are lost, and the template is known to work: no client waits for a second batch.
        return missing;
    }
    let created = draft.memory.created_at.len();
    let most = usize::try_from(scale.serving).unwrap_or(0).max(LEAST_CREATES);
    missing.min(most.saturating_sub(created)).min(created + 1)
}

fn shrink(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Vec<Intent> {
    let slots = assess::slots(draft, pool, scale);
    if slots == 0 || outdated::rollout_in_progress(pool) {
        // A rollout shrinks the pool by old pods that it does not replace.
        return Vec::new();
    }
    let mut left = scale.serving;
    let mut intents = Vec::new();
    for victim in victim::for_scale_down(pool, scale.target_per_pod, draft.now)
        .into_iter()
        .take(slots)
    {
        if draft.goals.is_taken(victim) || !scale.fits(left - 1 - scale.in_grace) {
            break;
        }
        left -= 1;
        let what = format!("drain {}", victim.described());
        intents.push(scale_down(draft, victim, "SurplusReplicas", what));
    }
    intents
}

fn scale_down(draft: &Draft<'_>, member: &Member<'_>, reason: &'static str, what: String) -> Intent {
    let goal = Goal::leave(draft.cluster, DrainReason::ScaleDown, draft.now);
    let report = Report {
        action: "ScaleDown",
        reason,
        what,
    };
    Intent::pod(member, goal, report)
}

/// A pod that was unreachable for long drains like any other, once there are enough others.
fn retire_broken(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Vec<Intent> {
    if scale.serving < scale.desired {
        return Vec::new();
    }
    let broken_for_long = |member: &&Member<'_>| {
        startup::broken_for(draft, member) >= startup::BROKEN_FOR
            && !member.view.protected
            && !draft.goals.is_taken(member)
            && scale.holds.protects(member).is_none()
    };
    let broken = pool.of(Role::Broken).filter(broken_for_long);
    broken
        .map(|member| {
            let what = format!(
                "drain {}, not ready for {} s",
                member.view.name,
                startup::BROKEN_FOR.as_secs()
            );
            scale_down(draft, member, "PodNotReady", what)
        })
        .collect()
}

/// Drops failed writes on pods of which nothing is wanted any more.
fn forget_failures(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let plan = &draft.plan;
    let marks = plan.mark_pods.iter().map(|mark| &mark.name);
    let deletes = plan.delete_pods.iter().map(|delete| &delete.name);
    let controls = pool.members.iter().zip(&draft.controls);
    let delayed = controls.filter(|(_, control)| control.is_delayed);
    let wanted: BTreeSet<&String> = marks
        .chain(deletes)
        .chain(delayed.map(|(member, _)| &member.view.name))
        .collect();
    let failures = &mut draft.memory.failures;
    failures.retain(|object| object.kind != "Pod" || wanted.contains(&object.name));
}

fn finish(mut draft: Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Plan {
    draft.plan.holds = scale.holds.by_reason();
    for conflict in draft.observed.conflicts.iter().filter(|c| !c.terminating) {
        draft.plan.events.push(Event {
            kind: EventKind::Warning,
            reason: "ChildConflict".to_owned(),
            action: "Apply".to_owned(),
            note: conditions::conflict_message(conflict),
        });
    }
    report_rejected(&mut draft);
    let missing = scale.desired > scale.serving + scale.starting && draft.memory.starts.stall().is_none();
    draft.plan.is_quiet = !missing && outlook::is_quiet(&draft, pool, scale);
    let is_empty = pool.members.is_empty() && pool.reserved == 0;
    draft.plan.recheck_after = match draft.plan.is_quiet {
        _ if missing => NEXT_BATCH,
        // Terminated pods are kept for a while.
        _ if is_empty || (draft.plan.is_quiet && pool.count(Role::Dead) > 0) => IDLE,
        true => outlook::until_window_moves(&draft).map_or(QUIET, |left| left.min(QUIET)),
        false => TICK,
    };
    expectations::remember(&draft.plan, &mut draft.memory, draft.observed, draft.now);
    draft.plan.memory = draft.memory;
    draft.plan
}

/// An invalid spec is logged when it is first seen; repetitions of its event are counted.
fn report_rejected(draft: &mut Draft<'_>) {
    let Some(rejected) = &draft.cluster.rejected else {
        return;
    };
    let message = rejected.message();
    let conditions = &draft.observed.status.conditions;
    let reported = conditions.iter().any(|condition| condition.message == message);
    if !reported {
        draft.line(message.clone());
    }
    draft.event(EventKind::Warning, "InvalidSpec", "Apply", message);
}
