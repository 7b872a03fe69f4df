//! How a pod leaves: cordoned, shedding, removing, gone. The pod's label and annotations hold all of it, so that any operator goes on
//! where the last one stopped.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use wsc_api::v1alpha1::OnDeadline;

use crate::budget::{self, Need};
use crate::numbers::{float, signed, since, whole, whole_second};
use crate::observed::{Drain, DrainReason, Granted, PodState, PodView, Sample};
use crate::plan::{ControlVerb, Draft, EventKind};
use crate::pool::{Member, Pool, Role};
use crate::validate::ValidCluster;

/// A rollout waits for natural departures no longer than this: it has every pod to get through.
const ROLLOUT_NATURAL: SignedDuration = SignedDuration::from_secs(60);
/// Granted moves are spread over a bit less than a tick, so that the next sample finds them done.
const PACE_SECONDS: f64 = 4.0;
/// Nobody needs to be slower than one in five seconds.
const LEAST_PER_SECOND: f64 = 0.2;
/// After the deadline asked the last clients, so long they have to close.
const LAST_CLOSE: SignedDuration = SignedDuration::from_secs(10);
/// Then the pod goes even if it never said that it asked them: its own SIGTERM asks again.
const LAST_RESORT: SignedDuration = SignedDuration::from_secs(60);
/// Samples in a row without a connection that make a pod empty.
const ZEROS: u32 = 2;

/// Cordons a pod: its proxies and the pod itself take nobody new.
pub(crate) fn start(draft: &mut Draft<'_>, member: &Member<'_>, reason: DrainReason) {
    if !draft.observed.watches_fresh {
        draft.line(format!("dropped: drain of {} on stale data", member.view.name));
        return;
    }
    let drain = new_drain(draft.cluster, reason, draft.now);
    draft.mark(member.view, PodState::Cordoned, Some(drain));
    draft.call(member.view, ControlVerb::Cordon);
}

/// Back into rotation; moves that were granted and not made are taken back.
pub(crate) fn cancel(draft: &mut Draft<'_>, member: &Member<'_>) {
    draft.mark(member.view, PodState::Active, None);
    draft.memory.granted.remove(&member.view.uid);
    uncordon(draft, member.view, member.sample);
}

/// Serving pods that were left cordoned by a cancel that did not get through, or by hand.
pub(crate) fn heal_serving(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    for member in pool.of(Role::Serving) {
        let sample = member.sample;
        let idle = sample.is_none_or(|sample| !sample.cordoned && sample.shed_target <= sample.shed_total);
        if !idle && !draft.state(member.view).is_draining() {
            draft.memory.granted.remove(&member.view.uid);
            uncordon(draft, member.view, sample);
        }
    }
}

