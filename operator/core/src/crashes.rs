//! Counts pods that fail to start, and servers that end soon after their pod became Ready.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::draft::Draft;
use crate::numbers::{count, div_ceil, since};
use crate::observed::PodState;
use crate::plan::EventKind;
use crate::pool::{Member, Pool, Role};
use crate::starts::Row;

/// A pod that ends or breaks within this time of its Ready has crashed, until it was Ready for as
/// long; a template is proven by the first pod that was.
const PROVEN_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Share of the wanted pods, and the least number, that crash at the same time where a proven
/// template crashes in a loop: each pod every 50 minutes. Of fewer the cause is a pod, a node or a
/// client, and the others serve.
const LOOP_PERCENT: i64 = 20;
const LOOP_LEAST: i64 = 2;

/// What failed since the last plan.
enum Failure {
    Start,
    Crash,
}

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
    let current = pool.members.iter().filter(|member| member.current);
    let failures: Vec<_> = current
        .clone()
        .filter_map(|member| Some((member, failure(draft, member)?)))
        .collect();
    let crashed = current.filter(|member| has_crashed(draft, member)).count();
    let is_loop = i64::from(count(crashed)) >= least_crashed(draft);
    for (member, (failure, began)) in failures {
        match failure {
            Failure::Start => count_start(draft, member, began),
            Failure::Crash if is_loop => count_crash(draft, member, began),
            Failure::Crash => {}
        }
    }
    if !is_loop {
        let now = draft.now;
        draft
            .memory
            .starts
            .end_loop(|last| since(last, now) >= PROVEN_AFTER);
    }
    if let Some(stall) = draft.memory.starts.stall().filter(|_| !was_stalled) {
        draft.event(EventKind::Warning, stall.reason, "Create", stall.message);
    }
}

/// A pod has been Ready long enough to prove the template.
pub(crate) fn proves_template(draft: &Draft<'_>, pool: &Pool<'_>) -> bool {
    let mut serving = pool.of(Role::Serving).filter(|member| member.current);
    serving.any(|member| is_stable(member, draft.now))
}

/// Ready for as long as proves a template.
pub(crate) fn is_stable(member: &Member<'_>, now: Timestamp) -> bool {
    member
        .ready_since
        .is_some_and(|at| since(at, now) >= PROVEN_AFTER)
}

/// Pods that crash at the same time before their crashes count.
fn least_crashed(draft: &Draft<'_>) -> i64 {
    if !draft.memory.starts.proven {
        return 1;
    }
    let wanted = draft.observed.status.desired_replicas;
    let wanted = wanted.max(draft.cluster.scaling.min_replicas);
    div_ceil(i64::from(wanted) * LOOP_PERCENT, 100).max(LOOP_LEAST)
}

/// The pod has crashed, and has not been Ready for long since. A terminated one stays so for as
/// long.
fn has_crashed(draft: &mut Draft<'_>, member: &Member<'_>) -> bool {
    let now = draft.now;
    let Some(memory) = draft.memory.pods.get_mut(&member.view.uid) else {
        return false;
    };
    let is_over = |at: &Timestamp| {
        let is_old = member.role == Role::Dead && since(*at, now) >= PROVEN_AFTER;
        is_old || is_stable(member, now)
    };
    memory.crashed_at = memory.crashed_at.filter(|at| !is_over(at));
    memory.crashed_at.is_some()
}

/// The end of a server process, a missed deadline, or a pod that is not Ready any more; and when
/// that attempt began.
fn failure(draft: &mut Draft<'_>, member: &Member<'_>) -> Option<(Failure, Timestamp)> {
    let (view, now) = (member.view, draft.now);
    let memory = draft.memory.pods.get_mut(&view.uid)?;
    let (_, began) = memory.process?;
    let ended = memory.ended.take();
    let served_since = memory.served_since;
    let is_broken = member.role == Role::Broken && !view.ready;
    let broke = is_broken && served_since.is_some_and(|at| at >= began);
    let over = member.role == Role::Dead || member.late || broke;
    let was_counted = std::mem::replace(&mut memory.failure_counted, over);
    let over = over && !was_counted;
    let is_ours = matches!(view.state, PodState::Starting | PodState::Active) && !view.terminating;
    // A node that is lost takes its pods with it.
    if !is_ours || !view.node_ready || !(ended.is_some() || over) {
        return None;
    }
    let began = ended.unwrap_or(began);
    if memory.first_ready.is_none() {
        return Some((Failure::Start, began));
    }
    let since_when = served_since.map_or(began, |at| at.max(began));
    (since(since_when, now) <= PROVEN_AFTER).then(|| {
        memory.crashed_at = Some(now);
        (Failure::Crash, since_when)
    })
}

fn count_start(draft: &mut Draft<'_>, member: &Member<'_>, began: Timestamp) {
    let (now, row) = (draft.now, &mut draft.memory.starts.failed);
    let reason = start_failure(member, draft.cluster.server.start_deadline);
    if row.fail(began, reason.clone(), now) {
        let count = row.count;
        let name = &member.view.name;
        draft.line(format!(
            "{name} failed to start ({reason}), {count} consecutive failures"
        ));
    }
}

fn count_crash(draft: &mut Draft<'_>, member: &Member<'_>, began: Timestamp) {
    let (now, row) = (draft.now, &mut draft.memory.starts.crashed);
    let (name, reason) = (&member.view.name, crash(member));
    if row.fail(began, format!("{name}, {reason}"), now) {
        let count = row.count;
        draft.line(format!(
            "{name} ended soon after it became ready ({reason}), {count} consecutive failures"
        ));
    }
}

/// Why the pod did not become Ready.
pub(crate) fn start_failure(member: &Member<'_>, start_deadline: Duration) -> String {
    end(member).unwrap_or_else(|| format!("not ready within {} s", start_deadline.as_secs()))
}

/// Restarts, and why the server ended.
fn crash(member: &Member<'_>) -> String {
    let why = end(member).unwrap_or_else(|| "not ready".to_owned());
    format!("restarts: {}, {why}", member.view.restarts)
}

fn end(member: &Member<'_>) -> Option<String> {
    let view = member.view;
    match (&view.waiting_reason, &view.last_exit) {
        (Some(waiting), Some(ended)) => Some(format!("{waiting}, {ended}")),
        (Some(reason), None) | (None, Some(reason)) => Some(reason.clone()),
        (None, None) => (member.role == Role::Dead).then(|| "it terminated".to_owned()),
    }
}
