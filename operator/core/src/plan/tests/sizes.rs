//! How many pods there are, and what is said about it.

use k8s_openapi::jiff::SignedDuration;

use super::scene::{BOUNDS, Scene};
use super::tell::{changes_no_pod, condition, is_quiet, marked, notes, tell};
use crate::observed::PodState;
use crate::validate::{Mode, Scaling};

#[test]
fn idle_hour_writes_nothing() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    for _ in 0..720 {
        let plan = scene.tick(5);
        assert!(is_quiet(&scene, &plan), "{}", tell(&plan, &scene.observed.status));
    }
}

#[test]
fn an_operator_that_restarts_writes_nothing() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    let samples = std::mem::take(&mut scene.observed.samples);
    let agents: Vec<_> = scene
        .observed
        .proxies
        .iter_mut()
        .map(|proxy| proxy.agent.take())
        .collect();
    scene.memory = crate::memory::Memory::default();
    let plan = scene.step(5);
    assert!(is_quiet(&scene, &plan), "{}", tell(&plan, &scene.observed.status));
    scene.observed.samples = samples;
    for (proxy, agent) in scene.observed.proxies.iter_mut().zip(agents) {
        proxy.agent = agent;
    }
    for _ in 0..120 {
        let plan = scene.tick(5);
        assert!(is_quiet(&scene, &plan), "{}", tell(&plan, &scene.observed.status));
    }
}

#[test]
fn notable_numbers_are_written_every_30_s() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    scene.said(0).connections = 41;
    let plan = scene.tick(60);
    assert_eq!(
        plan.status, scene.observed.status,
        "one of 130 is not worth a write"
    );
    scene.said(0).connections = 44;
    let plan = scene.tick(1);
    assert_eq!(plan.status.connections.current, 134);
    scene.adopt(&plan);
    scene.said(0).connections = 49;
    let plan = scene.tick(29);
    assert_eq!(plan.status.connections.current, 134, "29 s after the last");
    let plan = scene.tick(1);
    assert_eq!(plan.status.connections.current, 139);
}

#[test]
fn growth_is_batched_and_reports_its_inputs() {
    let mut scene = Scene::running("scaling: {minReplicas: 2, maxReplicas: 20}", &[40, 50, 40]);
    for serial in 0..3 {
        scene.said(serial).connections = 100;
    }
    // ceil(300 / 75) + 1 = 5
    let plan = scene.tick(5);
    insta::assert_snapshot!(tell(&plan, &scene.observed.status));
    scene.adopt(&plan);
    for serial in 0..3 {
        scene.said(serial).connections = 250;
    }
    // 11 wanted: 1, 2, then one of the four that a window allows.
    let mut created = vec![plan.create_pods.len()];
    for _ in 0..4 {
        let plan = scene.tick(1);
        scene.adopt(&plan);
        created.push(plan.create_pods.len());
        assert_eq!(plan.status.desired_replicas, 11);
    }
    assert_eq!(created, [1, 2, 1, 0, 0]);
    let plan = scene.tick(15);
    assert_eq!(plan.create_pods.len(), 1, "the next window begins small again");
}

#[test]
fn missing_samples_neither_raise_nor_lower() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    // Two of three are silent: nothing is known.
    scene.said(2).connections = 0;
    scene.now += SignedDuration::from_secs(400);
    let now = scene.now;
    scene.said(2).at = now;
    let plan = scene.step(0);
    assert!(changes_no_pod(&plan));
    assert_eq!(plan.status.desired_replicas, 3);
    assert_eq!(condition(&plan, "ScalingActive"), ("False", "StatsUnavailable"));
    assert_eq!(condition(&plan, "Ready").0, "True");
}

#[test]
fn silent_pods_count_as_full_or_hold() {
    let silent = |pods: &[i64]| {
        let mut scene = Scene::running(BOUNDS, &[10, 10, 10, 10, 10]);
        scene.now += SignedDuration::from_secs(600);
        let now = scene.now;
        for serial in (0..5).filter(|serial| !pods.contains(serial)) {
            scene.said(serial).at = now;
        }
        let plan = scene.step(0);
        (scene, plan)
    };
    let (_, plan) = silent(&[4]);
    // 40 clients, and 100 that the silent pod may have: two pods would do otherwise.
    assert_eq!(plan.status.desired_replicas, 3);
    assert_eq!(marked(&plan), [("chat-3", PodState::Cordoned)]);
    let (mut scene, plan) = silent(&[3, 4]);
    assert!(changes_no_pod(&plan), "{}", tell(&plan, &scene.observed.status));
    assert_eq!(condition(&plan, "ScalingActive"), ("True", "Held"));
    let plan = scene.tick(5);
    assert!(changes_no_pod(&plan), "a whole window has to be fresh");
    assert_eq!(condition(&plan, "ScalingActive"), ("True", "Held"));
    let plan = scene.tick(300);
    assert_eq!(plan.mark_pods.len(), 1);
    assert_eq!(condition(&plan, "ScalingActive"), ("True", "StatsAvailable"));
}

