//! A new pod template replaces the pods: new ones first, and old ones drain as soon as new ones are
//! proven.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::assess;
use crate::draft::Draft;
use crate::goal::{Goal, Intent, NAMES, Report};
use crate::numbers::{count, since};
use crate::observed::{DrainReason, Sample};
use crate::pool::{Member, Pool, Role, Wait};
use crate::scale::Scale;
use crate::startup;
use crate::victim;

/// Time for which a new pod must be ready before an old one drains.
const MIN_READY: SignedDuration = SignedDuration::from_secs(10);

/// A new pod that no node has room for waits this long before an old one makes room for it.
const NO_ROOM: SignedDuration = SignedDuration::from_mins(2);

/// The template went back to what these pods have: they stay.
pub(crate) fn roll_back(draft: &Draft<'_>, pool: &Pool<'_>) -> Vec<Intent> {
    let reverted = pool
        .draining_for(DrainReason::Rollout)
        .filter(|member| member.current && member.view.ready && !draft.goals.is_taken(member))
        .filter(|member| !draft.memory.is_mark_delayed(member.view, draft.now));
    reverted
        .map(|member| {
            let what = format!(
                "cancel the drain of {}: its template is current again",
                member.view.name
            );
            let report = Report {
                action: "CancelDrain",
                reason: "TemplateReverted",
                what,
            };
            Intent::pod(member, Goal::Keep, report)
        })
        .collect()
}

