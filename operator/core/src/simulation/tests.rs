//! The invariants of docs/architecture.md in generated runs of the simulated cluster.

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError};

use super::script::{Action, Script, ordinary_scripts, scripts, scripts_with_upgrades, specs};
use super::server::{Server, Trait};
use super::settings::{Spec, images};
use super::world::World;
use crate::observed::PodState;
use wsc_api::v1alpha1::{OnDeadline, ScalingMode};

/// Longer than anything that the operator waits for before it writes again.
const QUIET_SECONDS: i64 = 400;
/// Several drains one after the other, each up to its deadline.
const REST_SECONDS: i64 = 4000;

/// Nothing fails any more, nobody comes or goes: after a while nothing is written any more (I6).
fn settle(world: &mut World) {
    world.faults.until = 0;
    (world.faults.redis_down_until, world.faults.watch_stalled_since) = (0, None);
    // A pool that is too full for a rollout waits, and is right to.
    let pods = match world.spec.mode {
        ScalingMode::Connections => world.spec.max_replicas,
        ScalingMode::Replicas => world.spec.replicas.clamp(2, world.spec.max_replicas),
    };
    world.operator.dies_in = None;
    for server in world.servers.values_mut() {
        server.ready_at = server.ready_at.or(Some(world.clock + 1));
        (server.cut_until, server.kubelet_lost_until) = (0, 0);
        server.sickness = server.sickness.filter(|_| server.made.is_sick);
    }
    // I10: pods that a change of the resource cures are replaced.
    if !world.spec.is_healthy() {
        world.respec(|spec| (spec.template, spec.redis) = (0, 0));
    }
    if world.servers.values().any(|server| server.made.is_sick) {
        // A pod that never says how many clients it has is waited for, if the resource says so.
        world.respec(|spec| spec.on_deadline = OnDeadline::Close);
    }
    let least = world.servers.values().map(Server::limit).min();
    let least = least.unwrap_or(i64::MAX).min(world.spec.max_connections);
    world
        .crowd
        .clients
        .truncate(usize::try_from(i64::from(pods) * least).unwrap());
    for proxy in &mut world.crowd.proxies {
        proxy.stuck_until = 0;
    }
    let until = world.clock + REST_SECONDS;
    let (mut writes, mut since) = (world.writes, world.clock);
    while world.clock - since < QUIET_SECONDS {
        assert!(world.clock < until, "I6: it never comes to rest");
        world.run(20);
        if world.writes != writes {
            (writes, since) = (world.writes, world.clock);
        }
    }
}

/// I5, and what a person expects.
fn check_settled(world: &mut World) {
    let status = &world.api.resource.status;
    let pods: Vec<_> = world.api.pods.values().collect();
    for pod in &pods {
        let server = &world.servers[&pod.uid];
        assert_eq!(pod.state, PodState::Active, "{} of {pods:?}", pod.name);
        assert!(pod.drain.is_none() && pod.ready && !pod.terminating, "{pod:?}");
        assert_eq!(Some(&pod.template_hash), status.update_revision.as_ref());
        assert!(world.spec.has_labels(pod), "{pod:?}");
        assert!(
            !server.cordoned && server.target <= server.done,
            "{} is left in a half-done drain: {server:?}",
            pod.name
        );
    }
    let count = i32::try_from(pods.len()).unwrap();
    assert_eq!(status.replicas, count);
    // In mode `Replicas` the clients may not fit into what is asked for.
    let more = world.spec.mode == ScalingMode::Replicas && count > status.desired_replicas;
    assert!(
        count == status.desired_replicas || more,
        "{count} pods and what is wanted"
    );
    assert_eq!((status.draining_replicas, status.starting_replicas), (0, 0));
    assert!(status.drains.is_empty());
    right_size(world, count);
    let clients = i64::try_from(world.crowd.clients.len()).unwrap();
    let room = i64::from(count) * world.spec.max_connections;
    assert_eq!(world.crowd.connected(), clients.min(room), "clients are left out");
    assert!(
        world.crowd.all_ready(&world.api.pods),
        "a proxy has other servers"
    );
    world.ledger.check();
}

