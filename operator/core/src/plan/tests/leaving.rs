//! Which pods leave and are replaced.

use k8s_openapi::jiff::SignedDuration;

use super::scene::{BOUNDS, Scene, proxy};
use super::tell::{changes_no_pod, condition, marked, notes, tell, verbs};
use crate::observed::{DrainReason, PodPhase, PodState};
use crate::plan::{ControlVerb, Plan};
use crate::testing;
use wsc_contract::control::Notice;

#[test]
fn a_dead_pod_is_replaced_at_once() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    let desired = scene.observed.status.desired_replicas;
    let plan = {
        scene.pod(1).phase = PodPhase::Failed;
        scene.tick(5)
    };
    assert_eq!(plan.create_pods.len(), 1);
    assert_eq!(plan.status.desired_replicas, desired);
    let decision = plan.status.last_decision.as_ref().unwrap();
    assert_eq!(
        (decision.action.as_str(), decision.reason.as_str()),
        ("Replace", "PodsMissing")
    );
    assert!(plan.delete_pods.is_empty(), "a person may want to look at it");
    assert_eq!(condition(&plan, "Ready"), ("True", "Serving"));
}

#[test]
fn terminating_and_lost_pods_are_replaced() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    scene.pod(0).terminating = true;
    let plan = scene.tick(5);
    assert_eq!(plan.create_pods.len(), 1, "terminating");

    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    let pod = scene.pod(0);
    (pod.node_ready, pod.ready) = (false, false);
    let plan = scene.tick(60);
    assert!(
        plan.create_pods.is_empty(),
        "its kubelet is silent, but HAProxy finds it up"
    );
    for proxy in &mut scene.observed.proxies {
        std::sync::Arc::make_mut(proxy.agent.as_mut().unwrap())
            .servers
            .get_mut("chat-0")
            .unwrap()
            .up = false;
    }
    let plan = scene.tick(5);
    assert_eq!(plan.create_pods.len(), 1, "nobody finds it up");
}

/// The kubelet reports a pod Ready until its node has missed heartbeats for 40 s or more.
#[test]
fn silent_pod_down_everywhere_is_replaced() {
    let created = |down: &[usize], responds: bool| {
        let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
        for proxy in down {
            scene.agent(*proxy).servers.get_mut("chat-0").unwrap().up = false;
        }
        let last = scene.said(0).at;
        let mut created = Vec::new();
        for _ in 0..4 {
            scene.now += SignedDuration::from_secs(5);
            scene.sample();
            if !responds {
                scene.said(0).at = last;
            }
            created.push(scene.step(0).create_pods.len());
        }
        created
    };
    assert_eq!(created(&[0, 1], false), [0, 0, 0, 1], "stale after 15 s");
    assert_eq!(created(&[0, 1], true), [0; 4], "its server responds");
    assert_eq!(created(&[0], false), [0; 4], "a proxy finds it up");
    assert_eq!(created(&[], false), [0; 4]);
}

/// A new proxy has an empty list until its agent has applied the published one.
#[test]
fn proxy_without_the_pod_has_no_vote() {
    let created = |is_listed: bool| {
        let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
        for proxy in 0..2 {
            let servers = &mut scene.agent(proxy).servers;
            servers.get_mut("chat-0").unwrap().up = false;
            servers.retain(|name, _| is_listed || name != "chat-0");
        }
        scene.observed.proxies.push(proxy("chat-proxy-c"));
        let last = scene.said(0).at;
        scene.now += SignedDuration::from_secs(20);
        scene.sample();
        scene.said(0).at = last;
        scene.step(0).create_pods.len()
    };
    assert_eq!(created(true), 1, "every proxy that has it finds it down");
    assert_eq!(created(false), 0, "no proxy has it");
}

#[test]
fn new_pod_before_its_check_is_kept() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    scene.pod(0).ready = false;
    scene.tick(5);
    scene.pod(0).ready = true;
    scene.pod(0).ready_since = Some(scene.now);
    for proxy in 0..2 {
        scene.agent(proxy).servers.get_mut("chat-0").unwrap().up = false;
    }
    let last = scene.said(0).at - SignedDuration::from_mins(1);
    for _ in 0..3 {
        scene.now += SignedDuration::from_secs(5);
        scene.sample();
        scene.said(0).at = last;
        assert!(scene.step(0).create_pods.is_empty());
    }
}

/// HAProxy's answer may be older than what the kubelet says.
#[test]
fn no_drain_relies_on_an_unready_pod() {
    let mut scene = Scene::running("scaling: {minReplicas: 1, maxReplicas: 20, buffer: 0}", &[25; 3]);
    scene.pod(0).ready = false;
    let plan = scene.tick(301);
    assert_eq!(marked(&plan), [], "the clients would not fit into one pod");
    scene.pod(0).ready = true;
    let plan = scene.tick(5);
    assert_eq!(marked(&plan).len(), 1);
}

