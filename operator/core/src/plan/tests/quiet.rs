//! Whether samples and time are a reason for another plan.

use super::scene::{BOUNDS, Scene};
use crate::observed::PodState;
use crate::plan::Plan;
use crate::validate::{Invalid, Rejected};
use crate::{Outlook, outlook, resources};

/// A cluster whose last plan had nothing to do.
fn quiet(connections: &[i64]) -> (Scene, Outlook) {
    let mut scene = Scene::running(BOUNDS, connections);
    // A whole window of the same recommendation, and numbers that were written.
    let mut plan = scene.tick(301);
    for _ in 0..3 {
        scene.adopt(&plan);
        plan = scene.tick(5);
    }
    assert!(plan.is_quiet, "{plan:#?}");
    assert!(plan.recheck_after.as_secs() >= 1_000);
    let seen = look(&scene);
    (scene, seen)
}

fn look(scene: &Scene) -> Outlook {
    let revision = resources::template_hash(&scene.cluster);
    outlook(
        &scene.cluster,
        &revision,
        &scene.observed,
        &scene.memory,
        scene.now,
    )
}

fn wait(scene: &mut Scene, seconds: i64) {
    scene.now += k8s_openapi::jiff::SignedDuration::from_secs(seconds);
    scene.sample();
}

#[test]
fn equal_samples_cause_no_plan() {
    let (mut scene, before) = quiet(&[40, 50, 40]);
    for _ in 0..1_000 {
        wait(&mut scene, 5);
        assert!(look(&scene).is_same(&before), "after {}", scene.now);
    }
    // A difference that is not written either.
    scene.said(0).connections = 41;
    wait(&mut scene, 5);
    assert!(look(&scene).is_same(&before));
    assert_eq!(look(&scene).connections, 131);
}

#[test]
fn changed_samples_cause_a_plan() {
    type Change = fn(&mut Scene);
    let changes: [(&str, Change); 11] = [
        ("more pods are needed", |scene| scene.said(0).connections = 99),
        ("fewer pods would do", |scene| scene.said(0).connections = 1),
        ("a pod is short of memory", |scene| scene.said(1).admits = false),
        ("a pod was cordoned", |scene| scene.said(1).cordoned = true),
        ("Redis is gone", |scene| scene.said(2).broker_up = false),
        ("a server was restarted", |scene| {
            scene.said(2).boot_id = "b".to_owned();
        }),
        ("a handshake was rejected", |scene| {
            scene.said(2).refused_full += 1;
        }),
        ("a proxy does not follow", |scene| {
            scene.agent(0).synced = false;
        }),
        ("HAProxy refused a client", |scene| scene.haproxy(0).refused += 1),
        ("HAProxy was reloaded", |scene| {
            scene.haproxy(0).id = "another".to_owned();
        }),
        ("the watches are stale", |scene| {
            scene.observed.watches_fresh = false;
        }),
    ];
    for (what, change) in changes {
        let (mut scene, before) = quiet(&[40, 50, 40]);
        change(&mut scene);
        wait(&mut scene, 31);
        assert!(!look(&scene).is_same(&before), "{what}");
    }
}

#[test]
fn stale_sample_causes_a_plan() {
    let (mut scene, before) = quiet(&[40, 50, 40]);
    let silent = scene.said(1).at;
    for (seconds, same) in [(5, true), (10, true), (1, false)] {
        wait(&mut scene, seconds);
        scene.said(1).at = silent;
        assert_eq!(look(&scene).is_same(&before), same, "after {seconds} s more");
    }
}

#[test]
fn nothing_is_quiet_while_work_remains() {
    let (mut scene, _) = quiet(&[40, 50, 40]);
    scene.pod(1).state = PodState::Cordoned;
    assert!(!scene.tick(5).is_quiet, "a pod drains");
    let (mut scene, _) = quiet(&[40, 50, 40]);
    scene.pod(1).ready = false;
    assert!(!scene.tick(5).is_quiet, "a pod is not ready");
    let (mut scene, _) = quiet(&[40, 50, 40]);
    scene.observed.redis_ready = Some(0);
    assert!(!scene.tick(5).is_quiet, "Redis has no ready pod");
}