fn right_size(world: &World, pods: i32) {
    let spec = &world.spec;
    let clients = i64::try_from(world.crowd.clients.len()).unwrap();
    let (least, most) = (2, spec.max_replicas);
    let asked = match spec.mode {
        ScalingMode::Replicas => i64::from(spec.replicas),
        ScalingMode::Connections => crate::numbers::div_ceil(clients, spec.target()) + 1,
    };
    let fits = clients * 100 <= i64::from(pods - 1) * spec.target() * 90;
    let want = i32::try_from(asked.clamp(least, i64::from(most))).unwrap();
    // More than wanted only where one less would be too tight.
    assert!(
        pods == want || (pods > want && !fits && pods <= most),
        "{pods} pods for {clients} clients, wanted {want}"
    );
}

fn tell(world: &World) -> String {
    let lines = world.log.iter().rev().take(120).rev().cloned();
    let conditions = &world.api.resource.status.conditions;
    let conditions = conditions
        .iter()
        .map(|c| format!("{} {} {}: {}", c.type_, c.status, c.reason, c.message));
    let pods = world.api.pods.values().map(|pod| {
        let server = world.servers.get(&pod.uid);
        format!("{} {:?} ready {}: {server:?}", pod.name, pod.state, pod.ready)
    });
    lines.chain(conditions).chain(pods).collect::<Vec<_>>().join("\n")
}

/// The same lives in every run, so that a commit that passed once passes again;
/// `cargo xtask test --lives N --seed S` looks at others.
#[expect(
    clippy::disallowed_methods,
    reason = "a test program has no arguments of its own"
)]
fn config() -> ProptestConfig {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    ProptestConfig {
        cases: u32::try_from(number("SIMULATION_LIVES", 500).div_ceil(2)).unwrap(),
        max_shrink_iters: 400,
        rng_seed: RngSeed::Fixed(number("SIMULATION_SEED", 1)),
        ..ProptestConfig::default()
    }
}

/// Plays, settles and checks. What fails is told with the operator's decisions before it.
fn live(world: &mut World, script: &Script) -> Result<(), TestCaseError> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.play(script);
        settle(world);
        check_settled(world);
    }));
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        TestCaseError::fail(format!("{}\n{}", text.unwrap_or_default(), tell(world)))
    })
}

/// [`live`], where nothing fails.
fn live_without_loss(world: &mut World, script: &Script) -> Result<(), TestCaseError> {
    live(world, script)?;
    prop_assert_eq!(world.ledger.cut, 0, "clients were cut\n{}", tell(world));
    prop_assert_eq!(world.ledger.ready_lost, 0, "Ready turned\n{}", tell(world));
    // I9. The first clients come before the first pod.
    let unserved = world.crowd.unserved - world.ledger.unserved_at_first;
    prop_assert_eq!(unserved, 0, "no server accepted a client\n{}", tell(world));
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn invariants_hold_and_all_comes_to_rest(
        seed in any::<u64>(),
        spec in specs(),
        script in scripts(),
    ) {
        live(&mut World::new(seed, spec), &script)?;
    }

    #[test]
    fn scaling_and_rollouts_stay_ready_without_cuts(
        seed in any::<u64>(),
        spec in specs(),
        script in ordinary_scripts(),
    ) {
        live_without_loss(&mut World::new(seed, spec), &script)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases.div_ceil(4), ..config() })]

    #[test]
    fn upgrades_of_operator_cut_no_client(
        seed in any::<u64>(),
        spec in specs(),
        script in scripts_with_upgrades(),
    ) {
        let mut world = World::new(seed, spec);
        live_without_loss(&mut world, &script)?;
        let installed = images(world.release).pins();
        prop_assert_eq!(world.api.resource.status.pins.as_ref(), Some(&installed));
        let mut pods = world.api.pods.values().map(|pod| &world.api.made[&pod.uid]);
        let other = pods.find(|made| made.image != installed.server);
        prop_assert_eq!(other, None, "a pod of another release\n{}", tell(&world));
    }
}

/// A life with everything in it that writes: growth, a drain that is cancelled, one that ends, a
/// rollout.
fn life() -> (Spec, Script) {
    let spec = Spec::new(ScalingMode::Connections, OnDeadline::Close, 2, 6);
    let script = vec![
        (Action::Arrive(40), 150),
        (Action::Leave(25), 50),
        (Action::Arrive(25), 40),
        (Action::Leave(30), 120),
        (Action::Template(1), 200),
    ];
    (spec, script)
}

