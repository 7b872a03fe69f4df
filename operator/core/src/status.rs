//! The status once the plan is done, and whether it differs from the live one. Numbers alone are
//! written at most every few seconds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use wsc_api::v1alpha1::{ConnectionsStatus, DrainStatus, WebSocketClusterStatus};
use wsc_contract::labels::{self, Component};

use crate::conditions;
use crate::draft::Draft;
use crate::memory::Memory;
use crate::moves::Counter;
use crate::numbers::{count, since};
use crate::observed::{Observed, PodState, Sample};
use crate::plan::{EventKind, Plan};
use crate::pool::{Member, Pool, Role};
use crate::resources;
use crate::scale::Scale;
use crate::validate::Invalid;

/// Numbers that change are written no more often than this.
const NUMBERS_EVERY: SignedDuration = SignedDuration::from_secs(30);
/// A smaller change of connections is not written at all.
const NOTABLE_PERCENT: i64 = 1;
/// Drains that the status lists; only these are granted moves.
const DRAINS_LISTED: usize = 32;

/// The status to write, or `None` if it says nothing new: times alone are no news.
pub fn update(
    live: Option<&WebSocketClusterStatus>,
    wanted: &WebSocketClusterStatus,
) -> Option<WebSocketClusterStatus> {
    // A reservation of this pass is in the live status only.
    let wanted = with_serials(wanted, live.map_or(0, |live| live.next_serial));
    let same = live.is_some_and(|live| timeless(live) == timeless(&wanted));
    (!same).then_some(wanted)
}

/// The status after the plan was applied. The plan takes every write for done; failed ones are
/// added here.
pub fn applied(plan: &Plan, memory: &Memory, observed: &Observed, now: Timestamp) -> WebSocketClusterStatus {
    let status = plan.status.clone();
    let generation = status.observed_generation;
    let conditions =
        conditions::with_failures(status.conditions, &memory.failures, observed, generation, now);
    WebSocketClusterStatus { conditions, ..status }
}

/// The status with the serials below `end` reserved.
pub fn with_serials(status: &WebSocketClusterStatus, end: i64) -> WebSocketClusterStatus {
    WebSocketClusterStatus {
        next_serial: end.max(status.next_serial),
        ..status.clone()
    }
}

/// The status of a resource whose spec cannot be applied: the conditions name the field, everything
/// else is kept.
pub fn invalid(
    live: Option<&WebSocketClusterStatus>,
    problem: &Invalid,
    generation: i64,
    now: Timestamp,
) -> WebSocketClusterStatus {
    let live = live.cloned().unwrap_or_default();
    WebSocketClusterStatus {
        observed_generation: generation,
        conditions: conditions::invalid(&live.conditions, problem, generation, now),
        ..live
    }
}

/// Why a resource is not reconciled at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It does not match the CRD of this operator's version, as after a downgrade.
    Unreadable(String),
    /// Objects of these kinds cannot be listed where it is.
    NotListed(Vec<String>),
}

impl Obstacle {
    fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "Unreadable",
            Self::NotListed(_) => "WatchFailed",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Unreadable(error) => format!(
                "the operator cannot read this resource: {error}; the current state is kept. Change the field, or install the version of the operator that knows it"
            ),
            Self::NotListed(kinds) => format!(
                "the operator cannot list objects in this namespace: {}; the current state is kept. See its log, and install the Role and the RoleBinding of the Helm chart in the namespace",
                kinds.join(", ")
            ),
        }
    }
}

/// The conditions that name the obstacle, or `None` if the live ones do so already.
pub fn blocked(
    live: &[Condition],
    obstacle: &Obstacle,
    generation: i64,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let wanted = conditions::blocked(live, obstacle.reason(), &obstacle.message(), generation, now);
    (wanted != live).then_some(wanted)
}

