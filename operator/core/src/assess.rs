//! Assesses the pool: its connections, the pods that they need, and which changes are allowed now.

mod holds;
mod rejections;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::capacity::{self, Capacity};
use crate::draft::Draft;
use crate::hold::Holds;
use crate::memory::Memory;
use crate::numbers::{count, div_ceil, signed, since};
use crate::outdated;
use crate::pool::{Freshness, Member, Pool, Role};
use crate::scale::{Limit, Load, Scale};
use crate::validate::{Amount, Mode, ValidCluster};

/// No scale-down and no rollout for this time after the number of connections grew too fast.
const PANIC: SignedDuration = SignedDuration::from_secs(60);
/// Percentage of the capacity in use from which a rejected handshake means that the pool is full.
const FULL_PERCENT: i64 = 90;

/// Assesses everything; remembers what the window, the panic and the freshness need.
pub(crate) fn assess(draft: &mut Draft<'_>, pool: &Pool<'_>) -> Scale {
    let scaling = &draft.cluster.scaling;
    let rejections = rejections::update(draft, pool);
    let capacity = capacity(draft, pool);
    let load = load(pool, capacity.typical);
    let blind = load.sampled > 0 && load.stale * 2 > load.sampled;
    let mut scale = Scale {
        target_per_pod: capacity.target_per_pod(),
        capacity,
        load,
        serving: count(pool.count(Role::Serving)),
        in_grace: count(pool.of(Role::Serving).filter(|member| member.in_grace).count()),
        starting: count(pool.starting(draft.memory.starts.pods_fail())),
        needed: 0,
        asked: 0,
        want: 0,
        stable: 0,
        desired: 0,
        free: 0,
        limit: None,
        blind,
        unknown: load.fresh == 0 && load.sampled > 0,
        rejected: rejections::are_recent(draft, pool),
        panic: false,
        holds: Holds::default(),
        max_replicas: scaling.max_replicas,
        mode: scaling.mode,
    };
    want(&mut scale, draft, rejections.by_all);
    scale.panic = panic(draft, rejections.clients, &scale);
    fresh_since(draft, &scale);
    scale.holds = holds::all(draft, &scale);
    scale.free = desired(draft, &scale);
    scale.desired = scale.free;
    if scale.shrink_hold().is_some() {
        let least = last_desired(draft, &scale).max(unreplaced(pool).min(scale.max_replicas));
        scale.desired = scale.desired.max(least);
    }
    if scale.mode != Mode::Connections && scale.free > scale.want {
        scale.limit = Some(Limit::InsufficientCapacity);
    }
    scale
}

/// Connections that the pods accept: less than the resource says where the limit of open files is
/// lower or memory is short.
fn capacity(draft: &Draft<'_>, pool: &Pool<'_>) -> Capacity {
    let cluster = draft.cluster;
    let offer = |member: &Member<'_>| {
        let capacity = member.capacity?;
        let full = draft.memory.pods.get(&member.view.uid).and_then(|pod| pod.full);
        Some(full.map_or(capacity, |(_, connections)| {
            capacity.min(connections.max(member.connections()))
        }))
    };
    let of_revision = pool.of(Role::Serving).filter(|member| member.current);
    let known = of_revision.filter_map(offer).filter(|offer| *offer > 0);
    let most = cluster.server.max_connections;
    let typical = capacity::median(known.collect()).map_or(most, |median| median.min(most));
    let or_typical = |member: &Member<'_>| offer(member).unwrap_or(typical);
    let offers = pool.members.iter().map(|member| match member.role {
        Role::Serving | Role::Draining => or_typical(member),
        _ => 0,
    });
    Capacity::new(
        offers.collect(),
        pool.of(Role::Serving).map(or_typical).collect(),
        typical,
        cluster.scaling.target_utilization_percent,
    )
}

fn load(pool: &Pool<'_>, capacity_per_pod: i64) -> Load {
    let mut load = Load::default();
    for member in &pool.members {
        let known = member.connections();
        let fresh = member.freshness == Freshness::Fresh;
        let (up, down) = match member.role {
            Role::Dead | Role::Starting => (0, 0),
            // Its clients reconnect elsewhere; it accepts no new ones. Without a sample HAProxy
            // knows how many are to come.
            Role::Terminating if fresh => (known, known),
            Role::Terminating => (known, known.max(member.sessions.unwrap_or(0))),
            Role::Serving | Role::Draining | Role::Broken => {
                load.unknown += usize::from(!fresh);
                let full = member.capacity.unwrap_or(capacity_per_pod);
                (known, if fresh { known } else { known.max(full) })
            }
        };
        load.up += up;
        load.down += down;
        load.by_proxies += match member.sessions {
            Some(sessions) if !fresh => known.max(sessions).min(down),
            _ => down,
        };
        if member.is_sampled() {
            load.sampled += 1;
            load.fresh += usize::from(fresh);
            load.stale += usize::from(member.is_stale());
        }
    }
    load
}

