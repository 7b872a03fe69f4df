//! Rollouts of pools that have no room for one more pod.

use super::scene::Scene;
use super::tell::message;
use crate::failures::{Cause, Problem};
use crate::observed::{NoNode, PodPhase, PodState, PodView};
use crate::plan::Plan;
use crate::testing;

const MINUTE: i64 = 60;
const SPEC: &str = "scaling: {minReplicas: 3, maxReplicas: 20}\ndisruption: {movesPerMinute: 600}\ndrain: {naturalSeconds: 0}";
/// More pods than there is room for.
const LARGER: &str = "scaling: {minReplicas: 5, maxReplicas: 20}\ndisruption: {movesPerMinute: 600}\ndrain: {naturalSeconds: 0}";

fn with_another_image(scene: &mut Scene, spec: &str) {
    let server = "server: {maxConnections: 100, image: \"registry.example.org/wsc-server:2\"}";
    scene.cluster = testing::cluster(&format!("{server}\n{spec}"));
    scene.observed.generation += 1;
}

fn serving(scene: &Scene) -> usize {
    let pods = scene.observed.pods.values();
    pods.filter(|pod| pod.state == PodState::Active && pod.ready)
        .count()
}

/// Nodes have room for this number of pods.
struct Nodes {
    pods: usize,
    /// New pods find room there.
    hold_new: bool,
}

impl Nodes {
    /// A reconcile every 5 s; what it asks for is done, and each pod is scheduled where there is
    /// room.
    fn live(&self, scene: &mut Scene, seconds: i64, mut then: impl FnMut(&Scene, &Plan)) {
        for _ in 0..seconds / 5 {
            let plan = scene.tick(5);
            scene.adopt(&plan);
            scene.obey(&plan);
            let now = scene.now;
            let pods = scene.observed.pods.clone();
            let mut free = self
                .pods
                .saturating_sub(pods.values().filter(|pod| pod.ready).count());
            for pod in pods.values().filter(|pod| !pod.ready) {
                let fits = self.hold_new && free > 0;
                free -= usize::from(fits);
                let view = PodView {
                    scheduled: fits,
                    ready: fits,
                    ready_since: fits.then_some(now),
                    phase: if fits {
                        PodPhase::Running
                    } else {
                        PodPhase::Pending
                    },
                    waiting_reason: (!fits).then(|| "Unschedulable".to_owned()),
                    ..(**pod).clone()
                };
                if fits {
                    scene.add(view, 0);
                } else {
                    scene.observed.pods.insert(view.name.clone(), view.into());
                }
            }
            then(scene, &plan);
        }
    }
}

/// The quota allows this number of pods.
fn live_with_quota(scene: &mut Scene, pods: usize, seconds: i64, mut then: impl FnMut(&Scene)) {
    for _ in 0..seconds / 5 {
        let mut plan = scene.tick(5);
        if !plan.create_pods.is_empty() {
            let left = scene.observed.pods.len() - plan.delete_pods.len();
            let allowed = pods.saturating_sub(left).min(plan.create_pods.len());
            let rejected = plan.create_pods.split_off(allowed);
            if rejected.is_empty() {
                scene.memory.creates_accepted();
            } else {
                let problem = Problem {
                    message: "exceeded quota: few".to_owned(),
                    cause: Cause::Quota,
                };
                scene.memory.creates_failed("chat-9", problem, scene.now);
            }
        }
        scene.adopt(&plan);
        scene.obey(&plan);
        let now = scene.now;
        for pod in scene.observed.pods.clone().values().filter(|pod| !pod.ready) {
            let ready = PodView {
                ready: true,
                ready_since: Some(now),
                ..(**pod).clone()
            };
            scene.add(ready, 0);
        }
        then(scene);
    }
}

#[test]
fn template_that_no_node_holds_drains_none() {
    let mut scene = Scene::running(SPEC, &[10, 10, 10]);
    with_another_image(&mut scene, SPEC);
    scene.observed.no_node = Some(NoNode::TooSmall {
        resource: "memory",
        request: "64Gi".to_owned(),
        largest: "16Gi".to_owned(),
    });
    let nodes = Nodes {
        pods: 3,
        hold_new: false,
    };
    nodes.live(&mut scene, 30 * MINUTE, |scene, plan| {
        assert!(plan.mark_pods.is_empty(), "{:?}", plan.mark_pods);
        assert_eq!(serving(scene), 3);
    });
    let plan = scene.tick(5);
    let wait = message(&plan, "Progressing");
    for part in ["memory", "64Gi", "16Gi"] {
        assert!(wait.contains(part), "{wait}");
    }
}

#[test]
fn rollout_continues_beside_pods_without_node() {
    let mut scene = Scene::running(SPEC, &[10; 4]);
    with_another_image(&mut scene, LARGER);
    let nodes = Nodes {
        pods: 4,
        hold_new: true,
    };
    nodes.live(&mut scene, 90 * MINUTE, |scene, _| assert!(serving(scene) >= 3));
    assert_eq!(scene.tick(5).status.updated_replicas, 4);
}

#[test]
fn pod_without_successor_stays_the_only_one() {
    let mut scene = Scene::running(SPEC, &[10; 4]);
    with_another_image(&mut scene, LARGER);
    // The place that an old pod leaves is too small, though a node is large enough.
    let nodes = Nodes {
        pods: 4,
        hold_new: false,
    };
    nodes.live(&mut scene, 120 * MINUTE, |scene, _| assert!(serving(scene) >= 3));
    assert_eq!(serving(&scene), 3, "one pod made room");
}

#[test]
fn rollout_continues_beside_pods_over_quota() {
    let mut scene = Scene::running(SPEC, &[10; 4]);
    with_another_image(&mut scene, LARGER);
    live_with_quota(&mut scene, 4, 90 * MINUTE, |scene| assert!(serving(scene) >= 3));
    assert_eq!(scene.tick(5).status.updated_replicas, 4);
}

#[test]
fn full_pool_over_quota_gets_larger_pods() {
    const SMALL: &str = "scaling: {minReplicas: 3, maxReplicas: 20}\ndisruption: {movesPerMinute: 600}\ndrain: {naturalSeconds: 0}";
    let mut scene = Scene::running(SMALL, &[50; 4]);
    with_another_image(&mut scene, SMALL);
    for _ in 0..720 {
        // Old pods have memory for 50 clients, new ones for 100; there are many more clients than
        // that.
        let pods = scene.observed.pods.clone();
        for (name, sample) in &mut scene.observed.samples {
            let most = if pods[name].serial < 4 { 50 } else { 100 };
            if !sample.cordoned {
                sample.connections = most;
                sample.admits = false;
                sample.refused_full += 5;
            }
        }
        live_with_quota(&mut scene, 4, 5, |scene| assert!(serving(scene) >= 3));
    }
    assert_eq!(scene.tick(5).status.updated_replicas, 4);
}
