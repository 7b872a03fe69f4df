//! Pods that do not come up: for want of a node or of Redis, by their template, or because the API
//! server rejects them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::scene::{BOUNDS, Scene};
use super::tell::{condition, marked, tell};
use crate::failures::{Cause, Problem};
use crate::observed::{PodState, PodView};
use crate::plan::Plan;
use crate::testing;

pub(super) const MINUTE: i64 = 60;

/// Passes follow each other every 5 s, all that they ask for is done, and `then` says what became
/// of the pods.
pub(super) fn live(scene: &mut Scene, seconds: i64, mut then: impl FnMut(&mut Scene, &Plan)) {
    for _ in 0..seconds / 5 {
        let plan = scene.tick(5);
        scene.adopt(&plan);
        scene.obey(&plan);
        then(scene, &plan);
    }
}

pub(super) fn starting(scene: &Scene) -> Vec<PodView> {
    let pods = scene.observed.pods.values();
    pods.filter(|pod| pod.state == PodState::Starting && !pod.ready)
        .map(|pod| (**pod).clone())
        .collect()
}

pub(super) fn become_ready(scene: &mut Scene, pod: PodView) {
    let ready = PodView {
        ready: true,
        ready_since: Some(scene.now),
        scheduled: true,
        waiting_reason: None,
        ..pod
    };
    scene.add(ready, 0);
}

/// No node has room for new pods.
fn without_nodes(scene: &mut Scene) {
    for pod in starting(scene) {
        let waits = PodView {
            scheduled: false,
            waiting_reason: Some("Unschedulable".to_owned()),
            ..pod
        };
        scene.observed.pods.insert(waits.name.clone(), waits.into());
    }
}

pub(super) fn with_another_image(scene: &mut Scene, spec: &str) {
    let server = "server: {maxConnections: 100, image: \"registry.example.org/wsc-server:2\"}";
    scene.cluster = testing::cluster(&format!("{server}\n{spec}"));
    scene.observed.generation += 1;
}

fn active(scene: &Scene) -> usize {
    let pods = scene.observed.pods.values();
    pods.filter(|pod| pod.state == PodState::Active).count()
}

fn few() -> Problem {
    Problem {
        message: "exceeded quota: few".to_owned(),
        cause: Cause::Quota,
    }
}

#[test]
fn pods_without_a_node_wait_for_it() {
    let mut scene = Scene::running(BOUNDS, &[75, 75, 75]);
    scene.said(0).connections = 95;
    live(&mut scene, 60 * MINUTE, |scene, plan| {
        without_nodes(scene);
        assert!(plan.delete_pods.is_empty());
        assert_eq!(condition(plan, "Stalled").0, "False");
    });
    let plan = scene.tick(5);
    assert_eq!(condition(&plan, "Progressing"), ("True", "WaitingForNodes"));
    let waiting = starting(&scene);
    assert_eq!(waiting.len(), 2, "no pod more than needed");
    for pod in waiting {
        become_ready(&mut scene, pod);
    }
    live(&mut scene, 10, |_, _| {});
    assert_eq!(active(&scene), 5);
}

#[test]
fn pods_without_redis_wait_for_it() {
    let mut scene = Scene::running(BOUNDS, &[75, 75, 75]);
    scene.said(0).connections = 95;
    let answer = |scene: &mut Scene, broker_up: bool| {
        for pod in starting(scene) {
            scene.add(pod, 0);
        }
        for sample in scene.observed.samples.values_mut() {
            sample.broker_up = broker_up;
        }
    };
    let mut waited = false;
    live(&mut scene, 30 * MINUTE, |scene, plan| {
        answer(scene, false);
        assert!(plan.delete_pods.is_empty());
        assert_eq!(condition(plan, "Stalled").0, "False");
        waited |= condition(plan, "Progressing") == ("True", "WaitingForBroker");
    });
    assert!(waited);
    // Redis is back, and the readiness probes need a moment.
    live(&mut scene, 10, |scene, plan| {
        answer(scene, true);
        assert!(plan.delete_pods.is_empty());
    });
    for pod in starting(&scene) {
        become_ready(&mut scene, pod);
    }
    live(&mut scene, 10, |_, _| {});
    assert_eq!(active(&scene), 5);
}

/// Servers that do not run respond neither to the operator nor to HAProxy.
pub(super) fn silence(scene: &mut Scene) {
    let pods = &scene.observed.pods;
    let is_ready = |name: &String| pods.get(name).is_some_and(|pod| pod.ready);
    scene.observed.samples.retain(|name, _| is_ready(name));
    let agents = scene.observed.proxies.iter_mut();
    for agent in agents.filter_map(|proxy| proxy.agent.as_mut().map(Arc::make_mut)) {
        for (name, server) in &mut agent.servers {
            server.up = is_ready(name);
        }
    }
}