/// Two pods are too many; pods move 10 connections a second together.
fn two_drains() -> Scene {
    Scene::running(
        "scaling: {minReplicas: 1, maxReplicas: 20, buffer: 0}\ndrain: {naturalSeconds: 0}\n\
         disruption: {movesPerMinute: 6000, maxMovesPerSecond: 10, maxConcurrentDrains: 2}",
        &[60, 30, 30, 30, 30],
    )
}

/// Rates of the `/shed` calls, in moves a second.
fn rates(plan: &Plan) -> Vec<f64> {
    let rate = |verb: &ControlVerb| match verb {
        ControlVerb::Shed { per_second, .. } => Some(*per_second),
        ControlVerb::Cordon | ControlVerb::Uncordon => None,
    };
    plan.calls.iter().filter_map(|call| rate(&call.verb)).collect()
}

#[test]
fn pods_that_drain_together_share_the_rate() {
    let mut scene = two_drains();
    let mut together = 0;
    for seconds in [301, 5, 5, 5] {
        let plan = scene.tick(seconds);
        let rates = rates(&plan);
        let in_a_second: f64 = rates.iter().map(|rate| rate.ceil()).sum();
        assert!(in_a_second <= 10.0, "{rates:?} moves a second");
        together += usize::from(rates.len() == 2);
        scene.adopt(&plan);
        scene.obey(&plan);
    }
    assert!(together > 0, "the pods never moved clients at the same time");
}

#[test]
fn earlier_grants_take_their_rate_share() {
    let mut scene = two_drains();
    for seconds in [301, 5] {
        let plan = scene.tick(seconds);
        scene.adopt(&plan);
        scene.obey(&plan);
    }
    // The process accepted the grant of all its connections, and has closed none yet.
    let first = scene.said(3);
    assert_eq!((first.connections, first.shed_target), (0, 30));
    (first.connections, first.shed_total) = (30, 0);
    scene.said(4).connections = 60;
    let plan = scene.tick(5);
    assert_eq!(rates(&plan), [2.0], "30 moves at 7.5 a second leave two");
    let plan = scene.tick(20);
    assert_eq!(
        rates(&plan),
        [10.0],
        "a process that makes no moves takes no part"
    );
}

#[test]
fn victims_are_emptiest_neither_young_nor_protected() {
    let mut scene = Scene::running(
        "scaling: {minReplicas: 1, maxReplicas: 20, buffer: 0}\ndisruption: {maxConcurrentDrains: 9}",
        &[35, 28, 21, 14, 42, 35],
    );
    let now = scene.now + SignedDuration::from_secs(301);
    scene.pod(3).protected = true;
    let young = scene.pod(0).uid.clone();
    scene.pod(0).created = now - SignedDuration::from_secs(119);
    scene.memory.pod(&young).first_seen = Some(now - SignedDuration::from_secs(119));
    let plan = scene.tick(301);
    assert_eq!(marked(&plan).len(), 2);
    assert_eq!(
        notes(&plan),
        [
            "drain chat-2 with 21 connections",
            "drain chat-1 with 28 connections"
        ],
        "no fuller pod drains instead of the young one"
    );
    assert_eq!(plan.status.desired_replicas, 3);
}

#[test]
fn reverted_template_keeps_its_pods() {
    let mut scene = Scene::running(BOUNDS, &[10, 20]);
    let (before, mut changed) = (scene.cluster.clone(), scene.cluster.clone());
    changed.pins.server = "registry.example.org/wsc-server:2".to_owned();
    scene.cluster = changed;
    let plan = scene.tick(5);
    scene.adopt(&plan);
    let now = scene.now;
    let pod = scene.pod(2).clone();
    scene.add(pod, 0);
    let pod = scene.pod(2);
    (pod.ready, pod.ready_since) = (true, Some(now));
    for _ in 0..2 {
        let plan = scene.tick(10);
        scene.adopt(&plan);
        scene.obey(&plan);
    }
    assert_eq!(scene.pod(0).drain.unwrap().reason, DrainReason::Rollout);
    scene.cluster = before;
    let plan = scene.tick(5);
    assert!(marked(&plan).contains(&("chat-0", PodState::Active)));
    assert_eq!(verbs(&plan, "chat-0"), [&ControlVerb::Uncordon]);
    assert!(plan.create_pods.is_empty());
    scene.adopt(&plan);
    scene.obey(&plan);
    let plan = scene.tick(5);
    assert_eq!(
        marked(&plan),
        [("chat-2", PodState::Cordoned)],
        "the new one is the old one now"
    );
}

#[test]
fn protected_old_pod_does_not_stop_scaling() {
    let mut scene = Scene::running("scaling: {minReplicas: 2, maxReplicas: 20}", &[10, 10, 10, 10]);
    scene.pod(0).protected = true;
    scene.pod(0).template_hash = "old".to_owned();
    let plan = scene.tick(301);
    assert!(plan.create_pods.is_empty(), "there is nobody to replace");
    assert_eq!(condition(&plan, "Progressing"), ("True", "RolloutBlocked"));
    assert_eq!(marked(&plan), [("chat-3", PodState::Cordoned)]);
}

