//! Writes that the API server rejects.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::SignedDuration;
use wsc_contract::labels;

use super::scene::{BOUNDS, Scene};
use crate::failures::{Cause, Problem};
use crate::observed::{ChildKey, ChildKind, PodState};
use crate::plan::{Child, Plan};
use crate::status;

fn problem() -> Problem {
    Problem {
        message: "exceeded quota".to_owned(),
        cause: Cause::Quota,
    }
}

fn key(kind: ChildKind, name: &str) -> ChildKey {
    ChildKey {
        kind,
        name: name.to_owned(),
    }
}

/// The API server rejects the child, and the status is what is written then.
fn reject(scene: &mut Scene, plan: &Plan, rejected: &ChildKey) -> Vec<Condition> {
    let child = plan.apply.iter().find(|child| child.key() == *rejected).unwrap();
    let annotations = child.metadata().annotations.as_ref().unwrap();
    let hash = annotations.get(labels::APPLIED_HASH).cloned();
    let kind = format!("{:?}", rejected.kind);
    let (now, memory) = (scene.now, &mut scene.memory);
    memory.apply_failed(&kind, &rejected.name, hash, problem(), now);
    status::applied(plan, memory, &scene.observed, now).conditions
}

fn say<'a>(conditions: &'a [Condition], type_: &str) -> (&'a str, &'a str, &'a str) {
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    let found = found.unwrap();
    (&found.status, &found.reason, &found.message)
}

fn is_planned(plan: &Plan, wanted: &ChildKey) -> bool {
    plan.apply.iter().map(Child::key).any(|key| key == *wanted)
}

#[test]
fn rejected_service_is_named_until_accepted() {
    let mut scene = Scene::running(BOUNDS, &[10, 10]);
    let service = key(ChildKind::Service, "chat");
    scene.observed.children.remove(&service);
    let plan = scene.step(1);
    assert_eq!(
        say(&plan.status.conditions, "Ready").0,
        "True",
        "it is expected to succeed"
    );
    let conditions = reject(&mut scene, &plan, &service);
    let message = "cannot write Service chat: exceeded quota; it is retried";
    for (type_, status) in [("Ready", "False"), ("Reconciling", "True"), ("Stalled", "True")] {
        assert_eq!(say(&conditions, type_), (status, "ApplyFailed", message));
    }
    scene.observed.status.conditions = conditions;

    let plan = scene.step(0);
    assert!(!is_planned(&plan, &service), "it is tried again at once");
    assert_eq!(
        say(&plan.status.conditions, "Ready"),
        ("False", "ApplyFailed", message)
    );
    let plan = scene.step(1);
    assert!(is_planned(&plan, &service));
    scene.memory.apply_succeeded("Service", "chat");
    scene.adopt(&plan);
    scene.sample();
    let plan = scene.step(1);
    assert_eq!(say(&plan.status.conditions, "Ready").0, "True");
    assert_eq!(say(&plan.status.conditions, "Reconciling").0, "False");
    assert_eq!(say(&plan.status.conditions, "Stalled").0, "False");
}

#[test]
fn rejected_change_of_a_child_leaves_ready() {
    let mut scene = Scene::running(BOUNDS, &[10, 10]);
    scene.cluster = crate::testing::cluster(&format!(
        "server: {{maxConnections: 100}}\nproxy: {{podLabels: {{team: a}}}}\n{BOUNDS}"
    ));
    let plan = scene.step(1);
    let proxy = key(ChildKind::Deployment, "chat-proxy");
    assert_eq!(
        say(&plan.status.conditions, "Reconciling").1,
        "RollingOut",
        "a change is not reported as done before it is"
    );
    let conditions = reject(&mut scene, &plan, &proxy);
    assert_eq!(say(&conditions, "Ready").0, "True", "clients can connect");
    assert_eq!(say(&conditions, "Reconciling").1, "ApplyFailed");
    scene.cluster = crate::testing::cluster(&format!("server: {{maxConnections: 100}}\n{BOUNDS}"));
    let plan = scene.step(0);
    assert_eq!(
        say(&plan.status.conditions, "Reconciling").0,
        "False",
        "what is no longer wanted cannot fail"
    );
}

#[test]
fn pod_without_its_mark_stays_in_rotation() {
    let mut scene = Scene::running(BOUNDS, &[20, 30, 10, 20]);
    let plan = scene.tick(301);
    let [mark] = plan.mark_pods.as_slice() else {
        panic!("{:?}", plan.mark_pods)
    };
    assert_eq!(mark.state, PodState::Cordoned);
    let (name, uid, now) = (mark.name.clone(), mark.uid.clone(), scene.now);
    scene.memory.write_failed(&uid);
    scene.memory.apply_failed("Pod", &name, None, problem(), now);
    let plan = scene.step(0);
    assert!(plan.mark_pods.is_empty() && plan.calls.is_empty(), "{plan:?}");
    let message = &plan.status.conditions;
    assert!(say(message, "Reconciling").2.contains(&format!("Pod {name}")));
    assert_eq!(say(message, "Ready").0, "True");
    let plan = scene.tick(1);
    assert_eq!(plan.mark_pods.len(), 1, "it is tried again");
}

