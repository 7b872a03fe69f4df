//! What pods really take: less than the resource says where memory or files are short.

use k8s_openapi::jiff::SignedDuration;

use super::scene::{BOUNDS, Scene};
use super::tell::{changes_no_pod, condition, marked, tell};
use crate::observed::PodState;
use crate::testing;

#[test]
fn pool_short_of_memory_grows() {
    let mut scene = Scene::running(BOUNDS, &[50; 6]);
    for serial in 0..6 {
        scene.said(serial).admits = false;
    }
    // 300 clients are the target of four pods by their connection limits.
    let plan = scene.tick(301);
    assert_eq!(marked(&plan), [], "{}", tell(&plan, &scene.observed.status));
    assert_eq!(plan.status.connections.capacity, 300);
    assert_eq!(
        plan.status.desired_replicas, 10,
        "nine at 75 % of 50 clients, and the buffer"
    );
    assert_eq!(plan.create_pods.len(), 1);
}

#[test]
fn pool_waits_for_sample_of_new_pod() {
    let bounds = "scaling: {minReplicas: 2, maxReplicas: 20, buffer: 0}";
    let mut scene = Scene::running(bounds, &[50; 2]);
    for serial in 0..2 {
        scene.said(serial).admits = false;
    }
    let plan = scene.tick(5);
    assert_eq!(plan.create_pods.len(), 1, "75 % of two times 50 are too few");
    scene.adopt(&plan);
    let now = scene.now + SignedDuration::from_secs(5);
    let pod = scene.pod(2);
    (pod.ready, pod.ready_since) = (true, Some(now));
    let plan = scene.tick(5);
    assert_eq!(plan.status.desired_replicas, 3, "its first sample is due");
    assert_eq!(plan.create_pods.len(), 0);
    scene.adopt(&plan);
    let plan = scene.tick(16);
    assert_eq!(
        plan.status.desired_replicas, 4,
        "a pod without samples may reject clients too"
    );
}

#[test]
fn memory_shortage_holds_scale_down_one_window() {
    let mut scene = Scene::running(BOUNDS, &[20; 6]);
    scene.said(0).admits = false;
    let plan = scene.tick(301);
    assert_eq!(marked(&plan), [], "{}", tell(&plan, &scene.observed.status));
    assert_eq!(condition(&plan, "ScalingActive"), ("True", "Held"));
    let conditions = &plan.status.conditions;
    let active = conditions
        .iter()
        .find(|condition| condition.type_ == "ScalingActive");
    assert!(
        active
            .unwrap()
            .message
            .contains("it ends one stabilization window"),
        "{active:?}"
    );
    assert!(plan.holds.contains(&("ConnectionsRejected", true)) && plan.holds.contains(&("Panic", false)));
    scene.said(0).admits = true;
    let plan = scene.tick(300);
    assert_eq!(marked(&plan), []);
    assert_eq!(condition(&plan, "ScalingActive"), ("True", "Held"));
    let plan = scene.tick(5);
    assert_eq!(marked(&plan).len(), 1);
}

#[test]
fn pod_that_is_merely_full_holds_nothing() {
    let mut scene = Scene::running(BOUNDS, &[20; 6]);
    let full = scene.said(0);
    (full.connections, full.admits) = (100, false);
    // 200 clients are the target of three pods, and the buffer is one.
    let plan = scene.tick(301);
    assert!(
        !plan.holds.contains(&("ConnectionsRejected", true)),
        "HAProxy sends clients to the others: {}",
        tell(&plan, &scene.observed.status)
    );
    assert_eq!(plan.status.connections.capacity, 500, "one of six drains");
    assert_eq!(marked(&plan).len(), 1);
}

#[test]
fn rollout_counts_by_sessions_of_haproxy() {
    const SPEC: &str = "replicas: 3\nscaling: {mode: Replicas, minReplicas: 3, maxReplicas: 20}\n\
         disruption: {maxConcurrentDrains: 3, movesPerMinute: 600}";
    let drained = |sessions: i64| {
        let mut scene = Scene::running(SPEC, &[90, 90, 5]);
        scene.cluster = testing::cluster(&format!(
            "server: {{maxConnections: 100, image: registry.example.org/wsc-server:2}}\n{SPEC}"
        ));
        for (serial, connections) in [(3, 95), (4, 0)] {
            let plan = scene.tick(5);
            scene.adopt(&plan);
            let mut pod = scene.pod(serial).clone();
            (pod.ready, pod.ready_since) = (true, Some(scene.now));
            scene.add(pod, connections);
            let plan = scene.tick(5);
            scene.adopt(&plan);
            if serial == 3 {
                let plan = scene.tick(10);
                assert_eq!(marked(&plan), [("chat-2", PodState::Cordoned)]);
                scene.adopt(&plan);
            }
        }
        // The draining pod does not respond for longer than its last sample counts.
        scene.observed.samples.remove("chat-2");
        scene.agent(0).servers.get_mut("chat-2").unwrap().sessions = sessions;
        let plan = scene.tick(10);
        marked(&plan).len()
    };
    // 275 clients on the others, which offer 300 without one of the old pods.
    assert_eq!(drained(5), 1, "its clients fit by HAProxy's count");
    assert_eq!(drained(60), 0, "and these would not");
}

