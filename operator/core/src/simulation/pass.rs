//! One pass of the operator, as `operator/controller` makes it: writes may be lost or their
//! answers, and it may crash between them.

use std::collections::BTreeMap;

use super::api::Refusal;
use super::invariants;
use super::operator::Operator;
use super::server::Server;
use super::settings::{at, images};
use super::world::World;
use crate::observed::{ChildKind, Observed, Sample, SharedPod};
use crate::plan::{ControlCall, ControlVerb, Plan};
use crate::validate::ValidCluster;
use crate::{decide, outlook, pins, resources, status};
use wsc_api::v1alpha1::WebSocketClusterStatus;
use wsc_contract::names;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Through,
    /// It never arrives.
    Lost,
    /// It is done, but its answer never arrives.
    Unheard,
}

/// The process ended in the middle.
pub(super) struct Dead;

/// A write that did not succeed, as far as its writer knows.
enum Failed {
    Refused,
    Unknown,
}

/// Asks all pods and agents, as every few seconds.
pub(super) fn sample(world: &mut World) {
    let lost = world.faults.samples_lost_percent;
    for pod in world.operator.pods.clone().values() {
        let there = pod.ip.is_some() && world.servers.contains_key(&pod.uid);
        if there
            && !world.random.chance(lost)
            && let Some(sample) = stats(world, &pod.uid)
        {
            world.operator.samples.sampled(sample);
        }
    }
    let uids = world.uids();
    world
        .crowd
        .ask_agents(world.clock, &world.servers, &uids, lost, &mut world.random);
}

fn stats(world: &mut World, uid: &str) -> Option<Sample> {
    let clock = world.clock;
    let redis = world.faults.redis_down_until <= clock;
    let server: &mut Server = world
        .servers
        .get_mut(uid)
        .filter(|server| server.answers(clock))?;
    server.heard_at = clock;
    Some(Sample {
        at: at(clock),
        pod_uid: uid.to_owned(),
        boot_id: server.boot.to_string(),
        connections: world.crowd.on(uid).0,
        capacity: server.capacity(),
        admits: !server.cordoned && world.crowd.on(uid).0 < server.limit(),
        cordoned: server.cordoned,
        refused_full: server.refused_full,
        shed_total: server.done,
        shed_target: server.target,
        broker_up: server.broker_up(redis),
        zero_in_a_row: 0,
    })
}

/// The samples are a reason for a pass, as the shell finds it out.
pub(super) fn is_due(world: &mut World) -> bool {
    let Some(before) = world.operator.quiet.take() else {
        return true;
    };
    let observed = observe(world);
    let cluster = pinned(world, &observed);
    let now = at(world.clock);
    let revision = resources::template_hash(&cluster);
    let seen = outlook(&cluster, &revision, &observed, &world.operator.memory, now);
    let is_due = !seen.is_same(&before);
    if !is_due {
        seen.confirm(&mut world.operator.memory, now);
        world.operator.quiet = Some(before);
    }
    is_due
}

fn views(operator: &Operator) -> BTreeMap<String, SharedPod> {
    let pods = operator.pods.iter();
    pods.map(|(name, pod)| (name.clone(), pod.clone().into()))
        .collect()
}

fn pinned(world: &World, observed: &Observed) -> ValidCluster {
    pins::resolve(world.cluster.clone(), observed, &images(world.release))
}

pub(super) fn observe(world: &mut World) -> Observed {
    let (api, clock) = (&world.api, world.clock);
    let operator = &mut world.operator;
    let mut status = operator.resource.status.clone();
    let seen = operator.pods.values().map(|pod| pod.serial).collect();
    status.next_serial = operator.serials.observe(status.next_serial, &seen, at(clock));
    for serial in operator.serials.due(at(clock)) {
        let name = names::server_pod(&world.cluster.name, serial);
        if api.pods.contains_key(&name) {
            operator.serials.exists(serial, at(clock));
        } else {
            operator.serials.release(serial);
        }
    }
    Observed {
        status,
        generation: world.cluster.generation,
        pods: views(operator),
        children: api.children.clone(),
        proxies: world.crowd.proxy_views(clock),
        samples: operator
            .pods
            .values()
            .filter_map(|pod| Some((pod.name.clone(), operator.samples.get(&pod.uid)?.clone())))
            .collect(),
        proxy_ready: Some(2),
        redis_ready: Some(1),
        reserved_serials: operator.serials.pending(),
        watches_fresh: world
            .faults
            .watch_stalled_since
            .is_none_or(|since| clock - since <= 150),
        ..Observed::default()
    }
}

/// One pass. Returns how many writes the API server has seen.
pub(super) fn pass(world: &mut World) -> Result<u64, Dead> {
    let observed = observe(world);
    let cluster = pinned(world, &observed);
    let plan = decide(&cluster, &observed, &world.operator.memory, at(world.clock));
    invariants::check(world, &observed, &plan);
    world.log.extend(
        plan.decisions
            .iter()
            .map(|line| format!("{:>5} {line}", world.clock)),
    );
    let before = world.writes;
    apply(world, &observed, &plan)?;
    let quiet = plan.is_quiet.then(|| {
        let memory = &world.operator.memory;
        let revision = resources::template_hash(&cluster);
        outlook(&cluster, &revision, &observed, memory, at(world.clock))
    });
    world.operator.quiet = quiet;
    Ok(world.writes - before)
}