fn want(scale: &mut Scale, draft: &mut Draft<'_>, none_admits: bool) {
    let scaling = &draft.cluster.scaling;
    let (least, most) = (scaling.min_replicas, scaling.max_replicas);
    let before = draft.observed.status.desired_replicas;
    scale.asked = match scaling.mode {
        Mode::Replicas(replicas) => i64::from(replicas),
        // What is not known raises and lowers nothing.
        Mode::Connections if scale.blind || scale.unknown => i64::from(before),
        Mode::Connections => {
            let needed = scale.capacity.pods_for(scale.load.up);
            scale.needed = needed;
            let more = if none_admits { scale.serving + 1 } else { 0 };
            with_buffer(needed, scaling.buffer).max(i64::from(more))
        }
    };
    let want = scale.asked.clamp(i64::from(least), i64::from(most));
    scale.want = i32::try_from(want).unwrap_or(most);
    scale.limit = match scale.asked.cmp(&want) {
        std::cmp::Ordering::Greater => Some(Limit::AtMaximum),
        std::cmp::Ordering::Less => Some(Limit::AtMinimum),
        std::cmp::Ordering::Equal => None,
    };
    let window = signed(scaling.stabilization_window);
    remember(&mut draft.memory, scale.want, window, draft.now);
    scale.stable = match scaling.mode {
        Mode::Replicas(_) => scale.want,
        Mode::Connections => draft
            .memory
            .wanted
            .first()
            .map_or(scale.want, |(_, most)| *most)
            .clamp(least, most),
    };
}

/// A percentage is one of the pool that results.
fn with_buffer(pods: i64, buffer: Amount) -> i64 {
    match buffer {
        Amount::Count(buffer) => pods.saturating_add(buffer),
        Amount::Percent(percent) => div_ceil(pods.saturating_mul(100), 100 - percent),
    }
}

/// Keeps the maximum of the window first: a smaller number that is older than a larger one will
/// never be the maximum again.
fn remember(memory: &mut Memory, want: i32, window: SignedDuration, now: Timestamp) {
    memory
        .wanted
        .retain(|(at, wanted)| *wanted > want && since(*at, now) <= window);
    memory.wanted.push((now, want));
}

/// Twice the pods are needed, or handshakes are rejected while the pool is full.
fn panic(draft: &mut Draft<'_>, rejected: i64, scale: &Scale) -> bool {
    let full = rejected > 0 && scale.load.up * 100 >= scale.capacity.total() * FULL_PERCENT;
    // The minimum, the buffer and pods that accept none yet are no growth of connections.
    let needed = scale.needed.min(i64::from(draft.cluster.scaling.max_replicas));
    let doubled = scale.serving > 0 && needed >= 2 * i64::from(scale.serving);
    let now = draft.now;
    if scale.mode == Mode::Connections && !scale.blind && (full || doubled) {
        if draft.memory.panic_until.is_none_or(|until| until <= now) {
            draft.line(format!(
                "panic mode for {} s: {rejected} handshakes rejected, {} pods recommended, {} serving; no scale-down, no rollout",
                PANIC.as_secs(),
                scale.want,
                scale.serving
            ));
        }
        draft.memory.panic_until = Some(now + PANIC);
    }
    draft.memory.panic_until = draft.memory.panic_until.filter(|until| *until > now);
    draft.memory.panic_until.is_some()
}

fn fresh_since(draft: &mut Draft<'_>, scale: &Scale) {
    let fresh = scale.load.stale <= holds::tolerated(scale.load.sampled) && draft.observed.watches_fresh;
    let now = draft.now;
    draft.memory.fresh_since = fresh.then(|| draft.memory.fresh_since.unwrap_or(now));
}

/// Serving pods but those that a rollout added: a hold that begins in the middle of a scale-down
/// keeps them all.
fn unreplaced(pool: &Pool<'_>) -> i32 {
    let rolls = outdated::rollout_in_progress(pool);
    let serving = pool.of(Role::Serving);
    count(serving.filter(|member| !rolls || !member.current).count())
}

/// The last number, unless more are needed or fewer are enough. In mode `Replicas`, too: the
/// clients of a pool that is to be smaller find room first.
fn desired(draft: &Draft<'_>, scale: &Scale) -> i32 {
    let mut desired = last_desired(draft, scale);
    while desired > scale.stable && scale.fits(desired - 1) {
        desired -= 1;
    }
    desired
}

/// What the pool was brought to until now, or more.
fn last_desired(draft: &Draft<'_>, scale: &Scale) -> i32 {
    let scaling = &draft.cluster.scaling;
    let before = draft.observed.status.desired_replicas;
    scale
        .stable
        .max(before)
        .clamp(scaling.min_replicas, scaling.max_replicas)
}

/// How many pods may drain at the same time, for all reasons together.
fn most_drains(cluster: &ValidCluster, serving: i32) -> i32 {
    let most = match cluster.disruption.max_concurrent_drains {
        Amount::Count(pods) => pods,
        Amount::Percent(percent) => div_ceil(i64::from(serving) * percent, 100),
    };
    i32::try_from(most.max(1)).unwrap_or(i32::MAX)
}

/// How many more drains may begin to shrink the pool.
pub(crate) fn slots(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> usize {
    if scale.shrink_hold().is_some() {
        return 0;
    }
    let surplus = scale.serving - scale.desired;
    usize::try_from(free_drains(draft, pool, scale).min(surplus)).unwrap_or(0)
}

/// How many more pods may drain, for all reasons together.
pub(crate) fn free_drains(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> i32 {
    let draining = pool.members.iter().filter(|member| {
        let live = matches!(member.role, Role::Serving | Role::Broken | Role::Draining);
        live && draft.goals.is_leaving(member)
    });
    most_drains(draft.cluster, scale.serving) - count(draining.count())
}

/// Draining pods whose drain is cancelled when demand rises again, the fullest first.
pub(crate) fn to_cancel<'a, 'b>(draft: &Draft<'_>, pool: &'b Pool<'a>) -> Vec<&'b Member<'a>> {
    let mut draining: Vec<_> = pool
        .of(Role::Draining)
        .filter(|member| member.current && member.view.ready && member.view.node_ready)
        .filter(|member| !draft.goals.is_taken(member))
        .filter(|member| !draft.memory.is_mark_delayed(member.view, draft.now))
        .collect();
    draining.sort_by_key(|member| (std::cmp::Reverse(member.connections()), member.view.serial));
    draining
}