/// I5: the operator ends at its k-th write, before or after it, and another one takes over.
#[test]
fn any_restart_reaches_the_same_end() {
    let ends = |dies_at: Option<(u64, bool)>| {
        let (spec, script) = life();
        let mut world = World::new(7, spec);
        world.ends_at_write = dies_at;
        live(&mut world, &script).unwrap_or_else(|failure| panic!("{dies_at:?}: {failure}"));
        let status = &world.api.resource.status;
        let end = (
            status.desired_replicas,
            status.replicas,
            status.update_revision.clone(),
        );
        (end, world.writes)
    };
    let (wanted, writes) = ends(None);
    assert!(writes > 60, "{writes} writes are no life");
    for write in 0..writes {
        let after = write % 2 == 0;
        assert_eq!(ends(Some((write, after))).0, wanted, "ended at write {write}");
    }
}

/// I12: all pods are replaced, while clients come and go.
#[test]
fn rollout_moves_each_client_at_most_once() {
    let (mut clients, mut moves) = (0, 0);
    for seed in 0..20 {
        let mut world = World::new(seed, Spec::new(ScalingMode::Connections, OnDeadline::Close, 2, 8));
        let crowd = 20 + usize::try_from(seed).unwrap() * 4;
        world.play(&vec![(Action::Arrive(crowd), 300)]);
        for client in &mut world.crowd.clients {
            client.moves = 0;
        }
        let rollout = vec![
            (Action::Template(1), 60),
            (Action::Leave(5), 30),
            (Action::Arrive(5), 30),
        ];
        live(&mut world, &rollout).unwrap_or_else(|failure| panic!("{seed}: {failure}"));
        for client in &world.crowd.clients {
            assert!(
                client.moves <= 1,
                "{seed}: a client was moved {} times\n{}",
                client.moves,
                tell(&world)
            );
            (clients, moves) = (clients + 1, moves + client.moves);
        }
    }
    assert!(
        moves * 2 > clients,
        "{moves} moves of {clients} clients are no rollout"
    );
}

/// I3, with a sample of a pod from before its crash.
#[test]
fn clients_of_crashed_pod_count_once() {
    let spec = Spec {
        moves_per_second: 1,
        ..Spec::new(ScalingMode::Replicas, OnDeadline::Close, 2, 4)
    };
    let script = vec![
        (Action::Arrive(44), 40),
        (Action::Sicken(0, Trait::NoRedis), 14),
        (Action::LoseKubelet(1, 230), 12),
        (Action::Arrive(23), 31),
        (Action::Leave(34), 82),
        (Action::Template(3), 45),
        (Action::Origin("https://example.org"), 40),
        (Action::DeletePod(0), 20),
        (Action::Sicken(3, Trait::NeverSampled), 30),
        (Action::MaxReplicas(3), 22),
        (Action::Arrive(28), 9),
        (Action::MaxConnections(20), 16),
        (Action::Template(0), 6),
    ];
    let mut world = World::new(15_728_529_171_642_498_432, spec);
    live(&mut world, &script).unwrap_or_else(|failure| panic!("{failure}"));
}

/// `maxConcurrentDrains`, where the answer to a mark is lost and the watch is late.
#[test]
fn unconfirmed_drain_is_not_replaced_by_another() {
    let spec = Spec {
        moves_per_second: 1,
        ..Spec::new(ScalingMode::Connections, OnDeadline::Close, 2, 4)
    };
    let script = vec![
        (Action::Arrive(46), 40),
        (Action::SkewClock(0, 0), 47),
        (Action::Arrive(28), 88),
        (Action::SamplesLost(10, 5), 48),
        (Action::StickAgent(1, 139), 70),
        (Action::Template(1), 10),
        (Action::Wait, 54),
        (Action::Wait, 12),
        (Action::Upgrade(1), 33),
        (Action::Leave(18), 79),
        (Action::Leave(26), 6),
        (Action::Template(1), 3),
        (Action::Leave(30), 44),
        (Action::WritesLost(12, 14), 12),
        (Action::Template(3), 1),
    ];
    let mut world = World::new(12_914_362_692_477_681_705, spec);
    live(&mut world, &script).unwrap_or_else(|failure| panic!("{failure}"));
}
