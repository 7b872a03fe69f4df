//! A hold protects capacity that works; it must not forbid what would end it. Each sick pool here
//! is cured by a change of the spec.

use k8s_openapi::jiff::SignedDuration;

use super::scene::Scene;
use crate::observed::{PodState, PodView, SharedPod};
use crate::testing;

const SPEC: &str = "scaling: {minReplicas: 3, maxReplicas: 20}\ndisruption: {movesPerMinute: 600}";
/// A pod is Ready this long after its creation.
const START: SignedDuration = SignedDuration::from_secs(10);

/// Another Redis is another template.
fn with_another_redis(scene: &mut Scene) {
    scene.cluster = testing::cluster(&format!(
        "server: {{maxConnections: 100}}\nredis: {{external: {{url: \"redis://other:6379\"}}}}\n{SPEC}"
    ));
    scene.observed.generation += 1;
}

/// Passes follow each other, and all that they ask for is done. New pods are healthy.
fn live(scene: &mut Scene, seconds: i64) {
    for _ in 0..seconds / 5 {
        let plan = scene.tick(5);
        scene.adopt(&plan);
        scene.obey(&plan);
        let (now, pods) = (scene.now, scene.observed.pods.clone());
        let starts =
            |pod: &&SharedPod| pod.state == PodState::Starting && now.duration_since(pod.created) >= START;
        for pod in pods.values().filter(starts) {
            let ready = PodView {
                ready: true,
                ready_since: Some(now),
                ..(**pod).clone()
            };
            scene.add(ready, 0);
        }
    }
}

/// Pods that the pool had before the spec was changed.
fn old(scene: &Scene) -> Vec<&str> {
    let pods = scene.observed.pods.values();
    pods.filter(|pod| pod.serial < 3)
        .map(|pod| pod.name.as_str())
        .collect()
}

#[test]
fn another_redis_replaces_pods_that_have_none() {
    let mut scene = Scene::running(SPEC, &[10, 10, 10]);
    for serial in 0..3 {
        scene.said(serial).broker_up = false;
    }
    live(&mut scene, 120);
    assert_eq!(old(&scene).len(), 3, "nothing drains while Redis is down");
    with_another_redis(&mut scene);
    live(&mut scene, 1200);
    assert_eq!(old(&scene), [""; 0]);
    assert_eq!(scene.observed.pods.len(), 3);
}

#[test]
fn another_template_replaces_silent_pods() {
    let mut scene = Scene::running(SPEC, &[10, 10, 10]);
    scene.observed.samples.clear();
    live(&mut scene, 300);
    assert_eq!(old(&scene).len(), 3, "nothing drains without samples");
    with_another_redis(&mut scene);
    live(&mut scene, 7200);
    assert_eq!(old(&scene), [""; 0]);
    assert_eq!(scene.observed.pods.len(), 3);
}

#[test]
fn a_sick_template_replaces_nothing() {
    let mut scene = Scene::running(SPEC, &[10, 10, 10]);
    with_another_redis(&mut scene);
    let sick = |scene: &mut Scene| {
        for serial in 3..9 {
            let name = wsc_contract::names::server_pod("chat", serial);
            if let Some(sample) = scene.observed.samples.get_mut(&name) {
                sample.broker_up = false;
            }
        }
    };
    for _ in 0..240 {
        live(&mut scene, 5);
        sick(&mut scene);
    }
    assert_eq!(old(&scene).len(), 3, "{:?}", scene.observed.pods.keys());
    assert!(scene.observed.pods.len() <= 4);
}