#[test]
fn first_pod_causes_no_panic() {
    for (admits, connections) in [(false, 0), (true, 5)] {
        let mut scene = Scene::running(BOUNDS, &[connections]);
        scene.said(0).admits = admits;
        for _ in 0..3 {
            let plan = scene.tick(5);
            let is_in_force = |name: &str| plan.holds.iter().any(|(reason, is)| *reason == name && *is);
            assert!(!is_in_force("Panic"), "one pod with {connections} connections");
            scene.adopt(&plan);
        }
    }
    let mut scene = Scene::running(BOUNDS, &[75, 75]);
    scene.said(0).connections = 200;
    scene.said(1).connections = 101;
    let plan = scene.tick(5);
    let mut holds = plan.holds.iter();
    assert!(
        holds.any(|(reason, is)| *reason == "Panic" && *is),
        "twice the pods"
    );
}

#[test]
fn silent_watch_stops_all_but_the_status() {
    let mut scene = Scene::running(BOUNDS, &[10, 10, 10, 10, 10]);
    for serial in 0..5 {
        scene.said(serial).connections = 200;
    }
    scene.observed.watches_fresh = false;
    scene.observed.children.clear();
    let plan = scene.tick(600);
    assert!(changes_no_pod(&plan) && plan.calls.is_empty() && plan.apply.is_empty());
    assert_eq!(condition(&plan, "ScalingActive"), ("False", "StaleWatch"));
}

#[test]
fn kubectl_scale_decides_within_the_bounds() {
    let spec = |replicas| {
        format!("replicas: {replicas}\nscaling: {{mode: Replicas, minReplicas: 2, maxReplicas: 6}}")
    };
    for (replicas, desired, limited) in [
        (4, 4, ("False", "DesiredWithinRange")),
        (0, 2, ("True", "TooFewReplicas")),
        (9, 6, ("True", "TooManyReplicas")),
    ] {
        let mut scene = Scene::running(&spec(replicas), &[10, 10, 10]);
        let plan = scene.tick(5);
        assert_eq!(plan.status.desired_replicas, desired);
        assert_eq!(condition(&plan, "ScalingLimited"), limited);
        assert_eq!(condition(&plan, "ScalingActive"), ("True", "ReplicasMode"));
    }
    let mut scene = Scene::running(&spec(2), &[90, 90, 90]);
    let plan = scene.tick(5);
    assert!(changes_no_pod(&plan));
    assert_eq!(
        condition(&plan, "ScalingLimited"),
        ("True", "InsufficientCapacity")
    );
    for (serial, connections) in [(0, 35), (1, 50), (2, 50)] {
        scene.said(serial).connections = connections + 1;
    }
    assert!(
        changes_no_pod(&scene.tick(5)),
        "138 clients are more than 90 % of the target of two pods"
    );
    for (serial, connections) in [(0, 35), (1, 50), (2, 50)] {
        scene.said(serial).connections = connections;
    }
    let plan = scene.tick(5);
    assert_eq!(
        marked(&plan),
        [("chat-0", PodState::Cordoned)],
        "135 clients fit, and there is no window in this mode"
    );
}

#[test]
fn scale_down_stops_at_the_window_maximum() {
    let mut scene = Scene::running(
        "scaling: {minReplicas: 2, maxReplicas: 20}",
        &[60, 60, 60, 60, 60],
    );
    // 300 connections want 5 pods; now 150 want 3.
    for serial in 0..5 {
        scene.said(serial).connections = 30;
    }
    let plan = scene.tick(299);
    assert_eq!((plan.status.desired_replicas, marked(&plan)), (5, vec![]));
    let plan = scene.tick(2);
    assert_eq!(plan.status.desired_replicas, 3);
    assert_eq!(
        plan.mark_pods.len(),
        1,
        "10 % of five pods are one drain at a time"
    );
}

#[test]
fn refused_clients_hold_scale_down_a_minute() {
    let mut scene = Scene::running("scaling: {minReplicas: 2, maxReplicas: 3}", &[95, 95, 95]);
    scene.said(0).refused_full = 1;
    let plan = scene.tick(5);
    assert!(
        plan.decisions.iter().any(|line| line.starts_with("panic")),
        "{:?}",
        plan.decisions
    );
    scene.cluster.scaling.stabilization_window = std::time::Duration::ZERO;
    for serial in 0..3 {
        scene.said(serial).connections = 5;
    }
    assert!(changes_no_pod(&scene.tick(59)));
    assert_eq!(scene.tick(1).mark_pods.len(), 1);
}

