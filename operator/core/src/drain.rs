//! The drain of a pod: cordoned, shedding, removing, deleted. Its state is in the label and
//! annotations of the pod, so that another operator process continues it.

use std::collections::BTreeMap;

use k8s_openapi::jiff::SignedDuration;
use wsc_api::v1alpha1::OnDeadline;
use wsc_contract::control::Notice;

use crate::budget::{self, Need};
use crate::draft::Draft;
use crate::goal::Goal;
use crate::numbers::{signed, since, whole};
use crate::observed::{Drain, DrainReason, PodState, PodView, Sample};
use crate::plan::ControlVerb;
use crate::pool::{Member, Pool, Role};
use crate::rates::Rates;
use crate::validate::ValidCluster;

/// A rollout waits no longer for clients to disconnect on their own: it drains every pod.
const ROLLOUT_NATURAL: SignedDuration = SignedDuration::from_secs(60);
/// Time for the last connection to close at the deadline.
const LAST_CLOSE: SignedDuration = SignedDuration::from_secs(10);
/// A pod without progress after its deadline is deleted after this time: on SIGTERM it closes all
/// connections.
const FORCE_DELETE_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// Samples in a row without a connection that make a pod empty.
const ZEROS: u32 = 2;

/// The stage of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its clients have time to disconnect on their own, or it still accepts clients.
    Waiting,
    /// Its clients are moved within the budget.
    Moving,
    /// The deadline has passed: all its clients are closed with a request to reconnect.
    Overdue,
    /// It has no clients, which is to be confirmed.
    Empty,
    /// It can be deleted, for this reason.
    Done(&'static str),
}

/// The stage of a pod. A pod that something else happens to in this pass, or that does not leave,
/// waits.
pub(crate) fn stage(draft: &mut Draft<'_>, member: &Member<'_>) -> Stage {
    let view = member.view;
    let leave = match draft.goals.of(member) {
        Goal::Leave(drain) if member.role == Role::Draining && view.drain.is_some() => *drain,
        _ => return Stage::Waiting,
    };
    if draft.goals.is_taken(member) {
        return Stage::Waiting;
    }
    let over = draft.now >= leave.deadline;
    if is_empty(draft, member, over) {
        let confirmed = still_empty(draft, member);
        let removing = view.state == PodState::Removing;
        return if removing && confirmed {
            Stage::Done("drained")
        } else {
            Stage::Empty
        };
    }
    draft.memory.pod(&view.uid).empty_since = None;
    if over && draft.cluster.drain.on_deadline == OnDeadline::Close {
        note_progress(draft, member);
        return if may_cut(draft, member, &leave) {
            Stage::Done("the deadline of the drain has passed")
        } else {
            Stage::Overdue
        };
    }
    let waited = since(leave.since, draft.now) >= natural(draft.cluster, leave.reason);
    if waited && is_cordoned(draft, member) {
        Stage::Moving
    } else {
        Stage::Waiting
    }
}

/// The calls that move clients, by the place of the pod in the pool: what the budget allows, and
/// all that remain at a deadline.
pub(crate) fn moves(
    draft: &mut Draft<'_>,
    pool: &Pool<'_>,
    stages: &[Stage],
    connections: i64,
) -> BTreeMap<usize, ControlVerb> {
    let rate = budget::rate(&draft.cluster.disruption, connections, draft.memory.budget.health);
    draft.memory.budget.fill(rate, draft.now);
    let at = |stage: Stage| {
        let members = pool.members.iter().zip(stages);
        members
            .filter(move |(_, at)| **at == stage)
            .map(|(member, _)| member)
    };
    let (overdue, moving): (Vec<_>, Vec<_>) = (at(Stage::Overdue).collect(), at(Stage::Moving).collect());
    let mut rates = Rates::new(draft, pool);
    let mut calls = grant_remaining(draft, &overdue, &mut rates, rate);
    let needs = moving.iter().filter_map(|member| need(draft, member));
    for need in budget::in_order(needs.collect()) {
        let granted = pool.members.get(need.index).and_then(|member| {
            let call = grant_some(draft, member, &mut rates, need.moves)?;
            Some((need.index, call))
        });
        calls.extend(granted);
    }
    calls
}

/// As many of these moves as the budget and the limit of a second allow now.
fn grant_some(
    draft: &mut Draft<'_>,
    member: &Member<'_>,
    rates: &mut Rates,
    moves: i64,
) -> Option<ControlVerb> {
    let sample = member.sample?;
    let moves = draft.memory.budget.take(rates.most(member.index, moves));
    if moves == 0 {
        return None;
    }
    let pending = draft.moves(sample).pending(sample).min(sample.connections);
    let per_second = rates.take(member.index, pending + moves)?;
    let verb = grant(draft, member, sample, moves, per_second);
    rates.remember(draft, member, sample);
    Some(verb)
}

fn natural(cluster: &ValidCluster, reason: DrainReason) -> SignedDuration {
    let natural = signed(cluster.drain.natural);
    match reason {
        DrainReason::Rollout => natural.min(ROLLOUT_NATURAL),
        DrainReason::ScaleDown => natural,
    }
}

/// No new connections: the pod itself rejects them, or no proxy routes any to it.
fn is_cordoned(draft: &Draft<'_>, member: &Member<'_>) -> bool {
    member.sample.is_some_and(|sample| sample.cordoned) || proxies_applied(draft, member.view)
}

/// Every live proxy has the server in `maint`, or does not have it. One that does not respond may
/// still route clients to it.
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
        .map(|proxy| proxy.agent.as_deref())
}