/// Without the times at which conditions changed and the decision was taken.
fn timeless(status: &WebSocketClusterStatus) -> WebSocketClusterStatus {
    let mut status = status.clone();
    for condition in &mut status.conditions {
        condition.last_transition_time = Time(Timestamp::UNIX_EPOCH);
    }
    if let Some(decision) = &mut status.last_decision {
        decision.time = Time(Timestamp::UNIX_EPOCH);
    }
    status
}

/// Writes the wanted status into the plan.
pub(crate) fn write(
    draft: &mut Draft<'_>,
    pool: &Pool<'_>,
    scale: &Scale,
    revision: &str,
    conditions: Vec<Condition>,
) {
    let moved_total = count_moves(draft, pool);
    let in_rotation = |member: &&Member<'_>| {
        let lives = matches!(member.role, Role::Serving | Role::Broken | Role::Draining);
        let control = draft.control(member);
        lives && control.is_some_and(|control| control.label == PodState::Active)
    };
    let active: Vec<_> = pool.members.iter().filter(in_rotation).collect();
    let starting = pool
        .of(Role::Starting)
        .filter(|member| {
            draft
                .control(member)
                .is_some_and(|control| control.delete.is_none())
        })
        .count()
        + pool.reserved
        + draft.plan.create_pods.len();
    let draining: Vec<_> = draining(draft, pool);
    let observed = draft.observed;
    let status = WebSocketClusterStatus {
        observed_generation: observed.generation,
        desired_replicas: scale.desired,
        replicas: count(active.len()),
        starting_replicas: count(starting),
        draining_replicas: count(draining.len()),
        updated_replicas: count(active.iter().filter(|member| member.current).count()),
        selector: Some(selector(draft)),
        update_revision: Some(revision.to_owned()),
        next_serial: draft.next_serial(),
        redis_secret_replacements: redis_secret_replacements(draft),
        pins: Some(draft.cluster.pins.clone()),
        connections: connections(&observed.status.connections, pool, scale, &draining, moved_total),
        drains: drains(draft, &draining),
        last_decision: draft
            .decision
            .clone()
            .or_else(|| observed.status.last_decision.clone()),
        endpoint: Some(resources::endpoint(
            draft.cluster,
            observed.load_balancer.as_deref(),
        )),
        conditions,
    };
    draft.plan.status = without_noise(draft, status);
}

/// One more once the Secret is known to be lost; the next pass uses the new name.
fn redis_secret_replacements(draft: &mut Draft<'_>) -> i64 {
    let replacements = draft.cluster.redis_secret_replacements;
    if !std::mem::take(&mut draft.memory.secret_lost) {
        return replacements;
    }
    let lost = resources::redis_secret_name(draft.cluster);
    let note = format!(
        "the Secret {lost} does not exist any more; Redis and the server pods get a new password and are replaced"
    );
    draft.line(note.clone());
    draft.event(EventKind::Warning, "RedisSecretLost", "Replace", note);
    replacements + 1
}

/// Pods that are leaving once the plan is done.
fn draining<'a, 'b>(draft: &Draft<'_>, pool: &'b Pool<'a>) -> Vec<&'b Member<'a>> {
    let members = pool.members.iter();
    members
        .filter(|member| matches!(member.role, Role::Serving | Role::Broken | Role::Draining))
        .filter(|member| draft.is_draining(member))
        .collect()
}

fn selector(draft: &Draft<'_>) -> String {
    format!(
        "{}={},{}={},{}={}",
        labels::CLUSTER,
        draft.cluster.name,
        labels::COMPONENT,
        Component::Server.as_str(),
        labels::STATE,
        PodState::Active.as_str()
    )
}

