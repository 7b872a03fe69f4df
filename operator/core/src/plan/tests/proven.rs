//! The proven revision of the status: a template that has served for 10 minutes stays proven for
//! the next operator.

use super::quiet::{look, quiet, wait};
use super::scene::{BOUNDS, Scene};
use super::tell::condition;
use crate::memory::Memory;
use crate::observed::{PodState, PodView};
use crate::resources::template_hash;
use crate::testing;

fn with_image(scene: &mut Scene, version: u32) {
    let server =
        format!("server: {{maxConnections: 100, image: \"registry.example.org/wsc-server:{version}\"}}");
    scene.cluster = testing::cluster(&format!("{server}\n{BOUNDS}"));
    scene.observed.generation += 1;
}

/// Another process, which has the status and no memory.
fn restart(scene: &mut Scene) {
    scene.memory = Memory::default();
}

fn lose_all(scene: &mut Scene) {
    scene.observed.pods.clear();
    scene.observed.samples.clear();
}

/// All pods are lost, and their successors crash soon after they were ready, three times each.
fn after_crashes(restarts: bool) -> (String, usize) {
    let mut scene = Scene::running(BOUNDS, &[70; 4]);
    if restarts {
        restart(&mut scene);
    }
    lose_all(&mut scene);
    for _ in 0..3 {
        let plan = scene.tick(5);
        scene.adopt(&plan);
        for (ready, restarted) in [(true, 0), (false, 1)] {
            let now = scene.now;
            for pod in scene.observed.pods.clone().into_values() {
                let pod = PodView {
                    ready,
                    ready_since: ready.then_some(now),
                    restarts: pod.restarts + restarted,
                    ..(*pod).clone()
                };
                scene.add(pod, 0);
            }
            let plan = scene.tick(30);
            scene.adopt(&plan);
        }
    }
    let plan = scene.tick(5);
    (
        condition(&plan, "Stalled").1.to_owned(),
        scene.observed.pods.len(),
    )
}

#[test]
fn pods_lost_with_operator_return_at_once() {
    let mut scene = Scene::running(BOUNDS, &[70; 12]);
    restart(&mut scene);
    lose_all(&mut scene);
    let plan = scene.tick(5);
    assert!(
        plan.create_pods.len() >= 12,
        "{} in the first batch",
        plan.create_pods.len()
    );
}

#[test]
fn crashes_count_alike_after_a_restart() {
    assert_eq!(after_crashes(true), after_crashes(false));
}

#[test]
fn revision_stays_proven_beside_a_new_one() {
    let mut scene = Scene::running(BOUNDS, &[70; 12]);
    let old = template_hash(&scene.cluster);
    // In a quiet time no plan has written it.
    scene.observed.status.proven_revision = None;
    with_image(&mut scene, 2);
    let plan = scene.tick(5);
    let status = &plan.status;
    assert_eq!(status.update_revision, Some(template_hash(&scene.cluster)));
    assert_eq!(
        status.proven_revision.as_ref(),
        Some(&old),
        "the new one is not proven"
    );
    scene.observed.status = plan.status;
    restart(&mut scene);
    with_image(&mut scene, 1);
    lose_all(&mut scene);
    let plan = scene.tick(5);
    assert_eq!(plan.status.update_revision.as_ref(), Some(&old));
    assert!(
        plan.create_pods.len() >= 12,
        "the old template needs no other proof"
    );
}

#[test]
fn new_revision_is_proven_after_ten_minutes() {
    let mut scene = Scene::running(BOUNDS, &[10, 10]);
    let old = template_hash(&scene.cluster);
    with_image(&mut scene, 2);
    let new = template_hash(&scene.cluster);
    let mut ready_at = None;
    for _ in 0..240 {
        let plan = scene.tick(5);
        let served = ready_at.map_or(0, |at| scene.now.duration_since(at).as_secs());
        // The operator notices a ready pod in the next plan.
        let expected = if served >= 605 { &new } else { &old };
        let proven = plan.status.proven_revision.as_ref();
        assert_eq!(
            proven,
            Some(expected),
            "the first new pod was ready for {served} s"
        );
        scene.adopt(&plan);
        scene.obey(&plan);
        let now = scene.now;
        let pods = scene.observed.pods.clone();
        for pod in pods.into_values().filter(|pod| pod.state == PodState::Starting) {
            ready_at.get_or_insert(now);
            let ready = PodView {
                ready: true,
                ready_since: Some(now),
                ..(*pod).clone()
            };
            scene.add(ready, 0);
        }
    }
    assert_eq!(scene.observed.status.proven_revision, Some(new));
}

#[test]
fn next_plan_writes_what_is_proven_quietly() {
    let (mut scene, before) = quiet(&[40, 50, 40]);
    let revision = template_hash(&scene.cluster);
    scene.memory.starts.proven = false;
    scene.observed.status.proven_revision = None;
    for pod in scene.memory.pods.values_mut() {
        pod.ready_since = Some(scene.now);
    }
    for _ in 0..240 {
        wait(&mut scene, 5);
        let seen = look(&scene);
        assert!(seen.is_same(&before), "it is no reason for a plan");
        seen.confirm(&mut scene.memory, scene.now);
    }
    let plan = scene.tick(5);
    assert_eq!(plan.status.proven_revision, Some(revision));
    scene.adopt(&plan);
    assert!(scene.tick(5).is_quiet, "one write is enough");
}
