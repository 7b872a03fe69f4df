//! Pods that are lost are replaced at once: they are no growth.

use k8s_openapi::jiff::SignedDuration;

use super::scene::{BOUNDS, Scene};
use super::starts::{become_ready, live, starting, with_another_image};
use crate::failures::{Cause, Problem};
use crate::memory::Memory;

/// All pods but the first number of them are deleted.
fn lose(scene: &mut Scene, kept: i64) {
    scene.observed.pods.retain(|_, pod| pod.serial < kept);
    let pods = &scene.observed.pods;
    scene.observed.samples.retain(|name, _| pods.contains_key(name));
}

/// Twelve pods and the buffer, which starts.
fn pool() -> Scene {
    let mut scene = Scene::running(BOUNDS, &[70; 12]);
    live(&mut scene, 10, |_, _| {});
    scene
}

#[test]
fn lost_pods_are_created_at_once() {
    let mut scene = pool();
    lose(&mut scene, 1);
    let plan = scene.tick(5);
    assert_eq!(plan.create_pods.len(), 12, "all that are lost");
}

#[test]
fn pods_on_lost_nodes_return_at_once() {
    let mut scene = pool();
    for pod in scene.observed.pods.values_mut().filter(|pod| pod.serial < 11) {
        (pod.ready, pod.ready_since, pod.node_ready) = (false, None, false);
    }
    let names: Vec<_> = (0..11).map(|serial| format!("chat-{serial}")).collect();
    scene.observed.samples.retain(|name, _| !names.contains(name));
    for index in 0..2 {
        for name in &names {
            scene.agent(index).servers.get_mut(name).unwrap().up = false;
        }
    }
    let plan = scene.tick(20);
    assert_eq!(plan.create_pods.len(), 11, "those of one node remain");
}

#[test]
fn pods_lost_in_restart_return_at_once() {
    let mut scene = pool();
    lose(&mut scene, 1);
    scene.memory = Memory::default();
    let plan = scene.tick(5);
    assert_eq!(
        plan.create_pods.len(),
        12,
        "the status has their number, and the first pod proves the template"
    );
}

#[test]
fn loss_is_repaired_after_failed_creates() {
    let mut scene = pool();
    lose(&mut scene, 1);
    let mut plan = scene.tick(5);
    plan.create_pods.clear();
    plan.status.starting_replicas = 0;
    let problem = Problem {
        message: "no response".to_owned(),
        cause: Cause::Call,
    };
    scene.memory.creates_failed("chat-24", problem, scene.now);
    scene.adopt(&plan);
    assert!(scene.tick(1).create_pods.is_empty(), "there is a pause");
    let plan = scene.tick(10);
    assert_eq!(plan.create_pods.len(), 12, "the status has one pod by now");
}

#[test]
fn growth_after_a_loss_comes_in_batches() {
    let mut scene = pool();
    lose(&mut scene, 1);
    live(&mut scene, 30, |scene, _| {
        for pod in starting(scene) {
            become_ready(scene, pod);
        }
    });
    for sample in scene.observed.samples.values_mut() {
        sample.connections = 100;
    }
    scene.now += SignedDuration::from_secs(15);
    let plan = scene.tick(1);
    assert_eq!(plan.status.desired_replicas, 19);
    assert_eq!(plan.create_pods.len(), 1, "no pod was lost");
}

#[test]
fn unproven_template_comes_in_batches() {
    let mut scene = pool();
    lose(&mut scene, 0);
    with_another_image(&mut scene, BOUNDS);
    let plan = scene.tick(15);
    assert_eq!(plan.create_pods.len(), 1, "the first of a batch");
}
