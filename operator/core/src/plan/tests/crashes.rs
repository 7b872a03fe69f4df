//! Servers that end soon after they became ready, of a template that has served for long: by a
//! message that ends every server that reads it, or for want of memory.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::scene::Scene;
use super::starts::{MINUTE, become_ready, crash, live, silence, with_another_image};
use super::tell::{condition, marked, message};
use crate::observed::{PodState, PodView};
use crate::plan::Plan;

/// Far below the maximum.
const TEN: &str = "scaling: {minReplicas: 10, maxReplicas: 200}";

/// The server of this pod ends and starts again at once.
fn end(scene: &mut Scene, serial: i64) {
    let now = scene.now;
    let pod = scene.pod(serial);
    pod.restarts += 1;
    pod.ready_since = Some(now);
    pod.last_exit = Some("OOMKilled".to_owned());
}

/// All pods end again and again for an hour; returns when the resource was stalled, and the largest
/// number of pods after a create.
fn crash_loop(scene: &mut Scene) -> (Option<SignedDuration>, usize, Plan) {
    let (mut ended, mut stalled, mut most, mut last) = (BTreeMap::new(), None, 0, None);
    let begin = scene.now;
    live(scene, 60 * MINUTE, |scene, plan| {
        crash(scene, &mut ended);
        if !plan.create_pods.is_empty() {
            let pods = scene.observed.pods.values();
            most = most.max(pods.filter(|pod| !pod.state.is_draining()).count());
        }
        if condition(plan, "Stalled") == ("True", "CrashLoop") {
            stalled.get_or_insert(scene.now.duration_since(begin));
        }
        last = Some(plan.clone());
    });
    (stalled, most, last.unwrap())
}

/// Pods that are not Ready become so and stay so.
fn recover(scene: &mut Scene, seconds: i64) -> Plan {
    let mut last = None;
    live(scene, seconds, |scene, plan| {
        for pod in scene.observed.pods.clone().into_values().filter(|pod| !pod.ready) {
            become_ready(scene, (*pod).clone());
        }
        silence(scene);
        last = Some(plan.clone());
    });
    last.unwrap()
}