#[test]
fn a_rollout_waits_for_a_free_drain() {
    let mut scene = Scene::running(
        "scaling: {minReplicas: 2, maxReplicas: 20}\ndisruption: {maxConcurrentDrains: 1}",
        &[10, 10, 10],
    );
    let plan = scene.tick(301);
    scene.adopt(&plan);
    assert_eq!(scene.observed.status.draining_replicas, 1);
    for serial in 0..3 {
        scene.pod(serial).template_hash = "old".to_owned();
    }
    let now = scene.now;
    let mut surge = testing::pod(3);
    surge.created = now;
    scene.add(surge, 0);
    let plan = scene.tick(20);
    assert!(changes_no_pod(&plan), "{}", tell(&plan, &scene.observed.status));
}

#[test]
fn unreachable_pod_is_removed_once_replaced() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    let pod = scene.pod(0);
    (pod.node_ready, pod.ready) = (false, false);
    for proxy in &mut scene.observed.proxies {
        let agent = std::sync::Arc::make_mut(proxy.agent.as_mut().unwrap());
        agent.servers.get_mut("chat-0").unwrap().up = false;
    }
    let plan = scene.tick(5);
    assert_eq!((plan.create_pods.len(), plan.status.replicas), (1, 3));
    scene.adopt(&plan);
    let now = scene.now;
    let pod = scene.pod(3).clone();
    scene.add(pod, 0);
    let pod = scene.pod(3);
    (pod.ready, pod.ready_since) = (true, Some(now));
    let plan = scene.tick(5);
    assert_eq!(marked(&plan), [("chat-3", PodState::Active)]);
    scene.adopt(&plan);
    let plan = scene.tick(290);
    assert!(
        changes_no_pod(&plan),
        "it may come back: {}",
        tell(&plan, &scene.observed.status)
    );
    let plan = scene.tick(10);
    assert_eq!(marked(&plan), [("chat-0", PodState::Cordoned)]);
}

#[test]
fn lost_cordon_is_repeated_stale_one_lifted() {
    let mut scene = Scene::running(BOUNDS, &[10, 10, 10]);
    scene.memory.wanted.clear();
    scene.observed.status.desired_replicas = 2;
    let now = scene.now;
    let pod = scene.pod(0);
    pod.state = PodState::Cordoned;
    pod.drain = Some(crate::observed::Drain {
        reason: DrainReason::ScaleDown,
        since: now,
        deadline: now + SignedDuration::from_secs(1800),
    });
    scene.said(1).cordoned = true;
    let sample = scene.said(2);
    (sample.shed_total, sample.shed_target) = (3, 9);
    let plan = scene.tick(5);
    assert_eq!(verbs(&plan, "chat-0"), [&ControlVerb::Cordon]);
    assert_eq!(verbs(&plan, "chat-1"), [&ControlVerb::Uncordon]);
    let stop = verbs(&plan, "chat-2");
    assert!(
        matches!(
            stop[..],
            [ControlVerb::Shed { total: 3, .. }, ControlVerb::Uncordon]
        ),
        "{stop:?}"
    );
}

#[test]
fn changed_notice_travels_with_the_next_shed() {
    let mut scene = Scene::running(BOUNDS, &[10, 10, 10]);
    let sample = scene.said(2);
    (sample.shed_total, sample.shed_target) = (3, 9);
    scene.cluster = testing::cluster(&format!(
        "server: {{maxConnections: 100}}\ndrain: {{notice: {{closeCode: 4001, jitterSeconds: 7}}}}\ndisruption: {{maxMovesPerSecond: 7}}\n{BOUNDS}"
    ));
    let plan = scene.tick(5);
    assert!(changes_no_pod(&plan), "{}", tell(&plan, &scene.observed.status));
    let shed = verbs(&plan, "chat-2");
    let expected = Notice {
        close_code: 4001,
        jitter_seconds: 7,
    };
    assert!(
        matches!(shed[0], ControlVerb::Shed { notice, .. } if *notice == expected),
        "{shed:?}"
    );
}

#[test]
fn own_writes_count_before_the_watch() {
    let mut scene = Scene::running(
        "scaling: {minReplicas: 2, maxReplicas: 20}\ndisruption: {maxConcurrentDrains: 1}",
        &[10, 20, 30, 40],
    );
    let plan = scene.tick(301);
    assert_eq!(marked(&plan), [("chat-0", PodState::Cordoned)]);
    // Another one is the emptiest now, and the watch shows nothing of the drain.
    scene.said(1).connections = 0;
    scene.said(0).cordoned = true;
    let plan = scene.tick(5);
    assert!(changes_no_pod(&plan), "{}", tell(&plan, &scene.observed.status));
    assert!(plan.calls.is_empty(), "the cordon stays");
    assert_eq!(plan.status.draining_replicas, 1);
    // Somebody else wrote it, so our write was refused.
    scene.pod(0).resource_version = "777".to_owned();
    let plan = scene.tick(5);
    assert_eq!(marked(&plan), [("chat-1", PodState::Cordoned)]);
    assert_eq!(verbs(&plan, "chat-0"), [&ControlVerb::Uncordon]);
}
