//! The drain of a pod: cordoned, shedding, removing, deleted. Its state is in the label and annotations of the pod, so that
//! another operator process continues it.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use wsc_api::v1alpha1::OnDeadline;

use crate::budget::{self, Need};
use crate::draft::Draft;
use crate::memory::{FinalGrant, Granted};
use crate::numbers::{float, signed, since, whole, whole_second};
use crate::observed::{Drain, DrainReason, PodState, PodView, Sample};
use crate::plan::{ControlVerb, EventKind};
use crate::pool::{Member, Pool, Role};
use crate::validate::ValidCluster;

/// A rollout waits no longer for clients to disconnect on their own: it drains every pod.
const ROLLOUT_NATURAL: SignedDuration = SignedDuration::from_secs(60);
/// Granted moves are spread over a bit less than a tick, so that the next sample finds them done.
const PACE_SECONDS: f64 = 4.0;
/// The slowest rate: one move in five seconds.
const LEAST_PER_SECOND: f64 = 0.2;
/// Time for the last connection to close at the deadline.
const LAST_CLOSE: SignedDuration = SignedDuration::from_secs(10);
/// A pod without progress after its deadline is deleted after this time: on SIGTERM it closes all connections.
const FORCE_DELETE_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// After this time every granted move is made: a tick and the time for a graceful close.
const GRANT_SETTLED: SignedDuration = SignedDuration::from_secs(15);
/// Samples in a row without a connection that make a pod empty.
const ZEROS: u32 = 2;

/// Cordons a pod: the proxies and the pod itself accept no new connections.
pub(crate) fn start(draft: &mut Draft<'_>, member: &Member<'_>, reason: DrainReason) {
    if !draft.observed.watches_fresh {
        draft.line(format!(
            "dropped: drain of {}: the watches are stale",
            member.view.name
        ));
        return;
    }
    let drain = new_drain(draft.cluster, reason, draft.now);
    draft.mark(member.view, PodState::Cordoned, Some(drain));
    draft.call(member.view, ControlVerb::Cordon);
}

/// Back into rotation; moves that were granted and not made are taken back.
pub(crate) fn cancel(draft: &mut Draft<'_>, member: &Member<'_>) {
    draft.mark(member.view, PodState::Active, None);
    uncordon(draft, member.view, member.sample);
    draft.memory.granted.remove(&member.view.uid);
}

/// Serving pods that were left cordoned by a cancel that did not get through, or by hand.
pub(crate) fn heal_serving(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    for member in pool.of(Role::Serving) {
        let sample = member.sample;
        let idle = sample.is_none_or(|sample| !sample.cordoned && sample.shed_target <= sample.shed_total);
        if !idle && !draft.state(member.view).is_draining() {
            uncordon(draft, member.view, sample);
            draft.memory.granted.remove(&member.view.uid);
        }
    }
}

fn uncordon(draft: &mut Draft<'_>, view: &PodView, sample: Option<&Sample>) {
    // A grant may have arrived after the sample: a pod in rotation must stop closing connections.
    if let Some(sample) = sample.filter(|sample| granted_total(draft, sample) > sample.shed_total) {
        let verb = ControlVerb::Shed {
            boot_id: sample.boot_id.clone(),
            total: sample.shed_total,
            per_second: 1.0,
        };
        draft.call(view, verb);
    }
    draft.call(view, ControlVerb::Uncordon);
}

fn new_drain(cluster: &ValidCluster, reason: DrainReason, now: Timestamp) -> Drain {
    let since = whole_second(now);
    Drain {
        reason,
        since,
        deadline: since + signed(cluster.drain.deadline),
    }
}

/// Takes every draining pod one step on, and spends the budget on those that shed.
pub(crate) fn advance(draft: &mut Draft<'_>, pool: &Pool<'_>, connections: i64) {
    let rate = budget::rate(&draft.cluster.disruption, connections, draft.memory.budget.health);
    draft.memory.budget.fill(rate, draft.now);
    let mut needs = Vec::new();
    let mut overdue = Vec::new();
    for member in pool.of(Role::Draining) {
        if draft.state(member.view).is_draining() {
            keep_cordoned(draft, member);
        }
        if draft.is_taken(member.view) {
            continue;
        }
        step(draft, member, &mut needs, &mut overdue);
    }
    grant_remaining(draft, &overdue, rate);
    for (pod, moves) in draft.memory.budget.grant(needs) {
        let member = pool.of(Role::Draining).find(|member| member.view.name == pod);
        if let Some((member, sample)) = member.and_then(|member| Some((member, member.sample?))) {
            let pending = pending(draft, sample);
            let most = f64::from(draft.cluster.disruption.max_moves_per_second);
            let per_second = (float(pending + moves) / PACE_SECONDS).clamp(LEAST_PER_SECOND.min(most), most);
            grant(draft, member, sample, moves, per_second);
        }
    }
}