#[test]
fn crash_loop_is_bounded_and_stalled() {
    let mut scene = Scene::running(TEN, &[10; 10]);
    let (stalled, most, plan) = crash_loop(&mut scene);
    assert!(
        most <= 16,
        "{most} pods: 10 wanted, 1 as a surge and 5 broken ones"
    );
    assert!(
        stalled.is_some_and(|after| after <= SignedDuration::from_mins(5)),
        "{stalled:?}"
    );
    assert_eq!(condition(&plan, "Stalled"), ("True", "CrashLoop"));
    let message = message(&plan, "Stalled");
    for part in [
        "restarts: ",
        "its server exited with code 1",
        "kubectl logs --previous",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn crash_loop_ends_when_pods_stay_ready() {
    let mut scene = Scene::running(TEN, &[10; 10]);
    let (stalled, ..) = crash_loop(&mut scene);
    assert!(stalled.is_some());
    let plan = recover(&mut scene, 9 * MINUTE);
    assert_eq!(condition(&plan, "Stalled").1, "CrashLoop", "too early to say");
    let plan = recover(&mut scene, 3 * MINUTE);
    assert_eq!(condition(&plan, "Stalled").0, "False");
}

#[test]
fn crash_loop_ends_with_another_image() {
    let mut scene = Scene::running(TEN, &[10; 10]);
    let (stalled, ..) = crash_loop(&mut scene);
    assert!(stalled.is_some());
    with_another_image(&mut scene, TEN);
    let plan = recover(&mut scene, 90 * MINUTE);
    assert_eq!(condition(&plan, "Stalled").0, "False");
    assert!(plan.status.updated_replicas >= 10);
}

#[test]
fn growth_pauses_in_a_crash_loop() {
    let mut scene = Scene::running(TEN, &[10; 10]);
    for _ in 0..4 {
        for serial in 0..3 {
            end(&mut scene, serial);
        }
        let plan = scene.tick(30);
        scene.adopt(&plan);
    }
    assert_eq!(condition(&scene.tick(0), "Stalled"), ("True", "CrashLoop"));
    scene.cluster.scaling.min_replicas = 12;
    assert!(scene.tick(5).create_pods.is_empty());
}

#[test]
fn few_crashes_in_large_pool_stall_nothing() {
    let mut scene = Scene::running("scaling: {minReplicas: 20, maxReplicas: 200}", &[10; 20]);
    for turn in 0..40 {
        // One pod does not stay up, and now and then another one ends.
        end(&mut scene, 0);
        if turn % 5 < 2 {
            end(&mut scene, 1 + turn / 5);
        }
        let plan = scene.tick(60);
        assert_eq!(condition(&plan, "Stalled").0, "False");
        scene.adopt(&plan);
    }
    scene.cluster.scaling.min_replicas = 21;
    assert_eq!(scene.tick(5).create_pods.len(), 1, "and pause nothing");
}

#[test]
fn crash_of_all_at_once_stalls_nothing() {
    let mut scene = Scene::running(TEN, &[10; 10]);
    for _ in 0..4 {
        for serial in 0..10 {
            end(&mut scene, serial);
        }
        live(&mut scene, 11 * MINUTE, |_, plan| {
            assert_eq!(condition(plan, "Stalled").0, "False");
        });
    }
}

#[test]
fn pods_that_break_without_an_end_count() {
    let mut scene = Scene::running(TEN, &[10; 10]);
    let mut stalled = false;
    for _ in 0..4 {
        for (ready, seconds) in [(false, 30), (true, 60)] {
            let now = scene.now;
            for serial in 0..10 {
                let pod = scene.pod(serial);
                (pod.ready, pod.ready_since) = (ready, ready.then_some(now));
            }
            silence(&mut scene);
            for serial in (0..10).filter(|_| ready) {
                let pod = scene.pod(serial).clone();
                scene.add(pod, 10);
            }
            for _ in 0..seconds / 5 {
                let plan = scene.tick(5);
                stalled |= condition(&plan, "Stalled") == ("True", "CrashLoop");
            }
        }
    }
    assert!(stalled);
}

/// Broken for 6 minutes, and others serve in their place.
fn broken(waiting_reason: Option<&str>) -> Plan {
    let mut scene = Scene::running(TEN, &[10; 16]);
    scene.observed.status.desired_replicas = 10;
    scene.memory.wanted = vec![(scene.now, 10)];
    let since: Timestamp = scene.now;
    for serial in 0..6 {
        let pod = scene.pod(serial).clone();
        let broken = PodView {
            ready: false,
            ready_since: None,
            waiting_reason: waiting_reason.map(str::to_owned),
            ..pod
        };
        scene.observed.pods.insert(broken.name.clone(), broken.into());
    }
    silence(&mut scene);
    while scene.now.duration_since(since) < SignedDuration::from_mins(5) {
        let plan = scene.tick(5);
        assert!(plan.mark_pods.is_empty() && plan.delete_pods.is_empty());
        scene.adopt(&plan);
    }
    scene.tick(20)
}

#[test]
fn broken_pods_drain_within_the_limit() {
    let plan = broken(None);
    assert_eq!(marked(&plan), [("chat-0", PodState::Cordoned)], "one at a time");
}

#[test]
fn pod_without_a_server_needs_no_drain() {
    let plan = broken(Some("CrashLoopBackOff"));
    assert!(plan.mark_pods.is_empty());
    assert_eq!(plan.delete_pods.len(), 6, "they have no clients");
}

#[test]
fn pods_of_the_next_image_find_room() {
    let mut scene = Scene::running(TEN, &[10; 10]);
    crash_loop(&mut scene);
    with_another_image(&mut scene, TEN);
    let plan = scene.tick(5);
    assert!(
        !plan.create_pods.is_empty() || !plan.delete_pods.is_empty(),
        "a broken pod of the old image makes room"
    );
}