/// The kubelet's part in a server that ends 30 s after it became ready: it starts it again after 10
/// s, 20 s, 40 s and so on.
pub(super) fn crash(scene: &mut Scene, ended: &mut BTreeMap<String, Timestamp>) {
    crash_from(0, scene, ended);
}

/// The same for the servers of pods from this serial on.
pub(super) fn crash_from(first: i64, scene: &mut Scene, ended: &mut BTreeMap<String, Timestamp>) {
    let now = scene.now;
    let pods = scene.observed.pods.clone();
    for pod in pods.values().filter(|pod| pod.serial >= first) {
        let name = pod.name.clone();
        let ready_for = pod.ready_since.map(|at| now.duration_since(at).as_secs());
        if pod.ready && ready_for >= Some(30) {
            ended.insert(name.clone(), now);
            let pod = PodView {
                ready: false,
                ready_since: None,
                waiting_reason: Some("CrashLoopBackOff".to_owned()),
                restarts: pod.restarts + 1,
                last_exit: Some("its server exited with code 1".to_owned()),
                ..(**pod).clone()
            };
            scene.observed.pods.insert(name, pod.into());
        } else if !pod.ready {
            let pause = 5 << pod.restarts.min(6);
            let ended = ended.get(&name).copied().unwrap_or(pod.created);
            if now.duration_since(ended).as_secs() >= pause {
                become_ready(scene, (**pod).clone());
            }
        }
    }
    silence(scene);
}

#[test]
fn image_failing_after_ready_is_stalled() {
    let spec = "scaling: {minReplicas: 10, maxReplicas: 10}";
    let mut scene = Scene::fresh(spec);
    scene.observed.proxy_ready = Some(2);
    let (mut stalled, mut ended) = (None, BTreeMap::new());
    let begin = scene.now;
    live(&mut scene, 60 * MINUTE, |scene, plan| {
        crash(scene, &mut ended);
        let there = scene.observed.pods.values();
        let there = there.filter(|pod| !pod.state.is_draining()).count();
        assert!(there <= 11, "{there} pods of a maximum of 10");
        if condition(plan, "Stalled") == ("True", "PodCrashed") {
            stalled.get_or_insert(scene.now.duration_since(begin));
        }
    });
    assert!(
        stalled.is_some_and(|after| after <= SignedDuration::from_mins(5)),
        "{stalled:?}"
    );
    with_another_image(&mut scene, spec);
    let mut plan = None;
    live(&mut scene, 90 * MINUTE, |scene, now| {
        for pod in starting(scene) {
            become_ready(scene, pod);
        }
        plan = Some(now.clone());
    });
    let plan = plan.unwrap();
    assert_eq!(condition(&plan, "Stalled").0, "False");
    assert_eq!(plan.status.updated_replicas, 10);
}

#[test]
fn pods_created_together_are_one_attempt() {
    let mut scene = Scene::fresh("scaling: {minReplicas: 4, maxReplicas: 20}");
    live(&mut scene, 11 * MINUTE, |_, plan| {
        assert_eq!(condition(plan, "Stalled").0, "False");
    });
    let mut stalled = false;
    live(&mut scene, 22 * MINUTE, |_, plan| {
        stalled |= condition(plan, "Stalled") == ("True", "PodStartFailed");
    });
    assert!(stalled);
}

#[test]
fn start_deadline_is_a_field() {
    let slow = "server: {startDeadlineSeconds: 3600, maxConnections: 100}\nscaling: {minReplicas: 1, maxReplicas: 4}";
    let mut scene = Scene::fresh(BOUNDS);
    scene.cluster = testing::cluster(slow);
    live(&mut scene, 59 * MINUTE, |_, plan| {
        assert!(plan.delete_pods.is_empty());
    });
}

/// The API server rejects each create for `seconds`; returns the longest pause between two
/// attempts.
fn rejected(scene: &mut Scene, seconds: i64) -> i64 {
    let (mut last, mut longest) = (scene.now, SignedDuration::ZERO);
    for _ in 0..seconds {
        let mut plan = scene.tick(1);
        if !plan.create_pods.is_empty() {
            longest = longest.max(scene.now.duration_since(last));
            last = scene.now;
            plan.create_pods.clear();
            scene.memory.creates_failed("chat-9", few(), scene.now);
        }
        scene.adopt(&plan);
        scene.obey(&plan);
    }
    longest.as_secs()
}

#[test]
fn rejected_pods_are_tried_again_each_minute() {
    let mut scene = Scene::running(BOUNDS, &[75, 75, 75]);
    scene.said(0).connections = 95;
    let longest = rejected(&mut scene, 20 * MINUTE);
    assert_eq!(longest, MINUTE);
    let plan = scene.tick(0);
    assert_eq!(condition(&plan, "Stalled"), ("True", "PodRejected"));
    assert!(plan.delete_pods.is_empty());
    // Fewer clients need no more pods: nothing is rejected any more.
    scene.said(0).connections = 10;
    live(&mut scene, 6 * MINUTE, |_, _| {});
    let plan = scene.tick(5);
    assert_eq!(condition(&plan, "Stalled").0, "False");
}

