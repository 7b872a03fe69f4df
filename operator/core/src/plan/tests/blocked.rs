//! Rollouts that cannot go on, and what they must not do meanwhile.

use k8s_openapi::jiff::SignedDuration;

use super::scene::{BOUNDS, Scene};
use super::tell::{condition, marked, message};
use crate::failures::{Cause, Problem};
use crate::observed::{PodState, PodView};
use crate::plan::Plan;
use crate::testing;

const SPEC: &str = "scaling: {minReplicas: 3, maxReplicas: 20}\ndisruption: {movesPerMinute: 600}\ndrain: {naturalSeconds: 0}";

fn with_another_image(scene: &mut Scene, spec: &str) {
    let server = "server: {maxConnections: 100, image: \"registry.example.org/wsc-server:2\"}";
    scene.cluster = testing::cluster(&format!("{server}\n{spec}"));
    scene.observed.generation += 1;
}

fn problem(cause: Cause) -> Problem {
    Problem {
        message: "because".to_owned(),
        cause,
    }
}

/// A reconcile every 5 s; no create succeeds, all else does.
fn without_creates(scene: &mut Scene, seconds: i64, cause: Cause) -> Plan {
    let mut last = None;
    for _ in 0..seconds / 5 {
        let mut plan = scene.tick(5);
        if !plan.create_pods.is_empty() {
            plan.create_pods.clear();
            scene.memory.creates_failed("chat-9", problem(cause), scene.now);
        }
        scene.adopt(&plan);
        scene.obey(&plan);
        last = Some(plan);
    }
    last.unwrap()
}

fn draining(scene: &Scene) -> usize {
    let pods = scene.observed.pods.values();
    pods.filter(|pod| pod.state.is_draining()).count()
}

#[test]
fn no_pod_drains_for_a_rejected_one() {
    for cause in [Cause::Object, Cause::Call] {
        let mut scene = Scene::running(SPEC, &[10, 10, 10]);
        with_another_image(&mut scene, SPEC);
        for _ in 0..60 {
            let plan = without_creates(&mut scene, 60, cause);
            assert_eq!(plan.status.replicas, 3, "{cause:?}");
            assert_eq!(draining(&scene), 0, "{cause:?}");
        }
        let plan = scene.tick(5);
        let wait = message(&plan, "Progressing");
        assert!(wait.contains("a new pod was not created: because"), "{wait}");
    }
}

#[test]
fn short_api_server_outage_stalls_nothing() {
    for (cause, after_40_s, after_340_s) in [
        (Cause::Call, ("False", "NotStalled"), ("True", "ApplyFailed")),
        (Cause::Object, ("True", "PodRejected"), ("True", "PodRejected")),
    ] {
        let mut scene = Scene::running(BOUNDS, &[75, 75, 75]);
        scene.said(0).connections = 95;
        let plan = without_creates(&mut scene, 40, cause);
        assert_eq!(condition(&plan, "Stalled"), after_40_s, "{cause:?}");
        let plan = without_creates(&mut scene, 300, cause);
        assert_eq!(condition(&plan, "Stalled"), after_340_s, "{cause:?}");
    }
}

#[test]
fn rollout_names_why_pods_are_missing() {
    let mut scene = Scene::running(SPEC, &[75, 75, 75]);
    scene.said(0).connections = 95;
    with_another_image(&mut scene, SPEC);
    let plan = without_creates(&mut scene, 60, Cause::Quota);
    let wait = message(&plan, "Progressing");
    for part in ["there is no room for one more pod: because", "would not fit"] {
        assert!(wait.contains(part), "{wait}");
    }
}

#[test]
fn rollout_names_what_new_pods_wait_for() {
    let mut scene = Scene::running(SPEC, &[10, 10, 10]);
    with_another_image(&mut scene, SPEC);
    let plan = scene.tick(5);
    scene.adopt(&plan);
    let new = scene.pod(3).clone();
    scene.add(new, 0);
    scene.said(3).broker_up = false;
    let plan = scene.tick(5);
    let wait = message(&plan, "Progressing");
    assert!(wait.contains("no connection to Redis"), "{wait}");
}

/// New pods are ready after 10 s; until `seconds` have passed.
fn live(scene: &mut Scene, seconds: i64) {
    for _ in 0..seconds / 5 {
        let plan = scene.tick(5);
        scene.adopt(&plan);
        scene.obey(&plan);
        let (now, pods) = (scene.now, scene.observed.pods.clone());
        for pod in pods.values().filter(|pod| pod.state == PodState::Starting) {
            if now.duration_since(pod.created) >= SignedDuration::from_secs(10) {
                let ready = PodView {
                    ready: true,
                    ready_since: Some(now),
                    ..(**pod).clone()
                };
                scene.add(ready, 0);
            }
        }
    }
}

fn serving(scene: &Scene) -> usize {
    let pods = scene.observed.pods.values();
    pods.filter(|pod| pod.state == PodState::Active && pod.ready)
        .count()
}

#[test]
fn rollout_keeps_the_margin_of_mode_replicas() {
    let spec = |replicas| {
        format!("replicas: {replicas}\nscaling: {{mode: Replicas, minReplicas: 2, maxReplicas: 20}}")
    };
    let mut scene = Scene::running(&spec(10), &[48; 10]);
    with_another_image(&mut scene, &spec(5));
    for _ in 0..240 {
        // Clients of a drained pod come back to the others.
        let sum: i64 = scene.observed.samples.values().map(|s| s.connections).sum();
        if let Some(sample) = scene.observed.samples.values_mut().find(|s| !s.cordoned) {
            sample.connections += 480 - sum;
        }
        live(&mut scene, 5);
        assert!(serving(&scene) >= 8, "480 clients are 80 % of 8 times 75");
    }
    let plan = scene.tick(5);
    assert_eq!(
        condition(&plan, "ScalingLimited"),
        ("True", "InsufficientCapacity")
    );
    assert_eq!(plan.status.updated_replicas, plan.status.replicas);
}

