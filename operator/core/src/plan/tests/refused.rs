//! Clients that HAProxy refuses itself: while the check of every server is answered with 404, no
//! server counts them.

use super::scene::{BOUNDS, Scene};
use super::tell::{condition, marked, tell};

/// The servers do not report that they reject clients, as those of release 0.1.0; HAProxy finds it.
fn full_pool(connections: &[i64]) -> Scene {
    let mut scene = Scene::running(BOUNDS, connections);
    for proxy in 0..2 {
        for server in scene.agent(proxy).servers.values_mut() {
            server.rejects = true;
        }
    }
    scene
}

#[test]
fn pool_full_by_404_grows() {
    let mut scene = full_pool(&[50; 6]);
    scene.haproxy(0).refused += 1;
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
fn empty_pool_that_admits_none_grows() {
    let mut scene = full_pool(&[0; 2]);
    scene.haproxy(1).refused += 3;
    let plan = scene.tick(301);
    assert_eq!(
        plan.status.desired_replicas,
        3,
        "{}",
        tell(&plan, &scene.observed.status)
    );
    assert_eq!(plan.create_pods.len(), 1);
}

#[test]
fn refused_client_holds_scale_down_one_window() {
    let mut scene = Scene::running(BOUNDS, &[20; 6]);
    scene.haproxy(1).refused += 1;
    let plan = scene.tick(301);
    assert_eq!(marked(&plan), [], "{}", tell(&plan, &scene.observed.status));
    assert_eq!(
        plan.create_pods.len(),
        0,
        "servers are up: more of them cure nothing"
    );
    assert!(plan.holds.contains(&("ConnectionsRejected", true)));
    assert_eq!(condition(&plan, "ScalingActive"), ("True", "Held"));
    assert_eq!(marked(&scene.tick(300)), []);
    assert_eq!(marked(&scene.tick(5)).len(), 1);
}

#[test]
fn reload_and_restart_counts_are_apart() {
    let mut scene = Scene::running(BOUNDS, &[20; 6]);
    scene.haproxy(0).refused = 9;
    scene.tick(5);
    let held = |scene: &mut Scene| {
        let plan = scene.tick(301);
        plan.holds.contains(&("ConnectionsRejected", true))
    };
    assert!(!held(&mut scene), "the same count again");
    scene.haproxy(0).id = "8-2".to_owned();
    scene.haproxy(0).refused = 0;
    assert!(!held(&mut scene), "another worker that has refused no client");
    scene.haproxy(0).id = "9-3".to_owned();
    scene.haproxy(0).refused = 2;
    assert!(held(&mut scene), "another worker that has");
    scene.observed.proxies[0].agent = None;
    scene.tick(301);
    let back = Scene::running(BOUNDS, &[20; 6]);
    scene.observed.proxies[0] = back.observed.proxies[0].clone();
    (scene.haproxy(0).id, scene.haproxy(0).refused) = ("9-3".to_owned(), 2);
    assert!(
        !held(&mut scene),
        "the same worker, after an agent without replies"
    );
}

#[test]
fn pod_one_proxy_uses_is_not_full() {
    let mut scene = full_pool(&[20; 6]);
    scene.agent(0).servers.get_mut("chat-0").unwrap().rejects = false;
    scene.haproxy(1).refused += 1;
    let plan = scene.tick(301);
    // Five offer 20, one offers 100: 120 clients are too many for 75 % of the smallest ones.
    assert_eq!(plan.status.connections.capacity, 200);
    assert_eq!(marked(&plan), []);
}

#[test]
fn cordoned_pods_make_no_full_pool() {
    let mut scene = full_pool(&[20; 6]);
    for serial in 0..6 {
        scene.said(serial).cordoned = true;
        scene.said(serial).admits = false;
    }
    scene.haproxy(1).refused += 1;
    let plan = scene.tick(301);
    assert_eq!(plan.status.connections.capacity, 600);
}

#[test]
fn pool_without_samples_grows_while_haproxy_refuses() {
    let mut scene = full_pool(&[50; 3]);
    scene.tick(5);
    scene.observed.samples.clear();
    let mut desired = Vec::new();
    for _ in 0..24 {
        scene.haproxy(0).refused += 1;
        let plan = scene.step(5);
        desired.push(plan.status.desired_replicas);
        scene.adopt(&plan);
    }
    assert_eq!(desired.last(), Some(&4), "one pod more than serve: {desired:?}");
    let name = "chat-3";
    let pod = scene.pod(3);
    (pod.ready, pod.state) = (true, crate::observed::PodState::Active);
    let plan = scene.step(5);
    scene.adopt(&plan);
    assert!(!scene.agent(0).servers[name].rejects);
    for _ in 0..24 {
        let plan = scene.step(5);
        assert_eq!(plan.status.desired_replicas, 4, "a server is in rotation");
        scene.adopt(&plan);
    }
}

#[test]
fn full_pool_of_fixed_size_is_reported() {
    const SPEC: &str = "replicas: 3\nscaling: {mode: Replicas, minReplicas: 3, maxReplicas: 20}";
    let mut scene = Scene::running(SPEC, &[50; 3]);
    let plan = scene.tick(301);
    assert_eq!(condition(&plan, "ScalingLimited").0, "False");
    for serial in 0..3 {
        scene.said(serial).admits = false;
    }
    let plan = scene.tick(5);
    assert_eq!(
        condition(&plan, "ScalingLimited"),
        ("True", "InsufficientCapacity"),
        "all pods are short of memory"
    );
}