fn connections(
    before: &ConnectionsStatus,
    pool: &Pool<'_>,
    scale: &Scale,
    draining: &[&Member<'_>],
    moved_total: i64,
) -> ConnectionsStatus {
    let stays = |member: &&Member<'_>| !draining.iter().any(|other| other.index == member.index);
    let offers = pool.members.iter().filter(stays);
    let capacity: i64 = offers
        .filter_map(|member| scale.capacity.offers.get(member.index))
        .sum();
    if scale.unknown {
        // Right after a start the number of connections is unknown, which is not zero.
        return ConnectionsStatus {
            moved_total,
            ..before.clone()
        };
    }
    let current = scale.load.up;
    ConnectionsStatus {
        current,
        capacity,
        // Without capacity a percentage says nothing.
        utilization_percent: (current * 100)
            .checked_div(capacity)
            .map_or(0, |percent| i32::try_from(percent).unwrap_or(i32::MAX)),
        draining: draining.iter().map(|member| member.connections()).sum(),
        moved_total,
    }
}

/// Adds what each process has shed since it was last looked at. After a restart of the operator the
/// status says where it was: its total and its list of drains are always written together.
fn count_moves(draft: &mut Draft<'_>, pool: &Pool<'_>) -> i64 {
    let written = draft.observed.status.connections.moved_total;
    let mut total = draft.memory.moved_total.max(written);
    for member in &pool.members {
        let Some(sample) = member.sample else {
            continue;
        };
        let seen = Counter::new(&sample.boot_id, sample.shed_total);
        total += counted(draft, member, sample).rise(&seen);
        draft.memory.pod(&sample.pod_uid).moves.counted = Some(seen);
    }
    draft.memory.moved_total = total;
    total
}

fn counted(draft: &Draft<'_>, member: &Member<'_>, sample: &Sample) -> Counter {
    let remembered = draft.memory.pods.get(&sample.pod_uid);
    if let Some(counted) = remembered.and_then(|pod| pod.moves.counted.clone()) {
        return counted;
    }
    let moved = match listed(draft, member) {
        Some(drain) if drain.moved <= sample.shed_total => drain.moved,
        // Its process is another one than the list was about.
        Some(_) => 0,
        None => sample.shed_total,
    };
    Counter::new(&sample.boot_id, moved)
}

fn listed<'b>(draft: &'b Draft<'_>, member: &Member<'_>) -> Option<&'b DrainStatus> {
    let drains = &draft.observed.status.drains;
    drains.iter().find(|drain| drain.pod == member.view.name)
}

