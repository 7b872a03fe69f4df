//! Templates whose pods fail: what works stays, and the next attempt follows by itself.

use std::collections::BTreeMap;

use wsc_contract::names;

use super::scene::Scene;
use super::starts::{MINUTE, become_ready, crash_from, live, starting, with_another_image};
use super::tell::{condition, message, tell};
use crate::observed::PodState;

/// Pods in rotation of the template that the pool had first.
fn old(scene: &Scene, pods: i64) -> usize {
    let there = scene.observed.pods.values();
    there
        .filter(|pod| pod.serial < pods && pod.state == PodState::Active)
        .count()
}

#[test]
fn crashing_template_keeps_the_old_pods() {
    const SPEC: &str = "scaling: {minReplicas: 20, maxReplicas: 30}\n\
         disruption: {maxConcurrentDrains: 4, movesPerMinute: 600}";
    let mut scene = Scene::running(SPEC, &[30; 20]);
    with_another_image(&mut scene, SPEC);
    let (mut ended, mut stalled_for) = (BTreeMap::new(), 0);
    live(&mut scene, 60 * MINUTE, |scene, plan| {
        crash_from(20, scene, &mut ended);
        if condition(plan, "Stalled") != ("True", "PodCrashed") {
            return;
        }
        stalled_for += 5;
        let drained = plan.mark_pods.iter().filter(|mark| mark.state.is_draining());
        let old = drained.filter(|mark| names::serial_of("chat", &mark.name) < Some(20));
        let told = tell(plan, &scene.observed.status);
        assert_eq!(old.count(), 0, "an old pod drains for pods that fail: {told}");
    });
    assert!(stalled_for > 30 * MINUTE, "{stalled_for} s");
    assert!(old(&scene, 20) >= 18, "{} of 20 old pods", old(&scene, 20));
}

#[test]
fn stalled_rollout_continues_after_its_pods_left() {
    const SPEC: &str = "scaling: {minReplicas: 3, maxReplicas: 9}\ndisruption: {movesPerMinute: 600}";
    let mut scene = Scene::running(SPEC, &[10; 3]);
    with_another_image(&mut scene, SPEC);
    let mut stalled = false;
    live(&mut scene, 60 * MINUTE, |_, plan| {
        stalled |= condition(plan, "Stalled") == ("True", "PodStartFailed");
    });
    assert!(stalled && !starting(&scene).is_empty());
    for pod in starting(&scene) {
        scene.observed.pods.remove(&pod.name);
    }
    let mut plan = None;
    live(&mut scene, 15 * MINUTE, |scene, now| {
        for pod in starting(scene) {
            become_ready(scene, pod);
        }
        plan = Some(now.clone());
    });
    let plan = plan.unwrap();
    assert_eq!(
        plan.status.updated_replicas,
        3,
        "{}",
        message(&plan, "Progressing")
    );
    assert_eq!(condition(&plan, "Stalled").0, "False");
}

#[test]
fn stalled_growth_is_tried_elsewhere() {
    const SPEC: &str = "scaling: {minReplicas: 5, maxReplicas: 9}";
    let mut scene = Scene::running(SPEC, &[10; 3]);
    let (mut stalled, mut created) = (false, 0);
    live(&mut scene, 90 * MINUTE, |_, plan| {
        stalled |= condition(plan, "Stalled") == ("True", "PodStartFailed");
        created += if stalled { plan.create_pods.len() } else { 0 };
    });
    assert!(stalled, "two pods wait for a node that never starts them");
    assert!(
        (1..=12).contains(&created),
        "one at a time, with pauses: {created}"
    );
    live(&mut scene, 20 * MINUTE, |scene, _| {
        // The node starts none of the old ones; another starts new ones.
        for pod in starting(scene) {
            if scene.now.duration_since(pod.created).as_secs() < 10 {
                become_ready(scene, pod);
            }
        }
    });
    assert_eq!(old(&scene, i64::MAX), 5);
}