fn uncordon(draft: &mut Draft<'_>, view: &PodView, sample: Option<&Sample>) {
    if let Some(sample) = sample.filter(|sample| sample.shed_target > sample.shed_total) {
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
        if draft.is_taken(member.view) {
            continue;
        }
        keep_cordoned(draft, member);
        step(draft, member, &mut needs, &mut overdue);
    }
    ask_the_rest(draft, &overdue, rate);
    for (pod, moves) in draft.memory.budget.grant(needs) {
        let member = pool.of(Role::Draining).find(|member| member.view.name == pod);
        if let Some((member, sample)) = member.and_then(|member| Some((member, member.sample?))) {
            let pending = granted_total(draft, sample) - sample.shed_total;
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
        if view.state == PodState::Removing {
            remove(draft, member, "it is empty");
        } else {
            draft.mark(view, PodState::Removing, Some(drain));
        }
        return;
    }
    if over && close {
        if may_cut(draft, member, &drain) {
            remove(draft, member, "its deadline is over and its clients were asked");
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

/// The pod says that it is not cordoned, perhaps since its process restarted.
fn keep_cordoned(draft: &mut Draft<'_>, member: &Member<'_>) {
    if member.sample.is_some_and(|sample| !sample.cordoned) {
        draft.call(member.view, ControlVerb::Cordon);
    }
}

/// Nobody new comes: the pod itself refuses, or no proxy sends anybody.
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

/// Empty by the pod's own word, twice, and by every proxy's. After the deadline a proxy that does not answer is not waited for.
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

/// With `onDeadline: Close`: everybody was asked and had time to close; or nobody knows for long, and SIGTERM will ask.
fn may_cut(draft: &Draft<'_>, member: &Member<'_>, drain: &Drain) -> bool {
    let Some(sample) = member.sample else {
        let known_since = draft.memory.started_at.unwrap_or(draft.now).max(drain.deadline);
        return since(known_since, draft.now) >= LAST_RESORT;
    };
    let Some((asked_at, done_by)) = granted_to(draft, sample).and_then(|granted| granted.rest_asked) else {
        return false;
    };
    let pending = granted_total(draft, sample) - sample.shed_total;
    let all_asked = pending <= 0 || sample.connections < pending;
    (all_asked && since(asked_at, draft.now) >= LAST_CLOSE) || draft.now >= done_by
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
        draft.line(format!(
            "dropped: {} is to be removed but may have clients",
            view.name
        ));
        return;
    }
    let reason = member.reason().as_str();
    draft.delete(view, format!("{reason}: {why}"));
    let left = clients.map_or_else(|| "an unknown number".to_owned(), |left| left.to_string());
    let note = format!(
        "{} is removed ({reason}): {why}, {left} connections left",
        view.name
    );
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

/// What this process was granted, whether it has heard of it or not.
fn granted_total(draft: &Draft<'_>, sample: &Sample) -> i64 {
    granted_to(draft, sample).map_or(sample.shed_target, |granted| {
        granted.total.max(sample.shed_target)
    })
}

/// Connections that were not granted yet. A pod whose last grant has not arrived gets that one again instead; one that the status
/// does not list gets none, since its moves could not be counted.
fn need(draft: &mut Draft<'_>, member: &Member<'_>, drain: Drain) -> Option<Need> {
    let sample = member.sample?;
    let total = granted_total(draft, sample);
    if sample.shed_target < total {
        let per_second = f64::from(draft.cluster.disruption.max_moves_per_second).min(1.0);
        send(draft, member.view, sample, total, per_second);
        return None;
    }
    let moves = sample.connections - (total - sample.shed_total).max(0);
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
    let total = granted_total(draft, sample) + moves;
    let granted = Granted {
        boot_id: sample.boot_id.clone(),
        total,
        rest_asked: None,
    };
    draft.memory.granted.insert(sample.pod_uid.clone(), granted);
    send(draft, member.view, sample, total, per_second);
    draft.line(format!(
        "{} may move {moves} of {} connections ({}), {:.1} moves left in the budget",
        member.view.name,
        sample.connections,
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

/// The deadline's right: whoever is left is asked, as fast as moves may be at all. Later grants pay for it.
fn ask_the_rest(draft: &mut Draft<'_>, overdue: &[&Member<'_>], rate: f64) {
    let pods = u32::try_from(overdue.len()).unwrap_or(u32::MAX).max(1);
    let per_second = f64::from(draft.cluster.disruption.max_moves_per_second) / f64::from(pods);
    for member in overdue {
        let Some(sample) = member.sample else {
            continue;
        };
        let total = granted_total(draft, sample);
        if granted_to(draft, sample).is_some_and(|granted| granted.rest_asked.is_some()) {
            if sample.shed_target < total {
                send(draft, member.view, sample, total, per_second);
            }
            continue;
        }
        let pending = (total - sample.shed_total).max(0);
        let left = (sample.connections - pending).max(0);
        draft.memory.budget.take_beyond(left, rate);
        grant(draft, member, sample, left, per_second);
        let seconds = whole(float(pending + left) / per_second);
        let done_by = draft.now + LAST_RESORT + SignedDuration::from_secs(seconds);
        let now = draft.now;
        if let Some(granted) = draft.memory.granted.get_mut(&sample.pod_uid) {
            granted.rest_asked = Some((now, done_by));
        }
    }
}
