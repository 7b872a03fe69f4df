//! The invariants of the design, asked of every plan and of what it does to the world.

use std::collections::BTreeSet;

use wsc_api::v1alpha1::{OnDeadline, ScalingMode};

use super::server::Server;
use super::settings::{MOST_DRAINS, TARGET_PERCENT, at};
use super::world::World;
use crate::observed::{Observed, PodPhase, PodState, PodView, Sample, SharedPod};
use crate::plan::{ControlVerb, Plan};

/// After so long without a word from a pod, the deadline deletes it all the same.
const LAST_RESORT: i64 = 60;
/// After this time the watch has delivered an event.
const SEEN: i64 = 30;

/// Its deadline is over, and the deadline closes.
pub(super) fn is_overdue(world: &World, uid: &str) -> bool {
    let pod = world.api.pods.values().find(|pod| pod.uid == uid);
    let drain = pod.and_then(|pod| pod.drain);
    let close = world.spec.on_deadline == OnDeadline::Close;
    close && drain.is_some_and(|drain| drain.deadline <= at(world.clock))
}

/// I7: nobody new comes to a pod that sheds, so it never moves more than those who were there.
pub(super) fn arrived(world: &World, uid: &str) {
    let pod = world.api.pods.values().find(|pod| pod.uid == uid);
    let sheds = world.servers[uid].granted && pod.is_some_and(|pod| pod.state.is_draining());
    assert!(
        !sheds || is_overdue(world, uid),
        "I7: a client came to {uid}, which sheds"
    );
}

/// I2, as servers make the moves: no second has more than the limit, whatever number of pods
/// drains, deadlines included.
pub(super) fn moved(world: &World, moves: i64) {
    assert!(
        moves <= world.spec.moves_per_second,
        "I2: {moves} moves in the second {}",
        world.clock
    );
}

/// Every plan, before it is applied.
pub(super) fn check(world: &World, observed: &Observed, plan: &Plan) {
    nothing_on_stale_data(observed, plan);
    one_operation_per_pod(plan);
    deletions_hit_nobody(world, plan);
    shrinks_on_fresh_data_only(world, observed, plan);
    leaves_enough(world, observed, plan);
    few_drains(world, plan);
    no_twins(world, plan);
    few_pods(world, plan);
}

fn nothing_on_stale_data(observed: &Observed, plan: &Plan) {
    let touches = !plan.create_pods.is_empty()
        || !plan.mark_pods.is_empty()
        || !plan.update_pods.is_empty()
        || !plan.delete_pods.is_empty()
        || !plan.calls.is_empty()
        || !plan.apply.is_empty();
    assert!(observed.watches_fresh || !touches, "I8: acts on a silent watch");
}

/// I4.
fn one_operation_per_pod(plan: &Plan) {
    let marked = plan.mark_pods.iter().map(|mark| &mark.name);
    let deleted = plan.delete_pods.iter().map(|delete| &delete.name);
    let mut seen = BTreeSet::new();
    let updated = plan.update_pods.iter().map(|update| &update.name);
    for name in marked.chain(deleted).chain(updated) {
        assert!(seen.insert(name), "I4: two operations on {name}");
    }
    for call in &plan.calls {
        let verbs = plan.calls.iter().filter(|other| other.pod == call.pod);
        let contrary = verbs.filter(|other| {
            matches!(
                (&call.verb, &other.verb),
                (ControlVerb::Cordon, ControlVerb::Uncordon)
            )
        });
        assert_eq!(contrary.count(), 0, "I4: {} is cordoned and uncordoned", call.pod);
    }
}