/// `apply` of the shell, in its order.
fn apply(world: &mut World, observed: &Observed, plan: &Plan) -> Result<(), Dead> {
    let mut memory = plan.memory.clone();
    let mut is_list_waiting = false;
    for mark in &plan.mark_pods {
        if write(world, |world| world.api.mark(mark))?.is_err() {
            memory.write_failed(&mark.uid);
            let pod = observed.pods.get(&mark.name);
            is_list_waiting |= pod.is_some_and(|pod| pod.state.is_draining() != mark.state.is_draining());
        }
    }
    for child in &plan.apply {
        if is_list_waiting && child.key().kind == ChildKind::ConfigMap {
            continue;
        }
        write(world, |world| {
            world.api.apply(child);
            Ok(())
        })?
        .ok();
    }
    let mut from = world.operator.resource.version;
    if let Some(end) = plan.reserve_serials {
        let held = reserve(world, observed.status.next_serial, end, &mut from, &plan.status)?;
        if held {
            create(world, plan)?;
        }
    }
    for call in &plan.calls {
        self::call(world, call);
    }
    for delete in &plan.delete_pods {
        if write(world, |world| world.api.delete(delete))?.is_err() {
            memory.write_failed(&delete.uid);
        }
    }
    for update in &plan.update_pods {
        if write(world, |world| world.api.update(update))?.is_err() {
            memory.write_failed(&update.uid);
        }
    }
    if let Some(wanted) = status::update(Some(&world.operator.resource.status), &plan.status) {
        put_status(world, from, &wanted)?.ok();
    }
    world.operator.memory = memory;
    Ok(())
}

/// Whether the reservation is written.
fn reserve(
    world: &mut World,
    first: i64,
    end: i64,
    from: &mut u64,
    wanted: &WebSocketClusterStatus,
) -> Result<bool, Dead> {
    let now = at(world.clock);
    world.operator.serials.reserve(first..end, now);
    match put_status(world, *from, &status::with_serials(wanted, end))? {
        Ok(()) => {
            world.operator.serials.confirm(end);
            *from = world.operator.resource.version;
            Ok(true)
        }
        Err(Failed::Refused) => {
            (first..end).for_each(|serial| world.operator.serials.release(serial));
            Ok(false)
        }
        Err(Failed::Unknown) => Ok(false),
    }
}

fn create(world: &mut World, plan: &Plan) -> Result<(), Dead> {
    for pod in &plan.create_pods {
        let (cluster, clock) = (world.cluster.name.clone(), world.clock);
        let created = write(world, |world| world.api.create(&cluster, pod, clock))?;
        if let Err(Failed::Refused) = created {
            let serial = names::serial_of(&cluster, pod.metadata.name.as_deref().unwrap());
            world.operator.serials.release(serial.unwrap());
        }
    }
    Ok(())
}

fn put_status(
    world: &mut World,
    from: u64,
    status: &WebSocketClusterStatus,
) -> Result<Result<(), Failed>, Dead> {
    let mut answer = None;
    let result = write(world, |world| {
        answer = Some(world.api.put_status(from, status)?);
        Ok(())
    })?;
    if let (Ok(()), Some(resource)) = (&result, answer) {
        world.operator.resource = resource;
    }
    Ok(result)
}

fn fate(world: &mut World, percent: usize) -> Fate {
    match (world.random.chance(percent), world.random.chance(50)) {
        (false, _) => Fate::Through,
        (true, true) => Fate::Lost,
        (true, false) => Fate::Unheard,
    }
}

/// One write to the API server, which may be the last of this process.
fn write(
    world: &mut World,
    act: impl FnOnce(&mut World) -> Result<(), Refusal>,
) -> Result<Result<(), Failed>, Dead> {
    let dies = match &mut world.operator.dies_in {
        _ if world.ends_at_write.is_some_and(|(at, _)| at == world.writes) => {
            world.ends_at_write.take().map(|(_, after)| after)
        }
        Some((0, after)) => Some(*after),
        Some((left, _)) => {
            *left -= 1;
            None
        }
        None => None,
    };
    if dies == Some(false) {
        return Err(Dead);
    }
    let fate = fate(world, world.faults.writes_lost_percent);
    let result = if fate == Fate::Lost {
        Err(Failed::Unknown)
    } else {
        world.writes += 1;
        act(world).map_err(|_| Failed::Refused)
    };
    if dies == Some(true) {
        return Err(Dead);
    }
    Ok(if fate == Fate::Unheard {
        Err(Failed::Unknown)
    } else {
        result
    })
}

fn call(world: &mut World, call: &ControlCall) {
    let clock = world.clock;
    let fate = fate(world, world.faults.calls_lost_percent);
    let answers = world
        .servers
        .get(&call.pod_uid)
        .is_some_and(|server| server.answers(clock));
    if fate == Fate::Lost || !answers {
        return;
    }
    let over = invariants::is_overdue(world, &call.pod_uid);
    let server = world.servers.get_mut(&call.pod_uid).unwrap();
    match &call.verb {
        ControlVerb::Cordon => server.cordoned = true,
        ControlVerb::Uncordon => (server.cordoned, server.granted) = (false, false),
        ControlVerb::Shed {
            boot_id,
            total,
            per_second,
            ..
        } => {
            let Ok(moves) = server.shed(boot_id, *total, *per_second) else {
                return;
            };
            server.granted = server.granted || moves > 0;
            world.ledger.granted(clock, moves, over);
        }
    }
    if fate == Fate::Through
        && let Some(sample) = stats(world, &call.pod_uid)
    {
        world.operator.samples.answered(sample);
    }
}