/// A pod that sheds stays on the list until it is gone, since its moves are counted by it.
fn drains(draft: &Draft<'_>, draining: &[&Member<'_>]) -> Vec<DrainStatus> {
    let mut entries: Vec<_> = draining
        .iter()
        .filter_map(|member| {
            let control = draft.control(member)?;
            let (drain, state) = (control.drain?, control.label);
            let before = listed(draft, member);
            let shed = member.sample.map(|sample| sample.shed_total);
            let entry = DrainStatus {
                pod: member.view.name.clone(),
                reason: drain.reason.as_str().to_owned(),
                state: state.as_str().to_owned(),
                since: Time(drain.since),
                deadline: Time(drain.deadline),
                remaining: member.known.or(before.map(|drain| drain.remaining)).unwrap_or(0),
                moved: shed.or(before.map(|drain| drain.moved)).unwrap_or(0),
            };
            let rank = match (before.is_some(), state) {
                (true, PodState::Shedding | PodState::Removing) => 0,
                (false, PodState::Shedding | PodState::Removing) => 1,
                (true, _) => 2,
                (false, _) => 3,
            };
            Some(((rank, drain.since, member.view.serial), entry))
        })
        .collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.truncate(DRAINS_LISTED);
    entries.sort_by_key(|((_, since, serial), _)| (*since, *serial));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// The number of connections is to be written, while nothing else changes.
pub(crate) fn numbers_are_due(
    observed: &Observed,
    reported_at: Option<Timestamp>,
    scale: &Scale,
    now: Timestamp,
) -> bool {
    let old = &observed.status.connections;
    let (current, capacity) = (scale.load.up, scale.capacity.offers.iter().sum::<i64>());
    let is_known = !scale.unknown;
    is_known && have_rested(reported_at, now) && (is_change(current, old.current) || capacity != old.capacity)
}

fn have_rested(reported_at: Option<Timestamp>, now: Timestamp) -> bool {
    reported_at.is_none_or(|at| since(at, now) >= NUMBERS_EVERY)
}

fn is_change(new: i64, before: i64) -> bool {
    (new - before).abs() * 100 > before * NOTABLE_PERCENT
}

/// Where only numbers differ, the old ones stay until it is time and worth it to write them.
fn without_noise(draft: &mut Draft<'_>, fresh: WebSocketClusterStatus) -> WebSocketClusterStatus {
    let old = &draft.observed.status;
    let quiet = with_numbers_of(&fresh, old);
    let rested = have_rested(draft.memory.connections_reported_at, draft.now);
    if quiet == *old && !(rested && is_notable(&fresh, old)) {
        return quiet;
    }
    draft.memory.connections_reported_at = Some(draft.now);
    fresh
}

fn with_numbers_of(fresh: &WebSocketClusterStatus, old: &WebSocketClusterStatus) -> WebSocketClusterStatus {
    let mut quiet = fresh.clone();
    quiet.connections = old.connections.clone();
    for drain in &mut quiet.drains {
        if let Some(before) = old.drains.iter().find(|before| before.pod == drain.pod) {
            drain.remaining = before.remaining;
            drain.moved = before.moved;
        }
    }
    quiet
}

fn is_notable(fresh: &WebSocketClusterStatus, old: &WebSocketClusterStatus) -> bool {
    let (new, before) = (&fresh.connections, &old.connections);
    is_change(new.current, before.current)
        || new.moved_total != before.moved_total
        || new.capacity != before.capacity
        || fresh.drains != old.drains
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Invalid {
        Invalid {
            field: "server.path".to_owned(),
            problem: "must start with /".to_owned(),
        }
    }

    #[test]
    fn times_alone_are_no_news() {
        let early = invalid(None, &problem(), 2, Timestamp::UNIX_EPOCH);
        let mut late = early.clone();
        late.conditions[0].last_transition_time = Time(Timestamp::MAX);
        assert_eq!(update(Some(&early), &late), None);
        late.conditions[0].status = "Unknown".to_owned();
        assert_eq!(update(Some(&early), &late).as_ref(), Some(&late));
        assert_eq!(update(None, &early).as_ref(), Some(&early));
    }

    #[test]
    fn live_reservation_is_kept() {
        let live = with_serials(&WebSocketClusterStatus::default(), 9);
        assert_eq!(update(Some(&live), &WebSocketClusterStatus::default()), None);
    }

    #[test]
    fn obstacle_is_named_once() {
        let live = invalid(None, &problem(), 2, Timestamp::UNIX_EPOCH).conditions;
        let obstacle = Obstacle::NotListed(vec!["NetworkPolicy".to_owned()]);
        let wanted = blocked(&live, &obstacle, 3, Timestamp::UNIX_EPOCH).unwrap();
        let stalled = wanted.iter().find(|c| c.type_ == "Stalled").unwrap();
        assert_eq!(
            (stalled.status.as_str(), stalled.reason.as_str()),
            ("True", "WatchFailed")
        );
        assert!(stalled.message.contains("NetworkPolicy"), "{}", stalled.message);
        assert_eq!(blocked(&wanted, &obstacle, 3, Timestamp::MAX), None);
    }

    #[test]
    fn invalid_spec_names_field_keeping_the_rest() {
        let live = WebSocketClusterStatus {
            next_serial: 7,
            replicas: 3,
            ..WebSocketClusterStatus::default()
        };
        let status = invalid(Some(&live), &problem(), 2, Timestamp::UNIX_EPOCH);
        assert_eq!(
            (status.next_serial, status.replicas, status.observed_generation),
            (7, 3, 2)
        );
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!(ready.status, "False");
        assert!(ready.message.contains("spec.server.path must start with /"));
        let again = invalid(Some(&status), &problem(), 2, Timestamp::MAX);
        assert_eq!(status, again, "and keeps the times");
    }
}