/// I1.
fn deletions_hit_nobody(world: &World, plan: &Plan) {
    for delete in &plan.delete_pods {
        let (all, unasked) = world.crowd.on(&delete.uid);
        if all == 0 {
            continue;
        }
        let Some(pod) = world.api.pods.get(&delete.name) else {
            continue;
        };
        let name = &delete.name;
        assert!(
            is_overdue(world, &pod.uid),
            "I1: {name} is deleted with {all} clients"
        );
        let deadline = pod
            .drain
            .map_or(0, |drain| drain.deadline.duration_since(at(0)).as_secs());
        let heard_at = world.servers[&pod.uid].heard_at;
        let known_since = heard_at.max(deadline).max(world.operator.started_at);
        let silent = world.clock - known_since >= LAST_RESORT;
        assert!(
            unasked == 0 || silent,
            "I1: {name} is deleted, and {unasked} of its {all} clients were not asked"
        );
    }
}

/// Pods that begin to drain for scale-down though they serve.
fn begins(observed: &Observed, plan: &Plan, reason: &str) -> Vec<String> {
    let marks = plan.mark_pods.iter().filter(|mark| {
        let before = observed.pods.get(&mark.name);
        let broken = plan
            .events
            .iter()
            .any(|event| event.reason == "PodNotReady" && event.note.contains(&format!(" {},", mark.name)));
        mark.state == PodState::Cordoned
            && mark.drain.is_some_and(|drain| drain.reason.as_str() == reason)
            && before.is_some_and(|pod| !pod.state.is_draining())
            && !broken
    });
    marks.map(|mark| mark.name.clone()).collect()
}

/// I8.
fn shrinks_on_fresh_data_only(world: &World, observed: &Observed, plan: &Plan) {
    let status = &plan.status;
    let fewer = world.spec.mode == ScalingMode::Connections
        && status.desired_replicas < observed.status.desired_replicas
        && status.desired_replicas < world.spec.max_replicas;
    let drains = begins(observed, plan, "ScaleDown");
    if drains.is_empty() && !fewer {
        return;
    }
    // The operator may know that a pod is gone before the watch shows it: it deleted it.
    let exists = |pod: &&SharedPod| {
        let there = world.api.pods.get(&pod.name);
        there.is_some_and(|there| there.uid == pod.uid && !there.terminating)
    };
    let counted =
        observed.pods.values().filter(exists).filter(|pod| {
            pod.state != PodState::Starting && !pod.terminating && pod.phase == PodPhase::Running
        });
    let blind: Vec<_> = counted
        .filter(|pod| {
            let sample = observed
                .samples
                .get(&pod.name)
                .filter(|sample| sample.pod_uid == pod.uid);
            sample.is_none_or(|sample| !sample.is_fresh(at(world.clock)))
        })
        .map(|pod| &pod.name)
        .collect();
    // One pod may be silent: it counts as full.
    assert!(
        blind.len() <= 1 && !blind.iter().any(|name| drains.contains(name)),
        "I8: shrinks ({drains:?}, {} wanted after {}) without fresh samples of {blind:?}",
        status.desired_replicas,
        observed.status.desired_replicas,
    );
}

