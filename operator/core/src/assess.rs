//! Assesses the pool: its connections, what they ask for, and what may be done about it now.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use wsc_api::v1alpha1::ScalingMode;

use crate::draft::Draft;
use crate::memory::Memory;
use crate::moves::Counter;
use crate::numbers::{count, div_ceil, signed, since};
use crate::outdated;
use crate::pool::{Freshness, Member, Pool, Role};
use crate::scale::{Limit, Load, Scale};
use crate::validate::{Amount, ValidCluster};

/// No scale-down and no rollout for this time after the number of connections grew too fast.
const PANIC: SignedDuration = SignedDuration::from_secs(60);
/// Clients are refused and the pool is as full as this: there is no room anywhere.
const FULL_PERCENT: i64 = 90;

/// Weighs everything; remembers what the window, the panic and the freshness need.
pub(crate) fn assess(draft: &mut Draft<'_>, pool: &Pool<'_>) -> Scale {
    let cluster = draft.cluster;
    let scaling = &cluster.scaling;
    let capacity_per_pod = capacity_per_pod(cluster, pool);
    let target_per_pod = (capacity_per_pod * i64::from(scaling.target_utilization_percent) / 100).max(1);
    let load = load(pool, target_per_pod);
    let serving = count(pool.count(Role::Serving));
    let blind = load.sampled > 0 && (load.stale == load.sampled || load.stale * 2 > load.sampled);
    let mut scale = Scale {
        target_per_pod,
        capacity_per_pod,
        load,
        serving,
        starting: count(pool.starting(draft.memory.starts.stalled())),
        asked: 0,
        want: 0,
        stable: 0,
        desired: 0,
        limit: None,
        blind,
        unknown: load.fresh == 0 && load.sampled > 0,
        panic: false,
        hold: None,
        max_replicas: scaling.max_replicas,
        mode: scaling.mode,
    };
    want(&mut scale, draft);
    scale.panic = panic(draft, pool, &scale);
    fresh_since(draft, &scale);
    scale.hold = hold(draft, pool, &scale);
    scale.desired = desired(draft, &scale);
    if scale.mode == ScalingMode::Replicas && scale.desired < serving && !scale.fits(serving - 1) {
        scale.limit = Some(Limit::InsufficientCapacity);
    }
    scale
}

/// What pods offer; less than the resource says where a pod's limit of open files is lower.
fn capacity_per_pod(cluster: &ValidCluster, pool: &Pool<'_>) -> i64 {
    let offered = pool
        .of(Role::Serving)
        .filter(|member| member.current)
        .filter_map(|member| member.sample.map(|sample| sample.capacity))
        .filter(|capacity| *capacity > 0);
    offered.min().map_or(cluster.server.max_connections, |least| {
        least.min(cluster.server.max_connections)
    })
}

fn load(pool: &Pool<'_>, target_per_pod: i64) -> Load {
    let mut load = Load::default();
    for member in &pool.members {
        let known = member.connections();
        let fresh = member.freshness == Freshness::Fresh;
        let (up, down) = match member.role {
            Role::Dead | Role::Starting => (0, 0),
            // Its clients reconnect elsewhere; it accepts no new ones.
            Role::Terminating => (known, known),
            Role::Serving | Role::Draining | Role::Broken => {
                load.unknown += usize::from(!fresh);
                (known, if fresh { known } else { known.max(target_per_pod) })
            }
        };
        load.up += up;
        load.down += down;
        if member.is_sampled() {
            load.sampled += 1;
            load.fresh += usize::from(fresh);
            load.stale += usize::from(member.freshness == Freshness::Stale);
        }
    }
    load
}

