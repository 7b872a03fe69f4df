//! How many server pods there should be.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use wsc_api::v1alpha1::{Decision, ScalingMode};

use crate::draft::{Draft, Verdict};
use crate::memory::Memory;
use crate::numbers::{count, div_ceil, signed, since, whole_second};
use crate::outdated;
use crate::plan::EventKind;
use crate::pool::{Freshness, Member, Pool, Role};
use crate::validate::{Amount, ValidCluster};

/// The pool shrinks only while its clients fit into this share of the target of the pods that remain.
const MARGIN_PERCENT: i64 = 10;
/// No scale-down and no rollout for this time after the number of connections grew too fast.
const PANIC: SignedDuration = SignedDuration::from_secs(60);
/// Clients are refused and the pool is as full as this: there is no room anywhere.
const FULL_PERCENT: i64 = 90;

/// The connections of a pool, seen from both sides of what is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// For growing: what is missing counts as nothing.
    pub(crate) up: i64,
    /// For shrinking: what is missing counts as full.
    pub(crate) down: i64,
    /// Pods that ought to have samples, and of these the ones that have a fresh one, and the ones that should have had one.
    pub(crate) sampled: usize,
    pub(crate) fresh: usize,
    pub(crate) stale: usize,
    /// Pods with an unknown number of connections.
    pub(crate) unknown: usize,
}

/// Why the wanted number is not what the connections or the user ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    AtMinimum,
    AtMaximum,
    /// In mode `Replicas`: the clients would not fit into fewer pods.
    InsufficientCapacity,
}

/// How many pods, and why.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale {
    /// Connections that a pod should have.
    pub(crate) target_per_pod: i64,
    /// Connections that a pod can have.
    pub(crate) capacity_per_pod: i64,
    pub(crate) load: Load,
    pub(crate) serving: i32,
    pub(crate) starting: i32,
    /// Asked for now, unclamped.
    pub(crate) asked: i64,
    /// Wanted now.
    pub(crate) want: i32,
    /// The most that was wanted in the stabilization window.
    pub(crate) stable: i32,
    /// What the pool is brought to.
    pub(crate) desired: i32,
    pub(crate) limit: Option<Limit>,
    /// Too little is known about connections to decide anything.
    pub(crate) blind: bool,
    /// No sample at all, as right after a start.
    pub(crate) unknown: bool,
    pub(crate) panic: bool,
    /// Why no pod may be drained to shrink the pool now.
    pub(crate) hold: Option<String>,
    max_replicas: i32,
    mode: ScalingMode,
}

impl Scale {
    /// Whether the clients fit into this number of pods.
    pub(crate) fn fits(&self, pods: i32) -> bool {
        let room = match self.mode {
            // Above the maximum there is nothing to weigh.
            _ if pods >= self.max_replicas => return true,
            ScalingMode::Replicas => return self.load.down <= i64::from(pods) * self.capacity_per_pod,
            ScalingMode::Connections => i64::from(pods) * self.target_per_pod,
        };
        self.load.down * 100 <= room * (100 - MARGIN_PERCENT)
    }

    /// The inputs of decisions as text.
    fn inputs(&self) -> String {
        let Load { up, down, .. } = self.load;
        let connections = if up == down {
            up.to_string()
        } else {
            format!("{up} to {down}")
        };
        format!(
            "{connections} connections, target {} per pod, recommended {}, stabilized {}, desired {}, serving {}, starting {}",
            self.target_per_pod, self.want, self.stable, self.desired, self.serving, self.starting
        )
    }

    /// Reports a decision that changed something, with its inputs: in the log, as an event and in the status.
    pub(crate) fn report(&self, draft: &mut Draft<'_>, verdict: Verdict, what: &str) {
        let inputs = self.inputs();
        draft.line(format!(
            "{} ({}): {what}; {inputs}",
            verdict.action, verdict.reason
        ));
        draft.event(EventKind::Normal, verdict.reason, verdict.action, what.to_owned());
        draft.decision = Some(Decision {
            time: Time(whole_second(draft.now)),
            action: verdict.action.to_owned(),
            reason: verdict.reason.to_owned(),
            message: format!("{what}; {inputs}"),
            desired_replicas: self.desired,
            connections: self.load.up,
            target_per_pod: self.target_per_pod,
        });
    }
}

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
fn remember(memory: &mut Memory, want: i32, window: SignedDuration, now: k8s_openapi::jiff::Timestamp) {
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
            let seen = (sample.boot_id.clone(), sample.refused_full);
            match memory.refused_full.insert(sample.pod_uid.clone(), seen) {
                Some((boot_id, before)) if boot_id == sample.boot_id => (sample.refused_full - before).max(0),
                Some(_) => sample.refused_full.max(0),
                None => 0,
            }
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
        live && draft.state(member.view).is_draining() && !draft.is_deleted(member.view)
    });
    most_drains(draft.cluster, scale.serving) - count(draining.count())
}

/// Draining pods whose drain is cancelled when clients come back: the fullest first.
pub(crate) fn to_cancel<'a, 'b>(draft: &Draft<'_>, pool: &'b Pool<'a>) -> Vec<&'b Member<'a>> {
    let mut draining: Vec<_> = pool
        .of(Role::Draining)
        .filter(|member| member.current && member.view.ready && member.view.node_ready)
        .filter(|member| !draft.is_taken(member.view))
        .collect();
    draining.sort_by_key(|member| (std::cmp::Reverse(member.connections()), member.view.serial));
    draining
}