#[test]
fn pods_that_never_start_stall_after_three() {
    let mut scene = Scene::running(BOUNDS, &[75, 75, 75]);
    let mut deleted = 0;
    let mut stalled = None;
    for _ in 0..200 {
        let plan = scene.tick(5);
        deleted += plan.delete_pods.len();
        scene.adopt(&plan);
        for pod in scene.observed.pods.values_mut().filter(|pod| !pod.ready) {
            pod.waiting_reason = Some("ImagePullBackOff".to_owned());
        }
        if condition(&plan, "Stalled").0 == "True" && stalled.is_none() {
            stalled = Some(plan);
        }
    }
    let plan = stalled.unwrap();
    assert_eq!(deleted, 2, "the third one stays to be looked at");
    assert_eq!(condition(&plan, "Stalled"), ("True", "PodStartFailed"));
    assert_eq!(condition(&plan, "Ready").0, "True", "those that run go on");
    assert!(
        plan.events
            .iter()
            .any(|event| event.reason == "PodStartFailed" && event.note.contains("ImagePullBackOff"))
    );
    let plan = scene.tick(5);
    assert!(is_quiet(&scene, &plan), "{}", tell(&plan, &scene.observed.status));
}

#[test]
fn pods_that_never_served_go_first() {
    let mut scene = Scene::running(
        "replicas: 5\nscaling: {mode: Replicas, minReplicas: 2, maxReplicas: 6}",
        &[10, 10, 10],
    );
    for _ in 0..3 {
        let plan = scene.tick(5);
        scene.adopt(&plan);
    }
    assert_eq!(scene.observed.pods.len(), 5);
    scene.cluster.scaling.mode = Mode::Replicas(3);
    let plan = scene.tick(60);
    assert!(changes_no_pod(&plan), "they are young");
    let plan = scene.tick(70);
    assert_eq!((plan.delete_pods.len(), marked(&plan)), (2, vec![]));
    assert_eq!(
        notes(&plan),
        ["delete chat-4, never ready", "delete chat-3, never ready"]
    );
}

#[test]
fn young_pods_delay_scale_down_visibly() {
    let mut scene = Scene::running(BOUNDS, &[10, 10, 10, 10]);
    let born = scene.now + SignedDuration::from_secs(200);
    for serial in 0..4 {
        let uid = scene.pod(serial).uid.clone();
        scene.memory.pod(&uid).first_seen = Some(born);
    }
    let plan = scene.tick(301);
    assert!(changes_no_pod(&plan) && plan.status.desired_replicas < 4);
    assert_eq!(condition(&plan, "Progressing"), ("False", "ScaleDownDelayed"));
    let until = born + SignedDuration::from_secs(120);
    let text = tell(&plan, &scene.observed.status);
    assert!(
        text.contains(&format!("starts at {until} at the latest")),
        "{text}"
    );
    scene.adopt(&plan);
    let plan = scene.tick(5);
    assert!(is_quiet(&scene, &plan), "the message is constant");
    let plan = scene.tick(14);
    assert_eq!((plan.mark_pods.len(), scene.now), (1, until));
    assert_eq!(condition(&plan, "Progressing"), ("True", "PodsDraining"));
}

#[test]
fn protected_pods_block_scale_down_visibly() {
    let mut scene = Scene::running(BOUNDS, &[10, 10, 10, 10]);
    for serial in 0..4 {
        scene.pod(serial).protected = true;
    }
    let plan = scene.tick(301);
    assert!(changes_no_pod(&plan));
    assert_eq!(condition(&plan, "Progressing"), ("False", "ScaleDownBlocked"));
    scene.pod(3).protected = false;
    assert_eq!(marked(&scene.tick(5)), [("chat-3", PodState::Cordoned)]);
}

#[test]
fn while_redis_is_down_no_drain_begins() {
    let mut scene = Scene::running(BOUNDS, &[10, 10, 10, 10]);
    for serial in 0..4 {
        scene.said(serial).broker_up = false;
    }
    let plan = scene.tick(301);
    assert!(changes_no_pod(&plan));
    assert_eq!(condition(&plan, "RedisReachable").0, "False");
    for serial in 0..4 {
        scene.said(serial).broker_up = true;
    }
    assert!(changes_no_pod(&scene.tick(5)), "it came back a moment ago");
    assert_eq!(scene.tick(10).mark_pods.len(), 1);
}

#[test]
fn reconciling_until_the_pod_count_is_allowed() {
    let reconciling = |change: &dyn Fn(&mut Scaling)| {
        let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
        change(&mut scene.cluster.scaling);
        let plan = scene.tick(5);
        let (status, reason) = condition(&plan, "Reconciling");
        format!("{status} {reason}")
    };
    let (done, scaling) = ("False Reconciled", "True Scaling");
    assert_eq!(reconciling(&|_| {}), done);
    assert_eq!(reconciling(&|bounds| bounds.min_replicas = 8), scaling);
    assert_eq!(reconciling(&|bounds| bounds.max_replicas = 2), scaling);
    assert_eq!(reconciling(&|bounds| bounds.mode = Mode::Replicas(4)), scaling);
    assert_eq!(reconciling(&|bounds| bounds.mode = Mode::Replicas(3)), done);
}