fn want(scale: &mut Scale, draft: &mut Draft<'_>) {
    let scaling = &draft.cluster.scaling;
    let (least, most) = (scaling.min_replicas, scaling.max_replicas);
    let before = draft.observed.status.desired_replicas;
    scale.asked = match scaling.mode {
        ScalingMode::Replicas => i64::from(scaling.replicas),
        // What is not known raises and lowers nothing.
        ScalingMode::Connections if scale.blind || scale.unknown => i64::from(before),
        ScalingMode::Connections => {
            with_buffer(div_ceil(scale.load.up, scale.target_per_pod), scaling.buffer)
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
        ScalingMode::Replicas => scale.want,
        ScalingMode::Connections => draft
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

/// Keeps the maximum of the window first: a smaller number that is older than a larger one will never be the maximum again.
fn remember(memory: &mut Memory, want: i32, window: SignedDuration, now: Timestamp) {
    memory
        .wanted
        .retain(|(at, wanted)| *wanted > want && since(*at, now) <= window);
    memory.wanted.push((now, want));
}

/// Clients come faster than pods: twice the pods are needed, or clients are refused while there is no room.
fn panic(draft: &mut Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> bool {
    let refused = refusals(&mut draft.memory, pool);
    let capacity = i64::from(scale.serving) * scale.capacity_per_pod;
    let full = refused > 0 && scale.load.up * 100 >= capacity * FULL_PERCENT;
    // A minimum that is not there yet is no rush of clients.
    let asked = scale.asked.min(i64::from(draft.cluster.scaling.max_replicas));
    let doubled = scale.serving > 0 && asked >= 2 * i64::from(scale.serving);
    let now = draft.now;
    if scale.mode == ScalingMode::Connections && !scale.blind && (full || doubled) {
        if draft.memory.panic_until.is_none_or(|until| until <= now) {
            draft.line(format!(
                "panic mode for {} s: {refused} handshakes rejected, {} pods recommended, {} serving; no scale-down, no rollout",
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

/// Clients that were refused for want of room since the last plan.
fn refusals(memory: &mut Memory, pool: &Pool<'_>) -> i64 {
    let samples = pool.members.iter().filter_map(|member| member.sample);
    samples
        .map(|sample| {
            let seen = Counter::new(&sample.boot_id, sample.refused_full);
            let rejected = &mut memory.pod(&sample.pod_uid).rejected;
            let rise = rejected.as_ref().map_or(0, |before| before.rise(&seen));
            *rejected = Some(seen);
            rise
        })
        .sum()
}

fn fresh_since(draft: &mut Draft<'_>, scale: &Scale) {
    let fresh = scale.load.stale == 0 && draft.observed.watches_fresh;
    let now = draft.now;
    draft.memory.fresh_since = fresh.then(|| draft.memory.fresh_since.unwrap_or(now));
}

/// The first reason why the pool may not shrink.
fn hold(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> Option<String> {
    if let Some(reason) = common_hold(draft) {
        return Some(reason);
    }
    if scale.load.unknown > 0 {
        return Some(format!("{} pods without a recent sample", scale.load.unknown));
    }
    if outdated::rollout_in_progress(pool) {
        return Some("a rollout is in progress".to_owned());
    }
    if scale.mode == ScalingMode::Replicas {
        return None;
    }
    if scale.panic {
        return Some("panic mode: connections grew too fast in the last minute".to_owned());
    }
    let window = signed(draft.cluster.scaling.stabilization_window);
    let fresh = draft
        .memory
        .fresh_since
        .is_some_and(|at| since(at, draft.now) >= window);
    (!fresh).then(|| "no complete stabilization window of recent samples yet".to_owned())
}

/// Why nothing voluntary may begin at all.
pub(crate) fn common_hold(draft: &Draft<'_>) -> Option<String> {
    let observed = draft.observed;
    if !observed.watches_fresh {
        return Some("the watches are stale".to_owned());
    }
    if let Some(conflict) = observed.conflicts.iter().find(|c| c.kind != "Pod") {
        return Some(format!(
            "{} {} is not controlled by this resource",
            conflict.kind, conflict.name
        ));
    }
    // Written by the same look at the samples that halves the budget: half is the first thing that it becomes.
    (draft.memory.budget.health <= 0.5).then(|| "Redis is unreachable or was until recently".to_owned())
}

fn desired(draft: &Draft<'_>, scale: &Scale) -> i32 {
    let scaling = &draft.cluster.scaling;
    if scale.mode == ScalingMode::Replicas {
        return scale.want;
    }
    if scale.hold.is_some() {
        let before = draft.observed.status.desired_replicas;
        return scale
            .stable
            .max(before)
            .clamp(scaling.min_replicas, scaling.max_replicas);
    }
    let there = (scale.serving + scale.starting).min(scaling.max_replicas);
    let mut desired = there.max(scale.stable);
    while desired > scale.stable && scale.fits(desired - 1) {
        desired -= 1;
    }
    desired
}

/// How many pods may drain at the same time, whatever for.
fn most_drains(cluster: &ValidCluster, serving: i32) -> i32 {
    let most = match cluster.disruption.max_concurrent_drains {
        Amount::Count(pods) => pods,
        Amount::Percent(percent) => div_ceil(i64::from(serving) * percent, 100),
    };
    i32::try_from(most.max(1)).unwrap_or(i32::MAX)
}

/// How many more drains may begin to shrink the pool.
pub(crate) fn slots(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> usize {
    if scale.hold.is_some() {
        return 0;
    }
    let surplus = scale.serving - scale.desired;
    usize::try_from(free_drains(draft, pool, scale).min(surplus)).unwrap_or(0)
}

/// How many more pods may drain, whatever for.
pub(crate) fn free_drains(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> i32 {
    let draining = pool.members.iter().filter(|member| {
        let live = matches!(member.role, Role::Serving | Role::Broken | Role::Draining);
        live && draft.goals.is_leaving(member)
    });
    most_drains(draft.cluster, scale.serving) - count(draining.count())
}

/// Draining pods whose drain is cancelled when clients come back: the fullest first.
pub(crate) fn to_cancel<'a, 'b>(draft: &Draft<'_>, pool: &'b Pool<'a>) -> Vec<&'b Member<'a>> {
    let mut draining: Vec<_> = pool
        .of(Role::Draining)
        .filter(|member| member.current && member.view.ready && member.view.node_ready)
        .filter(|member| !draft.goals.is_taken(member))
        .collect();
    draining.sort_by_key(|member| (std::cmp::Reverse(member.connections()), member.view.serial));
    draining
}