fn step<'a, 'b>(
    draft: &mut Draft<'_>,
    member: &'b Member<'a>,
    needs: &mut Vec<Need>,
    overdue: &mut Vec<&'b Member<'a>>,
) {
    let view = member.view;
    let Some(drain) = view.drain else {
        let drain = new_drain(draft.cluster, DrainReason::ScaleDown, draft.now);
        draft.mark(view, view.state, Some(drain));
        return;
    };
    let over = draft.now >= drain.deadline;
    let close = draft.cluster.drain.on_deadline == OnDeadline::Close;
    if is_empty(draft, member, over) {
        let confirmed = still_empty(draft, member);
        if view.state != PodState::Removing {
            draft.mark(view, PodState::Removing, Some(drain));
        } else if confirmed {
            remove(draft, member, "drained");
        }
        return;
    }
    draft.memory.empty_since.remove(&view.uid);
    if over && close {
        note_progress(draft, member);
        if may_cut(draft, member, &drain) {
            remove(draft, member, "the drain deadline is over");
        } else {
            overdue.push(member);
            shed_state(draft, member, drain);
        }
        return;
    }
    let natural = natural(draft.cluster, drain.reason);
    let waited = since(drain.since, draft.now) >= natural;
    if !waited || !is_cordoned(draft, member) {
        return;
    }
    shed_state(draft, member, drain);
    needs.extend(need(draft, member, drain));
}

fn shed_state(draft: &mut Draft<'_>, member: &Member<'_>, drain: Drain) {
    if member.view.state != PodState::Shedding {
        draft.mark(member.view, PodState::Shedding, Some(drain));
    }
}

fn natural(cluster: &ValidCluster, reason: DrainReason) -> SignedDuration {
    let natural = signed(cluster.drain.natural);
    match reason {
        DrainReason::Rollout => natural.min(ROLLOUT_NATURAL),
        DrainReason::ScaleDown => natural,
    }
}

/// The pod reports that it is not cordoned, for example after a restart of its process.
fn keep_cordoned(draft: &mut Draft<'_>, member: &Member<'_>) {
    if member.sample.is_some_and(|sample| !sample.cordoned) {
        draft.call(member.view, ControlVerb::Cordon);
    }
}

/// No new connections: the pod itself rejects them, or no proxy routes any to it.
fn is_cordoned(draft: &Draft<'_>, member: &Member<'_>) -> bool {
    member.sample.is_some_and(|sample| sample.cordoned) || proxies_applied(draft, member.view)
}

/// Every live proxy has the server in `maint`, or does not know it. One that does not answer may still send clients.
fn proxies_applied(draft: &Draft<'_>, view: &PodView) -> bool {
    live_agents(draft).all(|agent| {
        agent.is_some_and(|agent| agent.servers.get(&view.name).is_none_or(|server| server.maint))
    })
}

fn live_agents<'a>(
    draft: &Draft<'a>,
) -> impl Iterator<Item = Option<&'a crate::observed::AgentView>> + use<'a> {
    let proxies = draft.observed.proxies.iter();
    proxies
        .filter(|proxy| !proxy.terminating && (proxy.ready || proxy.agent.is_some()))
        .map(|proxy| proxy.agent.as_ref())
}

/// Empty by two samples of the pod and by every proxy. After the deadline a proxy that does not answer is not waited for.
fn is_empty(draft: &Draft<'_>, member: &Member<'_>, over: bool) -> bool {
    let zeros = member
        .sample
        .is_some_and(|sample| sample.connections == 0 && sample.zero_in_a_row >= ZEROS);
    let no_sessions = live_agents(draft).flatten().all(|agent| {
        agent
            .servers
            .get(&member.view.name)
            .is_none_or(|server| server.sessions == 0)
    });
    let closed =
        proxies_applied(draft, member.view) || (over && member.sample.is_some_and(|sample| sample.cordoned));
    zeros && no_sessions && closed
}

