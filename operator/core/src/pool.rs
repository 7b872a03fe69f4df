//! What each server pod counts as.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::memory::{Memory, PodMemory};
use crate::numbers::since;
use crate::observed::{DrainReason, Observed, PodState, PodView, Sample};
use crate::reach::{self, FRESH};

/// Data that is older is no data.
const NO_DATA: SignedDuration = SignedDuration::from_secs(150);
/// Clients that lost their connection have reconnected after this time.
const RECONNECTED: SignedDuration = SignedDuration::from_secs(30);
/// A container that the kubelet restarts is back by then; a pod that stays un-Ready longer is no
/// capacity.
const UNREADY_GRACE: SignedDuration = SignedDuration::from_secs(15);
/// A pod that the kubelet has reported an error of for this long, since it was scheduled, has
/// failed to start.
const ERROR_DEADLINE: SignedDuration = SignedDuration::from_secs(90);

/// What a pod counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Created, never ready yet.
    Starting,
    /// In rotation, and capacity.
    Serving,
    /// In rotation by its label, but neither Ready nor reachable: no capacity.
    Broken,
    /// Cordoned, shedding or being removed.
    Draining,
    /// Deleted by another client of the API; its clients will reconnect elsewhere.
    Terminating,
    /// Failed or succeeded.
    Dead,
}

/// What a starting pod waits for that is no failure of its template, however long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A node with room for it.
    Node,
    /// Redis: its server runs and responds.
    Redis,
}

/// Whether the number of connections of a pod is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// None yet, and it is too early to expect one.
    Awaited,
    Stale,
}

/// One server pod.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each seen on its own"
)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    /// Its place in the pool.
    pub(crate) index: usize,
    pub(crate) view: &'a PodView,
    pub(crate) role: Role,
    /// The sample, if it is fresh.
    pub(crate) sample: Option<&'a Sample>,
    pub(crate) freshness: Freshness,
    /// Connections, unless the newest sample is too old to say.
    pub(crate) known: Option<i64>,
    /// Connections to it by HAProxy, if every proxy reports them.
    pub(crate) sessions: Option<i64>,
    /// Connections that it takes at most, by the same sample.
    pub(crate) capacity: Option<i64>,
    /// When it was first seen, and since when it has been Ready, by the clock of the operator.
    pub(crate) first_seen: Timestamp,
    pub(crate) ready_since: Option<Timestamp>,
    /// It has the current template.
    pub(crate) current: bool,
    /// It counts as serving although it is not Ready, since it has not been so for long: no drain
    /// may rely on it.
    pub(crate) in_grace: bool,
    /// The API server may have marked it as draining: the watch does not show whether it has.
    pub(crate) may_drain: bool,
    /// What it waits for, while it starts.
    pub(crate) wait: Option<Wait>,
    /// It has failed to start: its deadline is over.
    pub(crate) late: bool,
}

/// The server pods, by serial.
#[derive(Clone, Debug)]
pub(crate) struct Pool<'a> {
    pub(crate) members: Vec<Member<'a>>,
    /// Serials whose pods are not seen yet: each counts as starting.
    pub(crate) reserved: usize,
}

impl<'a> Pool<'a> {
    /// `memory` has looked at the same pods already; it learns which of them wait for Redis.
    pub(crate) fn new(
        observed: &'a Observed,
        memory: &mut Memory,
        revision: &str,
        start_deadline: SignedDuration,
        now: Timestamp,
    ) -> Self {
        let started_at = memory.started_at;
        let mut members: Vec<_> = observed
            .pods
            .values()
            .map(|view| {
                let mut member = member(view, observed, memory, revision, now);
                member.late = is_late(&member, memory.pod(&view.uid), start_deadline, started_at, now);
                member
            })
            .collect();
        members.sort_by_key(|member| member.view.serial);
        for (index, member) in members.iter_mut().enumerate() {
            member.index = index;
        }
        Self {
            members,
            reserved: observed.reserved_serials.len(),
        }
    }

    pub(crate) fn of(&self, role: Role) -> impl Iterator<Item = &Member<'a>> + Clone {
        self.members.iter().filter(move |member| member.role == role)
    }

    pub(crate) fn count(&self, role: Role) -> usize {
        self.of(role).count()
    }

    /// Pods that exist or will in a moment and do not leave, on nodes that work: their number is
    /// limited.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members.iter().filter(|member| match member.role {
            Role::Starting | Role::Serving => true,
            Role::Broken => member.view.node_ready,
            Role::Draining | Role::Terminating | Role::Dead => false,
        })
    }

    /// Pods that will be capacity soon. Late ones are none, unless the pool has given up on
    /// replacing them.
    pub(crate) fn starting(&self, late_too: bool) -> usize {
        let pods = self
            .of(Role::Starting)
            .filter(|member| member.current && (late_too || !member.late))
            .count();
        pods + self.reserved
    }

    pub(crate) fn draining_for(&self, reason: DrainReason) -> impl Iterator<Item = &Member<'a>> {
        self.of(Role::Draining)
            .filter(move |member| member.reason() == reason)
    }
}