/// The next steps: new pods first, then drains of old ones, as many at a time as
/// `maxConcurrentDrains` allows.
pub(crate) fn step(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Vec<Intent> {
    let old = victim::for_rollout(pool, scale.target_per_pod);
    if old.is_empty() {
        return Vec::new();
    }
    let proven = proven(draft, pool);
    let no_room = no_room(draft, pool, scale);
    let waits = pool
        .of(Role::Starting)
        .any(|member| member.wait == Some(Wait::Node));
    let (surge, no_surge) = match surge(draft, pool, scale, count(old.len()), proven) {
        Ok(_) if waits => (
            None,
            Some("waiting for a node with room for the new pod".to_owned()),
        ),
        Ok(intent) => (Some(intent), None),
        Err(wait) => (None, wait),
    };
    let (mut intents, no_drain) = drains(draft, pool, scale, &old, no_room.as_ref());
    let wait = no_room.map(|no_room| no_room.wait(intents.is_empty(), no_drain.as_deref()));
    draft.rollout_wait = wait.or(no_surge.or(no_drain.filter(|_| surge.is_none() && intents.is_empty())));
    intents.extend(surge);
    intents
}

/// The next steps while pods are missing: these come first, unless there is no room for them. Then
/// old pods drain, one at a time, for the new template may need less, or be what the pool waits
/// for.
pub(crate) fn step_with_missing(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Vec<Intent> {
    let old = victim::for_rollout(pool, scale.target_per_pod);
    let no_room = no_room(draft, pool, scale).filter(|_| !old.is_empty());
    let Some(no_room) = no_room else {
        draft.rollout_wait = wait_for_missing(draft, pool);
        return Vec::new();
    };
    let (intents, no_drain) = if no_room.drains_first {
        drains(draft, pool, scale, &old, Some(&no_room))
    } else {
        (Vec::new(), None)
    };
    draft.rollout_wait = Some(no_room.wait(intents.is_empty(), no_drain.as_deref()));
    intents
}

/// A new pod cannot exist beside all pods that are there.
struct NoRoom {
    /// An old pod drains before its successor is there.
    drains_first: bool,
    /// The cause.
    why: String,
}

impl NoRoom {
    /// What the rollout waits for.
    fn wait(&self, none_drains: bool, no_drain: Option<&str>) -> String {
        match no_drain.filter(|_| self.drains_first && none_drains) {
            Some(no_drain) => format!("{}; no old one drains first: {no_drain}", self.why),
            None if self.drains_first => format!("{}; old ones drain first", self.why),
            None => self.why.clone(),
        }
    }
}

fn no_room(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Option<NoRoom> {
    if let Some(no_node) = &draft.observed.no_node {
        // The place of an old pod would be too small, too.
        return Some(NoRoom {
            drains_first: false,
            why: no_node.text(),
        });
    }
    let why = why_no_room(draft, pool)?;
    let drains_first = may_go_first(draft, pool, scale);
    let why = format!("there is no room for one more pod: {why}");
    Some(NoRoom { drains_first, why })
}

fn why_no_room(draft: &Draft<'_>, pool: &Pool<'_>) -> Option<String> {
    if let Some(quota) = draft.memory.starts.used_up_quota() {
        return Some(quota.to_owned());
    }
    let waits = |member: &&Member<'_>| {
        let long = since(member.first_seen, draft.now) >= NO_ROOM;
        member.current && member.wait == Some(Wait::Node) && long
    };
    let waiting = pool.of(Role::Starting).find(waits)?;
    let reason = waiting.view.waiting_reason.as_deref();
    Some(format!(
        "{} is {}",
        waiting.view.name,
        reason.unwrap_or("not scheduled")
    ))
}

/// An old pod may drain before its successor is there: others take its clients, and the last one
/// that did so has a successor.
fn may_go_first(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> bool {
    // Pods that leave still use what a new one needs.
    let leaving = pool.members.iter().any(|member| {
        let terminates = member.role == Role::Terminating && member.view.node_ready;
        terminates || member.role == Role::Draining && draft.goals.is_leaving(member)
    });
    scale.serving > 1 && !leaving && (scale.serving >= scale.desired || is_replaced(draft, pool))
}

/// Pods are missing. A new pod serves for the last old one that made room, and none is on its way:
/// a template that needs more room than an old pod leaves, or does not start, drains one pod, not
/// one after the other.
fn is_replaced(draft: &Draft<'_>, pool: &Pool<'_>) -> bool {
    let mut current = pool.members.iter().filter(|member| member.current);
    let on_its_way = pool.reserved > 0
        || current.any(|member| match member.role {
            Role::Starting => member.wait != Some(Wait::Node),
            Role::Broken => true,
            _ => false,
        });
    // What made room before the operator started is not known.
    let started_at = draft.memory.started_at;
    let is_known = started_at.is_some_and(|at| since(at, draft.now) >= NO_ROOM);
    let starts = &draft.memory.starts;
    let made_room = starts
        .made_room_at
        .is_none_or(|before| serving_current(pool) > before);
    !on_its_way && is_known && made_room && !starts.pods_fail()
}

fn serving_current(pool: &Pool<'_>) -> i32 {
    count(pool.of(Role::Serving).filter(|member| member.current).count())
}

/// Pods by which old ones may be replaced.
fn proven(draft: &Draft<'_>, pool: &Pool<'_>) -> i32 {
    let current = pool.of(Role::Serving).filter(|member| member.current);
    count(current.filter(|member| is_proven(member, draft.now)).count())
}

/// A pod of the current template by which old ones may be replaced: healthy by every measure that
/// holds a drain.
fn is_proven(member: &Member<'_>, now: Timestamp) -> bool {
    // A pod at its connection limit is well; one that is short of memory is not.
    let accepts = |sample: &Sample| sample.admits || sample.connections >= sample.capacity;
    let healthy = member
        .sample
        .is_some_and(|sample| sample.broker_up && accepts(sample));
    healthy && member.ready_since.is_some_and(|at| since(at, now) >= MIN_READY)
}

/// New pods, one until the first is proven; why there are none, if no drain is the reason.
fn surge(
    draft: &Draft<'_>,
    pool: &Pool<'_>,
    scale: &Scale,
    old: i32,
    proven: i32,
) -> Result<Intent, Option<String>> {
    let starts = &draft.memory.starts;
    if let Some(stall) = starts.stall().filter(|_| starts.pods_fail()) {
        return Err(Some(stall.message));
    }
    if starts.next_try().is_some_and(|at| draft.now < at) {
        let why = starts.refusal().unwrap_or("it is tried again later");
        return Err(Some(not_created(why)));
    }
    let most = if proven > 0 {
        startup::surge(scale.desired)
    } else {
        1
    };
    let there = scale.serving + scale.starting - scale.desired;
    let pods = usize::try_from((most - there).min(old - there)).unwrap_or(0);
    let pods = pods.min(startup::room(draft, pool));
    if pods == 0 {
        return Err((scale.starting > 0).then(|| starting(pool)));
    }
    let report = Report {
        action: "Replace",
        reason: "TemplateChanged",
        what: format!("create {NAMES} with the new template, outdated pods: {old}"),
    };
    Ok(Intent::Create { pods, report })
}

fn not_created(why: &str) -> String {
    format!("a new pod was not created: {why}")
}

/// What the new pods wait for.
fn starting(pool: &Pool<'_>) -> String {
    let mut new = pool.of(Role::Starting).filter(|member| member.current);
    if new.clone().any(|member| member.wait == Some(Wait::Redis)) {
        return "new pods are not ready because they have no connection to Redis; check spec.redis and the network".to_owned();
    }
    let failing = new.find_map(|member| Some((member, member.view.waiting_reason.as_ref()?)));
    failing.map_or_else(
        || "waiting for new pods to be ready".to_owned(),
        |(member, reason)| format!("waiting for {}, which is not ready: {reason}", member.view.name),
    )
}

/// Why the rollout does not go on while pods are missing: they come first.
fn wait_for_missing(draft: &Draft<'_>, pool: &Pool<'_>) -> Option<String> {
    let starts = &draft.memory.starts;
    if let Some(stall) = starts.stall().filter(|_| starts.pods_fail()) {
        return Some(stall.message);
    }
    let waiting = || {
        let starts = pool.of(Role::Starting).next().is_some();
        starts.then(|| starting(pool))
    };
    starts.refusal().map(not_created).or_else(waiting)
}

/// Drains of old pods for which proven ones are there; why there is none.
fn drains(
    draft: &mut Draft<'_>,
    pool: &Pool<'_>,
    scale: &Scale,
    old: &[&Member<'_>],
    no_room: Option<&NoRoom>,
) -> (Vec<Intent>, Option<String>) {
    let goes_first = no_room.is_some_and(|no_room| no_room.drains_first);
    let needed = if goes_first {
        scale.desired.min(scale.serving) - 1
    } else {
        scale.desired
    };
    let reliable = pool.of(Role::Serving).filter(|member| !member.in_grace);
    let serving_old = reliable.clone().filter(|member| !member.current);
    let spare = count(serving_old.count()) + proven(draft, pool) - needed;
    if spare <= 0 {
        let message =
            "waiting for new pods to be Ready for 10 s, to respond, to accept connections and to reach Redis";
        return (Vec::new(), Some(message.to_owned()));
    }
    let free = assess::free_drains(draft, pool, scale).min(spare);
    let free = usize::try_from(free).unwrap_or(0);
    let mut room: i64 = reliable.map(|member| offer(scale, member)).sum();
    let mut wait = (free == 0).then(|| "waiting for drains to end".to_owned());
    let mut intents = Vec::new();
    for member in old.iter().filter(|member| !draft.goals.is_taken(member)) {
        if intents.len() == free {
            break;
        }
        if let Some(hold) = scale.holds.protects(member) {
            wait.get_or_insert_with(|| hold.text());
            continue;
        }
        // The clients of the pod must find room elsewhere; templates may differ in how much a pod
        // takes.
        let rest = if member.in_grace {
            room
        } else {
            room - offer(scale, member)
        };
        if scale.load.by_proxies > rest && !is_cure(scale, member, no_room.is_some()) {
            wait.get_or_insert_with(|| {
                "the clients of one more pod would not fit into the others; more capacity is needed"
                    .to_owned()
            });
            continue;
        }
        room = rest;
        intents.push(drain(draft, member, old.len()));
    }
    if goes_first && !intents.is_empty() {
        draft.memory.starts.made_room_at = Some(serving_current(pool));
    }
    (intents, wait)
}

/// The pool is full and cannot grow, and a new pod accepts more connections than this one: waiting
/// would not make room.
fn is_cure(scale: &Scale, member: &Member<'_>, no_room: bool) -> bool {
    let is_limited = no_room || scale.desired >= scale.max_replicas;
    scale.rejected && is_limited && offer(scale, member) < scale.capacity.typical
}

fn offer(scale: &Scale, member: &Member<'_>) -> i64 {
    scale.capacity.offers.get(member.index).copied().unwrap_or(0)
}

fn drain(draft: &Draft<'_>, member: &Member<'_>, old: usize) -> Intent {
    let what = format!("drain {}, outdated pods: {old}", member.described());
    let report = Report {
        action: "Replace",
        reason: "TemplateChanged",
        what,
    };
    let goal = Goal::leave(draft.cluster, DrainReason::Rollout, draft.now);
    Intent::pod(member, goal, report)
}