/// I3, for drains that the operator starts on its own: the other pods have room for all clients
/// that it knows of.
fn leaves_enough(world: &World, observed: &Observed, plan: &Plan) {
    let (down, roll) = (
        begins(observed, plan, "ScaleDown"),
        begins(observed, plan, "Rollout"),
    );
    if down.is_empty() && roll.is_empty() {
        return;
    }
    let stays = |pod: &&PodView| {
        let known = observed.pods.get(&pod.name);
        let server = world.servers.get(&pod.uid);
        // HAProxy may find it up while its kubelet is silent; and a death may not be seen yet.
        let up =
            server.is_some_and(|server| server.serves(world.clock)) || known.is_some_and(|pod| pod.ready);
        let in_rotation = matches!(pod.state, PodState::Active | PodState::Starting) && up;
        // A person deleted it a moment ago.
        let unseen = pod.terminating && known.is_some_and(|pod| !pod.terminating && !pod.state.is_draining());
        (in_rotation && !pod.terminating || unseen) && !down.contains(&pod.name) && !roll.contains(&pod.name)
    };
    let staying: Vec<_> = world.api.pods.values().filter(stays).collect();
    let stay = i64::try_from(staying.len()).unwrap();
    let server = |pod: &&PodView| world.servers.get(&pod.uid);
    let capacity: i64 = staying.iter().filter_map(server).map(Server::capacity).sum();
    // A server that is down has no clients: they are counted where they reconnect.
    let lives = |sample: &&Sample| {
        let server = world.servers.get(&sample.pod_uid);
        server.is_some_and(|server| server.serves(world.clock))
    };
    let sampled = observed.samples.values().filter(lives);
    let sampled: i64 = sampled.map(|sample| sample.connections).sum();
    let demand = sampled.min(world.crowd.connected());
    // Above the maximum the person who set it has decided.
    let above = stay >= i64::from(world.spec.max_replicas);
    assert!(
        above || demand <= capacity,
        "I3: {down:?} and {roll:?} drain, {stay} pods stay for {demand} clients"
    );
    assert!(
        down.is_empty() || above || demand * 100 <= capacity * TARGET_PERCENT / 100 * 90,
        "I3: {down:?} drain to shrink, {stay} pods stay for {demand} clients"
    );
}

/// `maxConcurrentDrains`, in truth, not only in the operator's view.
fn few_drains(world: &World, plan: &Plan) {
    let marked = |name: &str| plan.mark_pods.iter().find(|mark| mark.name == name);
    let draining = world.api.living().filter(|pod| {
        let state = marked(&pod.name).map_or(pod.state, |mark| mark.state);
        state.is_draining() && !world.servers.get(&pod.uid).is_some_and(|server| server.hurt)
    });
    let begins = plan.mark_pods.iter().any(|mark| {
        mark.state == PodState::Cordoned
            && world
                .api
                .pods
                .get(&mark.name)
                .is_some_and(|pod| !pod.state.is_draining())
    });
    let count = draining.count();
    assert!(
        !begins || count <= MOST_DRAINS,
        "{count} pods drain at the same time"
    );
}

/// I11: as many pods as the maximum and a surge, besides those that drain and those on lost nodes.
fn few_pods(world: &World, plan: &Plan) {
    if plan.create_pods.is_empty() {
        return;
    }
    let leaves = |pod: &PodView| {
        let mut marks = plan.mark_pods.iter();
        let drains = marks.any(|mark| mark.name == pod.name && mark.state.is_draining());
        drains || plan.delete_pods.iter().any(|delete| delete.name == pod.name)
    };
    let was_lost = |pod: &PodView| {
        let server = world.servers.get(&pod.uid);
        server.is_some_and(|server| server.kubelet_lost_until + SEEN >= world.clock)
    };
    let there = world
        .api
        .living()
        .filter(|pod| !pod.state.is_draining() && !leaves(pod) && !was_lost(pod));
    let after = i64::try_from(there.count() + plan.create_pods.len()).unwrap();
    let most = world.spec.most_pods();
    assert!(after <= most, "I11: {after} pods, {most} with a surge");
}

/// No twins: pods that nobody asked for, made because a watch was late.
fn no_twins(world: &World, plan: &Plan) {
    if plan.create_pods.is_empty() {
        return;
    }
    let there = world.api.living().filter(|pod| {
        let server = world.servers.get(&pod.uid);
        let leaves = plan.delete_pods.iter().any(|delete| delete.name == pod.name);
        // Who looks at one of these may rightly think that it is no capacity.
        let doubtful = server.is_some_and(|server| server.hurt || server.ready_at.is_none());
        !pod.state.is_draining() && !leaves && !doubtful
    });
    let wanted = i64::from(plan.status.desired_replicas) + 1;
    let after = i64::try_from(there.count() + plan.create_pods.len()).unwrap();
    assert!(
        after <= wanted,
        "twins: {after} pods, {wanted} wanted with a surge"
    );
}