/// Empty by two samples of the pod and by every proxy. After the deadline a proxy that does not
/// respond is ignored.
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
    let since = *draft.memory.pod(&member.view.uid).empty_since.get_or_insert(now);
    let pod = member.sample.is_some_and(|sample| sample.at > since);
    pod && live_agents(draft).flatten().all(|agent| agent.at > since)
}

/// Records when the pod last closed one of the connections that remained at the deadline.
fn note_progress(draft: &mut Draft<'_>, member: &Member<'_>) {
    let Some(sample) = member.sample else {
        return;
    };
    let now = draft.now;
    draft.memory.pod(&sample.pod_uid).moves.note_progress(sample, now);
}

/// With `onDeadline: Close`: all connections had time to close, or there is no progress and SIGTERM
/// will close them.
fn may_cut(draft: &Draft<'_>, member: &Member<'_>, drain: &Drain) -> bool {
    let Some(sample) = member.sample else {
        return silent_for(draft, member, drain) >= FORCE_DELETE_AFTER;
    };
    let moves = draft.moves(sample);
    let Some(last) = moves.last(sample) else {
        return false;
    };
    let idle = since(last.progress_at, draft.now);
    (moves.pending(sample) == 0 && idle >= LAST_CLOSE) || idle >= FORCE_DELETE_AFTER + last.interval
}

/// Time since the last response of the pod, after its deadline.
fn silent_for(draft: &Draft<'_>, member: &Member<'_>, drain: &Drain) -> SignedDuration {
    let newest = draft.observed.samples.get(&member.view.name);
    let heard = newest.filter(|sample| sample.pod_uid == member.view.uid);
    let silent = heard.map_or(SignedDuration::MAX, |sample| since(sample.at, draft.now));
    silent.min(overdue_for(draft, drain))
}

/// Time since the deadline, counted from the start of this process: an earlier one may have failed
/// to call the pod.
fn overdue_for(draft: &Draft<'_>, drain: &Drain) -> SignedDuration {
    let started_at = draft.memory.started_at.unwrap_or(draft.now);
    since(started_at.max(drain.deadline), draft.now)
}

/// Connections that were not granted yet. A grant that did not arrive is void and is paid again:
/// sent again later, it would come on top of what the budget was worth meanwhile. A pod that the
/// status does not list gets none, since its moves could not be counted.
fn need(draft: &mut Draft<'_>, member: &Member<'_>) -> Option<Need> {
    let (sample, drain) = (member.sample?, member.view.drain?);
    let now = draft.now;
    let granted = &mut draft.memory.pod(&sample.pod_uid).moves;
    if granted.is_unacknowledged(sample) {
        if granted.is_awaited(sample) {
            return None;
        }
        granted.forget_grant();
    }
    let moves = granted.ungranted(sample, now);
    (moves > 0 && is_listed(draft, member.view)).then(|| Need {
        index: member.index,
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

fn grant(
    draft: &mut Draft<'_>,
    member: &Member<'_>,
    sample: &Sample,
    moves: i64,
    per_second: f64,
) -> ControlVerb {
    let now = draft.now;
    let total = draft.memory.pod(&sample.pod_uid).moves.grant(sample, moves, now);
    draft.line(format!(
        "move {moves} of {} connections of {} ({}), {:.1} moves left in the budget",
        sample.connections,
        member.view.name,
        member.reason().as_str(),
        draft.memory.budget.tokens
    ));
    shed(sample, total, per_second, draft.cluster.drain.notice())
}

fn shed(sample: &Sample, total: i64, per_second: f64, notice: Notice) -> ControlVerb {
    ControlVerb::Shed {
        boot_id: sample.boot_id.clone(),
        total,
        per_second,
        notice,
    }
}

/// Grants all remaining connections at the deadline, as fast as moves may be. Later grants pay for
/// it.
fn grant_remaining(
    draft: &mut Draft<'_>,
    overdue: &[&Member<'_>],
    rates: &mut Rates,
    rate: f64,
) -> BTreeMap<usize, ControlVerb> {
    let mut calls = BTreeMap::new();
    for member in overdue {
        let (Some(sample), Some(drain)) = (member.sample, &member.view.drain) else {
            continue;
        };
        let moves = draft.moves(sample);
        let (pending, was_granted) = (moves.pending(sample), moves.last(sample).is_some());
        // While it accepts new connections, the grant would not cover them.
        let accepts = !sample.cordoned && overdue_for(draft, drain) < FORCE_DELETE_AFTER;
        if (was_granted && pending == 0) || (!was_granted && accepts) {
            continue;
        }
        let due = if was_granted {
            pending.min(sample.connections)
        } else {
            sample.connections
        };
        let Some(per_second) = rates.take(member.index, due) else {
            continue;
        };
        let interval = SignedDuration::from_secs(whole(per_second.recip()).saturating_add(1));
        let verb = if was_granted {
            // Repeated, because it may not have arrived, and faster when other pods are done.
            draft
                .memory
                .pod(&sample.pod_uid)
                .moves
                .pace_last(sample, interval);
            shed(
                sample,
                moves.total(sample),
                per_second,
                draft.cluster.drain.notice(),
            )
        } else {
            let left = (sample.connections - pending).max(0);
            draft.memory.budget.take_beyond(left, rate);
            let verb = grant(draft, member, sample, left, per_second);
            let now = draft.now;
            draft
                .memory
                .pod(&sample.pod_uid)
                .moves
                .make_last(sample, interval, now);
            verb
        };
        rates.remember(draft, member, sample);
        calls.insert(member.index, verb);
    }
    calls
}