impl Member<'_> {
    pub(crate) fn connections(&self) -> i64 {
        self.known.unwrap_or(0)
    }

    /// Name and connections, for messages.
    pub(crate) fn described(&self) -> String {
        format!("{} with {} connections", self.view.name, self.connections())
    }

    /// Why it drains. A label without annotations (a person, or a write that was cut in two) counts
    /// as scale-down.
    pub(crate) fn reason(&self) -> DrainReason {
        self.view
            .drain
            .as_ref()
            .map_or(DrainReason::ScaleDown, |drain| drain.reason)
    }

    /// No response although one is due.
    pub(crate) fn is_stale(&self) -> bool {
        self.freshness == Freshness::Stale
    }

    /// Scaling counts on its samples.
    pub(crate) fn is_sampled(&self) -> bool {
        matches!(self.role, Role::Serving | Role::Draining)
    }
}

fn member<'a>(
    view: &'a PodView,
    observed: &'a Observed,
    memory: &Memory,
    revision: &str,
    now: Timestamp,
) -> Member<'a> {
    let newest = observed.samples.get(&view.name);
    let newest = newest.filter(|sample| sample.pod_uid == view.uid);
    let sample = newest.filter(|sample| since(sample.at, now) <= FRESH);
    let known = newest.filter(|sample| since(sample.at, now) <= NO_DATA);
    let times = memory.pods.get(&view.uid);
    let ready_since = times.and_then(|pod| pod.ready_since);
    let freshness = match sample {
        Some(_) => Freshness::Fresh,
        None if reach::is_awaited(memory.started_at, ready_since, now) => Freshness::Awaited,
        None => Freshness::Stale,
    };
    let role = role(view, observed, memory, now);
    Member {
        index: 0,
        view,
        role,
        sample,
        freshness,
        known: known.map(|sample| connections(sample, role, now)),
        sessions: reach::sessions(view, observed),
        capacity: known
            .map(|sample| sample.capacity)
            .filter(|capacity| *capacity > 0),
        first_seen: times.and_then(|pod| pod.first_seen).unwrap_or(now),
        ready_since,
        current: view.template_hash == revision,
        in_grace: role == Role::Serving && !view.ready && (view.node_ready || !reach::is_up(view, observed)),
        may_drain: times.and_then(|pod| pod.unconfirmed_drain.as_ref()) == Some(&view.resource_version),
        wait: (role == Role::Starting).then(|| wait(view, sample)).flatten(),
        late: false,
    }
}

fn wait(view: &PodView, sample: Option<&Sample>) -> Option<Wait> {
    if !view.scheduled {
        return Some(Wait::Node);
    }
    sample
        .is_some_and(|sample| !sample.broker_up)
        .then_some(Wait::Redis)
}

/// The deadline runs from when the pod had a node and its server reached Redis. What it waited for
/// before the operator started is not known.
fn is_late(
    member: &Member<'_>,
    memory: &mut PodMemory,
    start_deadline: SignedDuration,
    started_at: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    if member.wait == Some(Wait::Redis) {
        memory.redis_missing_at = Some(now);
    }
    if member.wait == Some(Wait::Node) {
        memory.unscheduled_at = Some(now);
    }
    let waited = memory.redis_missing_at.max(memory.unscheduled_at).max(started_at);
    let elapsed = since(
        waited.map_or(member.first_seen, |at| at.max(member.first_seen)),
        now,
    );
    let failing = member.view.waiting_reason.is_some() && elapsed > ERROR_DEADLINE;
    member.role == Role::Starting && member.wait.is_none() && (failing || elapsed > start_deadline)
}

/// Clients of a lost pod reconnect elsewhere and are counted there: its last number counts for less
/// each second.
fn connections(sample: &Sample, role: Role, now: Timestamp) -> i64 {
    let age = since(sample.at, now);
    if !matches!(role, Role::Broken | Role::Terminating) || age <= FRESH {
        return sample.connections;
    }
    let left = (RECONNECTED - (age - FRESH)).max(SignedDuration::ZERO);
    sample.connections * left.as_secs() / RECONNECTED.as_secs()
}

fn role(view: &PodView, observed: &Observed, memory: &Memory, now: Timestamp) -> Role {
    if view.has_ended() {
        return Role::Dead;
    }
    if view.terminating {
        return Role::Terminating;
    }
    if view.state.is_draining() {
        return Role::Draining;
    }
    let times = memory.pods.get(&view.uid);
    // The write of its label may have failed while it served.
    let served = times.is_some_and(|pod| pod.first_ready.is_some()) || reach::has_sessions(view, observed);
    if view.state == PodState::Starting && !view.ready && !served {
        return Role::Starting;
    }
    if times.is_some_and(|pod| pod.is_lost) {
        return Role::Broken;
    }
    let unready_since = times.and_then(|pod| pod.unready_since);
    let briefly = unready_since.is_none_or(|at| since(at, now) <= UNREADY_GRACE);
    // Kubelet down is not pod down: what HAProxy finds up serves.
    if (view.node_ready && (view.ready || briefly)) || reach::is_up(view, observed) {
        Role::Serving
    } else {
        Role::Broken
    }
}