#[test]
fn one_small_limit_counts_for_one_pod() {
    let mut scene = Scene::running(BOUNDS, &[50; 8]);
    let small = scene.said(0);
    (small.capacity, small.connections) = (10, 5);
    let plan = scene.tick(301);
    // 75 % of 10 and five times 100 are enough for 355 clients, and the buffer is one pod.
    assert_eq!(
        plan.status.desired_replicas,
        7,
        "{}",
        tell(&plan, &scene.observed.status)
    );
    assert_eq!(marked(&plan), [("chat-0", PodState::Cordoned)]);
    assert_eq!(plan.create_pods.len(), 0);
}

#[test]
fn raised_connection_limit_counts_once_applied() {
    let mut scene = Scene::running(BOUNDS, &[50; 4]);
    scene.cluster = testing::cluster(&format!("server: {{maxConnections: 1000}}\n{BOUNDS}"));
    for serial in 0..4 {
        scene.said(serial).connections = 95;
    }
    let plan = scene.tick(5);
    assert_eq!(plan.status.connections.capacity, 400);
    // 75 % of four times 100 and of 1000 are enough for 380 clients, and the buffer is one pod.
    assert_eq!(plan.status.desired_replicas, 6);
}

#[test]
fn clients_of_a_dead_pod_count_once() {
    let mut scene = Scene::running(BOUNDS, &[70, 70, 70, 70]);
    scene.pod(3).ready = false;
    for proxy in &mut scene.observed.proxies {
        let agent = std::sync::Arc::make_mut(proxy.agent.as_mut().unwrap());
        agent.servers.get_mut("chat-3").unwrap().up = false;
    }
    for serial in 0..3 {
        scene.said(serial).connections = 93;
    }
    let dead_at = scene.now;
    for _ in 0..12 {
        let plan = scene.tick(5);
        scene.said(3).at = dead_at;
        scene.adopt(&plan);
    }
    let plan = scene.step(0);
    assert_eq!(
        plan.status.connections.current,
        279,
        "{}",
        tell(&plan, &scene.observed.status)
    );
}

#[test]
fn rollout_replaces_a_tenth_at_once() {
    const SPEC: &str = "scaling: {minReplicas: 20, maxReplicas: 30}\ndisruption: {maxConcurrentDrains: 4, movesPerMinute: 600}";
    let mut scene = Scene::running(SPEC, &[30; 20]);
    scene.cluster = testing::cluster(&format!(
        "server: {{maxConnections: 100, image: registry.example.org/wsc-server:2}}\n{SPEC}"
    ));
    scene.observed.generation += 1;
    let plan = scene.tick(5);
    assert_eq!(plan.create_pods.len(), 1, "one, until it is proven");
    scene.adopt(&plan);
    assert!(changes_no_pod(&scene.tick(5)));
    let start = |scene: &mut Scene, serial| {
        let mut pod = scene.pod(serial).clone();
        (pod.ready, pod.ready_since) = (true, Some(scene.now));
        scene.add(pod, 0);
    };
    start(&mut scene, 20);
    let plan = scene.tick(5);
    scene.adopt(&plan);
    let plan = scene.tick(10);
    assert_eq!(marked(&plan).len(), 1, "one is proven, one drains");
    assert_eq!(plan.create_pods.len(), 1);
    scene.adopt(&plan);
    let plan = scene.tick(5);
    assert_eq!(plan.create_pods.len(), 1, "two more than 20 serve or start");
    scene.adopt(&plan);
    start(&mut scene, 21);
    start(&mut scene, 22);
    let plan = scene.tick(5);
    scene.adopt(&plan);
    let plan = scene.tick(10);
    assert_eq!(marked(&plan).len(), 2, "{}", tell(&plan, &scene.observed.status));
    scene.adopt(&plan);
    let draining = scene
        .observed
        .pods
        .values()
        .filter(|pod| pod.state == PodState::Cordoned);
    assert_eq!(draining.count(), 3);
}