#[test]
fn rollout_shrinks_no_held_pool() {
    let mut scene = Scene::running(BOUNDS, &[30; 10]);
    // The middle of a scale-down from ten pods to eight.
    scene.observed.status.desired_replicas = 8;
    scene.memory.wanted = vec![(scene.now, 8)];
    // A pod is short of memory, and the image changes.
    scene.said(0).admits = false;
    scene.said(0).connections = 60;
    with_another_image(&mut scene, BOUNDS);
    let plan = scene.tick(5);
    assert!(marked(&plan).is_empty(), "{:?}", marked(&plan));
    scene.adopt(&plan);
    for _ in 0..12 {
        live(&mut scene, 5);
        assert!(serving(&scene) >= 10);
    }
}

#[test]
fn full_pool_at_maximum_gets_larger_pods() {
    const FULL: &str = "scaling: {minReplicas: 3, maxReplicas: 3}\ndisruption: {movesPerMinute: 600}\ndrain: {naturalSeconds: 0}";
    let mut scene = Scene::running(FULL, &[50, 50, 50]);
    with_another_image(&mut scene, FULL);
    for _ in 0..600 {
        // Old pods have memory for 50 clients, new ones for 100; there are many more clients than
        // that.
        let pods = scene.observed.pods.clone();
        for (name, sample) in &mut scene.observed.samples {
            let most = if pods[name].serial < 3 { 50 } else { 100 };
            if !sample.cordoned {
                sample.connections = most;
                sample.admits = false;
                sample.refused_full += 5;
            }
        }
        live(&mut scene, 5);
        assert!(serving(&scene) >= 2);
    }
    let plan = scene.tick(5);
    assert_eq!(plan.status.updated_replicas, 3);
}

#[test]
fn waiting_pods_outlive_an_operator_restart() {
    for scheduled in [false, true] {
        let mut scene = Scene::running(BOUNDS, &[75, 75, 75]);
        scene.said(0).connections = 95;
        let plan = scene.tick(5);
        scene.adopt(&plan);
        // Pods that waited for a quarter of an hour, for a node or for Redis.
        let waiting = scene.observed.pods.values_mut().filter(|pod| !pod.ready);
        for pod in waiting {
            pod.created = scene.now - SignedDuration::from_mins(15);
            pod.scheduled = scheduled;
        }
        let there = scene.observed.pods.len();
        assert!(there > 3);
        scene.memory = crate::memory::Memory::default();
        for seconds in [0, 1, 5] {
            // A node was found a moment ago.
            for pod in scene.observed.pods.values_mut() {
                pod.scheduled = true;
            }
            let plan = scene.step(seconds);
            assert!(plan.delete_pods.is_empty(), "{:?}", plan.delete_pods);
        }
    }
}

#[test]
fn unwanted_failed_mark_is_forgotten() {
    let mut scene = Scene::running(BOUNDS, &[20, 30, 10, 20]);
    let plan = scene.tick(301);
    let mark = plan.mark_pods[0].clone();
    let now = scene.now;
    scene.memory.write_failed(&mark.uid);
    scene
        .memory
        .apply_failed("Pod", &mark.name, None, problem(Cause::Object), now);
    let plan = scene.tick(5);
    assert_eq!(marked(&plan).len(), 1, "it is still wanted");
    scene.memory.write_failed(&mark.uid);
    // All four pods are needed again.
    for serial in 0..4 {
        scene.said(serial).connections = 70;
    }
    let plan = scene.tick(5);
    assert_ne!(condition(&plan, "Reconciling").1, "ApplyFailed");
}

#[test]
fn uncancellable_drain_is_no_capacity() {
    let mut scene = Scene::running(BOUNDS, &[20, 30, 10, 20]);
    let plan = scene.tick(301);
    scene.adopt(&plan);
    scene.obey(&plan);
    let leaving = marked(&plan)[0].0.to_owned();
    for serial in 0..4 {
        scene.said(serial).connections = 50;
    }
    // The mark of the cancelled drain is rejected.
    let plan = scene.tick(5);
    let mark = plan.mark_pods.iter().find(|mark| mark.name == leaving).unwrap();
    let now = scene.now;
    scene.memory.write_failed(&mark.uid);
    scene
        .memory
        .apply_failed("Pod", &leaving, None, problem(Cause::Object), now);
    assert!(plan.create_pods.is_empty(), "the cancelled drain is enough");
    let plan = scene.tick(0);
    assert!(!plan.create_pods.is_empty(), "{:?}", marked(&plan));
}

#[test]
fn pod_without_redis_is_named() {
    let mut scene = Scene::running(BOUNDS, &[10, 10, 10]);
    scene.said(1).broker_up = false;
    let plan = scene.tick(5);
    assert_eq!(condition(&plan, "RedisReachable"), ("Unknown", "PartlyConnected"));
    let text = message(&plan, "RedisReachable");
    assert!(text.contains("1 of 3") && text.contains("chat-1"), "{text}");
    assert_eq!(condition(&plan, "Ready").0, "True");
}