#[test]
fn rollout_without_room_drains_first() {
    const SPEC: &str = "scaling: {minReplicas: 3, maxReplicas: 20}\ndisruption: {movesPerMinute: 600}\ndrain: {naturalSeconds: 0}";
    let mut scene = Scene::running(SPEC, &[10, 10, 10]);
    with_another_image(&mut scene, SPEC);
    let mut told = false;
    let mut drained_at = None;
    let begin = scene.now;
    live(&mut scene, 60 * MINUTE, |scene, plan| {
        if !plan.mark_pods.is_empty() {
            drained_at.get_or_insert(scene.now);
        }
        let message = plan.status.conditions.iter().find(|c| c.type_ == "Progressing");
        told |= message
            .unwrap()
            .message
            .contains("chat-3 is Unschedulable; old ones drain first");
        // There are nodes for three pods.
        if scene.observed.pods.len() > 3 {
            without_nodes(scene);
        } else {
            for pod in starting(scene) {
                become_ready(scene, pod);
            }
        }
        let there = (scene.observed.pods.len(), active(scene));
        assert!(there.0 <= 4 && there.1 >= 2, "{there:?}");
    });
    assert!(told);
    let waited = drained_at.unwrap().duration_since(begin).as_secs();
    assert!((2 * MINUTE..=3 * MINUTE).contains(&waited), "{waited}");
    let plan = scene.tick(5);
    assert_eq!((plan.status.updated_replicas, plan.status.replicas), (3, 3));
}

#[test]
fn rollout_that_a_quota_forbids_drains_first() {
    const SPEC: &str = "scaling: {minReplicas: 3, maxReplicas: 20}\ndisruption: {movesPerMinute: 600}\ndrain: {naturalSeconds: 0}";
    let mut scene = Scene::running(SPEC, &[10, 10, 10]);
    with_another_image(&mut scene, SPEC);
    for _ in 0..720 {
        let mut plan = scene.tick(5);
        if !plan.create_pods.is_empty() {
            let leave = plan.delete_pods.len();
            if scene.observed.pods.len() - leave >= 3 {
                plan.create_pods.clear();
                scene.memory.creates_failed("chat-9", few(), scene.now);
            } else {
                scene.memory.creates_accepted();
            }
        }
        scene.adopt(&plan);
        scene.obey(&plan);
        for pod in starting(&scene) {
            become_ready(&mut scene, pod);
        }
        assert!(active(&scene) >= 2);
    }
    let plan = scene.tick(5);
    assert_eq!((plan.status.updated_replicas, plan.status.replicas), (3, 3));
}

#[test]
fn only_pod_is_never_drained_first() {
    const SPEC: &str = "scaling: {minReplicas: 1, maxReplicas: 20}\ndisruption: {movesPerMinute: 600}";
    let mut scene = Scene::running(SPEC, &[10]);
    with_another_image(&mut scene, SPEC);
    live(&mut scene, 60 * MINUTE, |scene, plan| {
        without_nodes(scene);
        assert!(plan.mark_pods.is_empty());
    });
    let plan = scene.tick(5);
    let progressing = plan.status.conditions.iter().find(|c| c.type_ == "Progressing");
    let message = &progressing.unwrap().message;
    assert!(message.contains("there is no room for one more pod"), "{message}");
}

#[test]
fn lost_pool_is_recreated_at_once() {
    let mut scene = Scene::running(BOUNDS, &[70; 12]);
    live(&mut scene, 10, |_, _| {});
    scene.observed.pods.clear();
    scene.observed.samples.clear();
    let plan = scene.tick(5);
    assert_eq!(plan.create_pods.len(), 13, "twelve, and the buffer");
}

#[test]
fn served_pod_without_label_is_not_new() {
    let mut scene = Scene::running(BOUNDS, &[40, 50]);
    let new = scene.pod(1).clone();
    let mut pod = testing::pod(2);
    (pod.state, pod.template_hash) = (PodState::Starting, new.template_hash);
    (pod.created, pod.ready_since) = (scene.now, Some(scene.now));
    scene.add(pod, 10);
    let plan = scene.tick(1);
    assert_eq!(marked(&plan), [("chat-2", PodState::Active)]);
    // The write is rejected, and the pod is not Ready any more.
    let pod = scene.pod(2);
    (pod.ready, pod.ready_since) = (false, None);
    let uid = pod.uid.clone();
    scene.memory.write_failed(&uid);
    let plan = scene.tick(1);
    assert_eq!(
        marked(&plan),
        [("chat-2", PodState::Active)],
        "it may have clients: {}",
        tell(&plan, &scene.observed.status)
    );
}