#[test]
fn failed_creates_are_named_until_pods_exist() {
    let mut scene = Scene::running("scaling: {minReplicas: 3, maxReplicas: 20}", &[10, 10, 10]);
    scene.observed.pods.remove("chat-2");
    scene.observed.samples.remove("chat-2");
    let now = scene.now;
    scene.memory.creates_failed("chat-7", problem(), now);
    let plan = scene.tick(6);
    assert!(
        say(&plan.status.conditions, "Reconciling")
            .2
            .contains("Pod chat-7")
    );
    scene.adopt(&plan);
    let ready_since = scene.now;
    for pod in scene.observed.pods.values_mut().filter(|pod| !pod.ready) {
        (pod.ready, pod.ready_since, pod.state) = (true, Some(ready_since), PodState::Active);
    }
    scene.now += SignedDuration::from_secs(5);
    let plan = scene.tick(1);
    assert_ne!(say(&plan.status.conditions, "Reconciling").1, "ApplyFailed");
}

#[test]
fn child_that_is_being_deleted_is_missing() {
    let mut scene = Scene::running(BOUNDS, &[10, 10]);
    let service = key(ChildKind::Service, "chat");
    scene.observed.children.get_mut(&service).unwrap().terminating = true;
    let plan = scene.step(1);
    let (status, reason, message) = say(&plan.status.conditions, "Ready");
    assert_eq!((status, reason), ("False", "ChildTerminating"));
    assert!(message.contains("the Service chat"), "{message}");
}

#[test]
fn agent_that_does_not_follow_is_named() {
    let mut scene = Scene::running(BOUNDS, &[10, 10]);
    let agent = scene.observed.proxies[1].agent.as_mut().unwrap();
    Arc::make_mut(agent).synced = false;
    for (seconds, status, reason) in [
        (5, "True", "Applied"),
        (29, "True", "Applied"),
        (1, "Unknown", "ServersNotApplied"),
    ] {
        let plan = scene.tick(seconds);
        let found = say(&plan.status.conditions, "ProxyConfigured");
        assert_eq!((found.0, found.1), (status, reason), "after {seconds} s more");
        assert!(!plan.is_quiet);
    }
    let agent = scene.observed.proxies[1].agent.as_mut().unwrap();
    Arc::make_mut(agent).synced = true;
    let plan = scene.tick(5);
    assert_eq!(say(&plan.status.conditions, "ProxyConfigured").0, "True");
}

#[test]
fn agent_that_receives_nothing_is_named() {
    let mut scene = Scene::running(BOUNDS, &[10, 10]);
    let agent = scene.observed.proxies[1].agent.as_mut().unwrap();
    let old = Arc::make_mut(agent);
    old.applied_hash = "of an older list".to_owned();
    assert!(old.synced, "HAProxy has what the agent has received");
    scene.tick(5);
    let plan = scene.tick(30);
    let found = say(&plan.status.conditions, "ProxyConfigured");
    assert_eq!((found.0, found.1), ("Unknown", "ServersNotApplied"));
    assert!(found.2.contains(&scene.observed.proxies[1].name), "{}", found.2);
}

#[test]
fn conditions_of_silent_parts_are_unknown() {
    let mut scene = Scene::running(BOUNDS, &[10, 10]);
    let truth = |plan: &Plan, type_: &str| say(&plan.status.conditions, type_).0.to_owned();
    let plan = scene.tick(5);
    assert_eq!(truth(&plan, "ProxyConfigured"), "True");
    assert_eq!(truth(&plan, "RedisReachable"), "True");
    for proxy in &mut scene.observed.proxies {
        proxy.agent = None;
    }
    scene.observed.samples.clear();
    // An operator that has just started keeps both until its first samples are due.
    scene.memory.started_at = Some(scene.now);
    let plan = scene.step(15);
    assert_eq!(truth(&plan, "ProxyConfigured"), "True");
    assert_eq!(truth(&plan, "RedisReachable"), "True");
    let plan = scene.step(1);
    let found = say(&plan.status.conditions, "ProxyConfigured");
    assert_eq!((found.0, found.1), ("Unknown", "StatusUnavailable"));
    let found = say(&plan.status.conditions, "RedisReachable");
    assert_eq!((found.0, found.1), ("Unknown", "StatsUnavailable"));
}