/// Found empty before, and confirmed by the pod and every proxy since then.
fn still_empty(draft: &mut Draft<'_>, member: &Member<'_>) -> bool {
    let now = draft.now;
    let since = *draft
        .memory
        .empty_since
        .entry(member.view.uid.clone())
        .or_insert(now);
    let pod = member.sample.is_some_and(|sample| sample.at > since);
    pod && live_agents(draft).flatten().all(|agent| agent.at > since)
}

/// Records when the pod last closed one of the connections that remained at the deadline.
fn note_progress(draft: &mut Draft<'_>, member: &Member<'_>) {
    let Some(sample) = member.sample else {
        return;
    };
    let granted = draft.memory.granted.get_mut(&sample.pod_uid);
    let granted = granted.filter(|granted| granted.boot_id == sample.boot_id);
    if let Some(rest) = granted.and_then(|granted| granted.final_grant.as_mut())
        && sample.shed_total > rest.shed_total
    {
        rest.shed_total = sample.shed_total;
        rest.progress_at = draft.now;
    }
}

/// With `onDeadline: Close`: all connections had time to close, or there is no progress and SIGTERM will close them.
fn may_cut(draft: &Draft<'_>, member: &Member<'_>, drain: &Drain) -> bool {
    let Some(sample) = member.sample else {
        return silent_for(draft, member, drain) >= FORCE_DELETE_AFTER;
    };
    let Some(rest) = granted_to(draft, sample).and_then(|granted| granted.final_grant) else {
        return false;
    };
    let idle = since(rest.progress_at, draft.now);
    (pending(draft, sample) == 0 && idle >= LAST_CLOSE) || idle >= FORCE_DELETE_AFTER + rest.interval
}

/// Time since the last answer of the pod, after its deadline.
fn silent_for(draft: &Draft<'_>, member: &Member<'_>, drain: &Drain) -> SignedDuration {
    let newest = draft.observed.samples.get(&member.view.name);
    let heard = newest.filter(|sample| sample.pod_uid == member.view.uid);
    let silent = heard.map_or(SignedDuration::MAX, |sample| since(sample.at, draft.now));
    silent.min(overdue_for(draft, drain))
}

/// Time since the deadline, counted from the start of this process: an earlier one may have failed to call the pod.
fn overdue_for(draft: &Draft<'_>, drain: &Drain) -> SignedDuration {
    let started_at = draft.memory.started_at.unwrap_or(draft.now);
    since(started_at.max(drain.deadline), draft.now)
}

/// The last line of defence of "a pod with connections is deleted only by the deadline".
fn remove(draft: &mut Draft<'_>, member: &Member<'_>, why: &str) {
    let view = member.view;
    let close = draft.cluster.drain.on_deadline == OnDeadline::Close;
    let over = view
        .drain
        .as_ref()
        .is_some_and(|drain| draft.now >= drain.deadline);
    let clients = member.sample.map(|sample| sample.connections);
    if clients != Some(0) && !(close && over) {
        draft.line(format!("dropped: deletion of {}: it may have clients", view.name));
        return;
    }
    let reason = member.reason().as_str();
    draft.delete(view, format!("{reason}: {why}"));
    let left = clients.map_or_else(|| "an unknown number".to_owned(), |left| left.to_string());
    let note = format!("delete {} ({reason}): {why}, {left} connections left", view.name);
    draft.line(note.clone());
    let kind = if clients == Some(0) {
        EventKind::Normal
    } else {
        EventKind::Warning
    };
    draft.event(kind, "PodRemoved", "Delete", note);
}

/// What this process was granted, as far as it is remembered.
fn granted_to<'b>(draft: &'b Draft<'_>, sample: &Sample) -> Option<&'b Granted> {
    let granted = draft.memory.granted.get(&sample.pod_uid);
    granted.filter(|granted| granted.boot_id == sample.boot_id)
}

/// What this process was granted, whether the grant arrived or not.
fn granted_total(draft: &Draft<'_>, sample: &Sample) -> i64 {
    granted_to(draft, sample).map_or(sample.shed_target, |granted| {
        granted.total.max(sample.shed_target)
    })
}

/// Moves that were granted and not made yet.
fn pending(draft: &Draft<'_>, sample: &Sample) -> i64 {
    (granted_total(draft, sample) - sample.shed_total).max(0)
}