/// Seconds at which plans were made, and the last one: samples arrive every 5 s, and each plan
/// succeeds.
fn plans(scene: &mut Scene, mut plan: Plan, seconds: usize) -> (Vec<usize>, Plan) {
    let mut times = Vec::new();
    scene.adopt(&plan);
    let (mut before, mut planned_at) = (look(scene), scene.now);
    for second in 1..=seconds {
        scene.now += k8s_openapi::jiff::SignedDuration::from_secs(1);
        let is_round = second % 5 == 0;
        if is_round {
            scene.sample();
        }
        let waited = std::time::Duration::try_from(scene.now.duration_since(planned_at)).unwrap();
        let is_news = is_round && (!plan.is_quiet || !look(scene).is_same(&before));
        if is_news || waited >= plan.recheck_after {
            times.push(second);
            plan = scene.step(0);
            scene.adopt(&plan);
            (before, planned_at) = (look(scene), scene.now);
        }
        let now = scene.now;
        scene.memory.still_recommended(now);
    }
    (times, plan)
}

#[test]
fn samples_in_the_window_are_no_reason() {
    let (mut scene, _) = quiet(&[40, 50, 40]);
    scene.memory = crate::memory::Memory::default();
    let start = scene.tick(0);
    let (times, last) = plans(&mut scene, start, 1_200);
    assert!(last.is_quiet, "{last:#?}");
    let during: Vec<_> = times.iter().filter(|at| (10..300).contains(*at)).collect();
    assert!(during.is_empty(), "the window is {times:?}");
    assert!(times.contains(&301), "its end is noticed: {times:?}");
    assert!(times.len() <= 6, "{times:?}");
}

#[test]
fn scale_down_begins_when_the_window_ends() {
    let (mut scene, _) = quiet(&[40, 50, 40]);
    for serial in 0..3 {
        scene.said(serial).connections = 10;
    }
    let fewer = scene.tick(2);
    assert!(fewer.mark_pods.is_empty());
    let (times, last) = plans(&mut scene, fewer, 290);
    assert!(last.is_quiet && last.mark_pods.is_empty(), "{last:#?}");
    assert!(times.iter().all(|at| *at <= 30), "plans in the window: {times:?}");
    let (times, last) = plans(&mut scene, last, 11);
    assert_eq!((times.len(), last.mark_pods.len()), (1, 1), "{times:?}");
}

/// Only a change of the resource corrects its spec.
#[test]
fn rejected_spec_is_quiet_once_reported() {
    let (mut scene, _) = quiet(&[40, 50, 40]);
    let problem = Invalid {
        field: "redis.managed.nodeSelector[a]".to_owned(),
        problem: "must be short".to_owned(),
    };
    scene.cluster.rejected = Some(Rejected { problem, in_force: 1 });
    let plan = scene.tick(5);
    assert!(!plan.is_quiet, "it is not written yet");
    scene.adopt(&plan);
    let plan = scene.tick(5);
    assert!(plan.is_quiet, "{plan:#?}");
    scene.cluster.rejected = None;
    assert!(!scene.tick(5).is_quiet, "the correction is not written yet");
}

/// The window counts from the moment when fewer pods were enough, also when no plan was made for an
/// hour before.
#[test]
fn quiet_recommendation_is_kept_for_the_window() {
    let (mut scene, before) = quiet(&[40, 50, 40]);
    for _ in 0..720 {
        wait(&mut scene, 5);
        assert!(look(&scene).is_same(&before));
        let now = scene.now;
        scene.memory.still_recommended(now);
    }
    for serial in 0..3 {
        scene.said(serial).connections = 10;
    }
    let plan = scene.tick(5);
    assert!(plan.mark_pods.is_empty(), "drained at once: {:?}", plan.mark_pods);
    scene.adopt(&plan);
    let plan = scene.tick(290);
    assert!(plan.mark_pods.is_empty(), "drained early: {:?}", plan.mark_pods);
    scene.adopt(&plan);
    let plan = scene.tick(11);
    assert_eq!(plan.mark_pods.len(), 1);
}

/// A pool that becomes quiet before its tenth minute has no plan when its template is proven.
#[test]
fn template_is_proven_in_quiet_time() {
    let (mut scene, before) = quiet(&[40, 50, 40]);
    scene.memory.starts.proven = false;
    for pod in scene.memory.pods.values_mut() {
        pod.ready_since = Some(scene.now);
    }
    for seconds in (5..=1_200).step_by(5) {
        wait(&mut scene, 5);
        let seen = look(&scene);
        assert!(seen.is_same(&before), "a plan after {seconds} s");
        seen.confirm(&mut scene.memory, scene.now);
        assert_eq!(scene.memory.starts.proven, seconds >= 600, "after {seconds} s");
    }
    scene.observed.pods.clear();
    scene.observed.samples.clear();
    let plan = scene.tick(5);
    assert_eq!(plan.create_pods.len(), 3, "all that are lost, at once");
}