/// Connections without a grant. A moved connection counts until it is closed, and no new ones are accepted.
fn ungranted(draft: &Draft<'_>, sample: &Sample) -> i64 {
    let pending = pending(draft, sample);
    let unasked = (sample.connections - pending).max(0);
    match granted_to(draft, sample) {
        Some(granted) if pending > 0 || since(granted.at, draft.now) < GRANT_SETTLED => {
            unasked.min(granted.left)
        }
        _ => unasked,
    }
}

/// Connections that were not granted yet. A grant that did not arrive is void and is paid again: sent again later, it would come on top
/// of what the budget was worth meanwhile. A pod that the status does not list gets none, since its moves could not be counted.
fn need(draft: &mut Draft<'_>, member: &Member<'_>, drain: Drain) -> Option<Need> {
    let sample = member.sample?;
    if sample.shed_target < granted_total(draft, sample) {
        let unacknowledged = granted_to(draft, sample).is_some_and(|granted| sample.at <= granted.at);
        if unacknowledged {
            return None;
        }
        draft.memory.granted.remove(&sample.pod_uid);
    }
    let moves = ungranted(draft, sample);
    (moves > 0 && is_listed(draft, member.view)).then(|| Need {
        pod: member.view.name.clone(),
        reason: drain.reason,
        deadline: drain.deadline,
        moves,
    })
}

fn is_listed(draft: &Draft<'_>, view: &PodView) -> bool {
    let listed = &draft.observed.status.drains;
    listed.iter().any(|drain| drain.pod == view.name)
}

fn grant(draft: &mut Draft<'_>, member: &Member<'_>, sample: &Sample, moves: i64, per_second: f64) {
    // A cancel may have left the target below what was shed: moves count from there.
    let total = granted_total(draft, sample).max(sample.shed_total) + moves;
    let granted = Granted {
        boot_id: sample.boot_id.clone(),
        total,
        at: draft.now,
        left: (ungranted(draft, sample) - moves).max(0),
        final_grant: None,
    };
    draft.memory.granted.insert(sample.pod_uid.clone(), granted);
    send(draft, member.view, sample, total, per_second);
    draft.line(format!(
        "move {moves} of {} connections of {} ({}), {:.1} moves left in the budget",
        sample.connections,
        member.view.name,
        member.reason().as_str(),
        draft.memory.budget.tokens
    ));
}

fn send(draft: &mut Draft<'_>, view: &PodView, sample: &Sample, total: i64, per_second: f64) {
    let verb = ControlVerb::Shed {
        boot_id: sample.boot_id.clone(),
        total,
        per_second,
    };
    draft.call(view, verb);
}

/// Grants all remaining connections at the deadline, as fast as moves may be. Later grants pay for it.
fn grant_remaining(draft: &mut Draft<'_>, overdue: &[&Member<'_>], rate: f64) {
    let pods = u32::try_from(overdue.len()).unwrap_or(u32::MAX).max(1);
    let per_second = f64::from(draft.cluster.disruption.max_moves_per_second) / f64::from(pods);
    for member in overdue {
        let (Some(sample), Some(drain)) = (member.sample, &member.view.drain) else {
            continue;
        };
        let interval = SignedDuration::from_secs(whole(per_second.recip()).saturating_add(1));
        let granted = draft.memory.granted.get_mut(&sample.pod_uid);
        let granted = granted.filter(|granted| granted.boot_id == sample.boot_id);
        if let Some(rest) = granted.and_then(|granted| granted.final_grant.as_mut()) {
            rest.interval = interval;
            if pending(draft, sample) > 0 {
                // Repeated, because it may not have arrived, and because pods past their deadline share the rate.
                let total = granted_total(draft, sample);
                send(draft, member.view, sample, total, per_second);
            }
            continue;
        }
        // While it accepts new connections, the grant would not cover them.
        if !sample.cordoned && overdue_for(draft, drain) < FORCE_DELETE_AFTER {
            continue;
        }
        let left = (sample.connections - pending(draft, sample)).max(0);
        draft.memory.budget.take_beyond(left, rate);
        grant(draft, member, sample, left, per_second);
        let rest = FinalGrant {
            shed_total: sample.shed_total,
            progress_at: draft.now,
            interval,
        };
        if let Some(granted) = draft.memory.granted.get_mut(&sample.pod_uid) {
            granted.final_grant = Some(rest);
        }
    }
}
