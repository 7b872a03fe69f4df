//! Children, Secrets and serials.

use wsc_contract::names;

use super::scene::{BOUNDS, Scene};
use super::tell::{changes_no_pod, condition, tell};
use crate::live::LiveChild;
use crate::observed::{ChildConflict, ChildKey, ChildKind};
use crate::plan::Child;
use crate::{resources, testing};

#[test]
fn foreign_child_is_reported_and_awaited() {
    let mut scene = Scene::running(BOUNDS, &[10, 10, 10, 10, 10]);
    let key = ChildKey {
        kind: ChildKind::Service,
        name: "chat".to_owned(),
    };
    scene.observed.children.remove(&key);
    scene.observed.conflicts = vec![ChildConflict {
        kind: "Service".to_owned(),
        name: "chat".to_owned(),
        terminating: false,
    }];
    let plan = scene.tick(600);
    assert!(plan.apply.is_empty() && changes_no_pod(&plan));
    insta::assert_snapshot!(tell(&plan, &scene.observed.status));
    scene.observed.conflicts[0].terminating = true;
    let plan = scene.tick(5);
    assert_eq!(
        condition(&plan, "Stalled").0,
        "False",
        "it is only a matter of waiting"
    );
    assert_eq!(condition(&plan, "Ready"), ("False", "ChildConflict"));
    scene.observed.conflicts.clear();
    let plan = scene.tick(5);
    assert!(plan.apply.iter().any(|child| child.key() == key));
}

#[test]
fn foreign_pod_only_costs_a_serial() {
    let mut scene = Scene::fresh("scaling: {minReplicas: 1, maxReplicas: 2}");
    scene.observed.conflicts = vec![ChildConflict {
        kind: "Pod".to_owned(),
        name: "chat-0".to_owned(),
        terminating: false,
    }];
    let plan = scene.step(0);
    assert_eq!(plan.create_pods[0].metadata.name.as_deref(), Some("chat-1"));
    assert_eq!((plan.reserve_serials, plan.status.next_serial), (Some(2), 2));
    assert_eq!(condition(&plan, "Stalled").0, "False");
}

#[test]
fn redis_secret_is_created_once_and_checked() {
    let mut scene = Scene::fresh(BOUNDS);
    let plan = scene.step(0);
    let name = plan.create_redis_secret.clone().unwrap();
    assert!(name.starts_with("chat-redis-"));
    scene.adopt(&plan);
    scene.observed.redis_ready = Some(1);
    assert_eq!(
        scene.step(60).create_redis_secret,
        None,
        "the Deployment is there"
    );
    scene.pod(0).waiting_reason = Some("CreateContainerConfigError".to_owned());
    let mut checks = |seconds| {
        let plan = scene.step(seconds);
        assert_eq!(plan.create_redis_secret, None, "running pods have its password");
        plan.check_redis_secret
    };
    assert!(checks(5));
    assert!(!checks(5), "not in every pass");
    assert!(checks(30));
    scene.pod(0).waiting_reason = None;
    scene.observed.redis_ready = Some(0);
    assert!(!scene.step(5).check_redis_secret, "Redis may just be starting");
    assert!(scene.step(30).check_redis_secret);
}

#[test]
fn lost_redis_secret_gets_another_name() {
    let mut scene = Scene::fresh(BOUNDS);
    let plan = scene.step(0);
    let lost = plan.create_redis_secret.clone().unwrap();
    scene.adopt(&plan);
    let template = resources::template_hash(&scene.cluster);
    scene.memory.redis_secret_lost();
    let plan = scene.step(5);
    assert_eq!(plan.status.redis_secret_replacements, 1);
    assert!(plan.events.iter().any(|event| event.reason == "RedisSecretLost"));
    scene.adopt(&plan);

    scene.cluster.redis_secret_replacements = 1;
    let plan = scene.step(5);
    assert_eq!(plan.create_redis_secret, Some(format!("{lost}-1")));
    let redis = plan.apply.iter().map(Child::to_json);
    let redis: Vec<_> = redis
        .filter(|child| child.to_string().contains(&format!("{lost}-1")))
        .collect();
    assert_eq!(redis.len(), 1, "the Deployment of Redis");
    assert_ne!(
        resources::template_hash(&scene.cluster),
        template,
        "server pods roll"
    );
    assert_eq!(plan.status.redis_secret_replacements, 1);
}

#[test]
fn no_secret_for_waiting_or_foreign_redis() {
    let mut scene = Scene::fresh(BOUNDS);
    scene.observed.conflicts = vec![ChildConflict {
        kind: "Deployment".to_owned(),
        name: "chat-redis".to_owned(),
        terminating: true,
    }];
    assert_eq!(scene.step(0).create_redis_secret, None);
    let mut scene = Scene::fresh("scaling: {maxReplicas: 2}\nredis: {external: {url: 'redis://cache'}}");
    assert_eq!(scene.step(0).create_redis_secret, None);
}

#[test]
fn changed_children_are_applied_and_unwanted_removed() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    let key = |kind, name: &str| ChildKey {
        kind,
        name: name.to_owned(),
    };
    let (service, deployment) = (
        key(ChildKind::Service, "chat"),
        key(ChildKind::Deployment, "chat-proxy"),
    );
    let policy = key(ChildKind::NetworkPolicy, "chat");
    scene.observed.children.remove(&service);
    let live = &mut scene.observed.children.get_mut(&deployment).unwrap().object;
    let mut edited = live.object();
    edited["spec"]["replicas"] = 7.into();
    *live = std::sync::Arc::new(LiveChild::new(&edited));
    scene.observed.children.get_mut(&policy).unwrap().applied_hash = Some("of an older operator".to_owned());
    let plan = scene.tick(5);
    let applied: Vec<_> = plan.apply.iter().map(crate::plan::Child::key).collect();
    assert_eq!(applied, [policy.clone(), service, deployment]);
    scene.adopt(&plan);
    scene.observed.children.get_mut(&policy).unwrap().terminating = true;
    assert!(scene.tick(5).apply.is_empty(), "its name is not free yet");
    scene.cluster = testing::cluster(
        "server: {maxConnections: 100}\nscaling: {maxReplicas: 20}\nredis: {external: {url: 'redis://cache'}}",
    );
    let plan = scene.tick(5);
    assert!(plan.remove.is_empty(), "the pods that are there still use it");
    let hash = crate::resources::template_hash(&scene.cluster);
    for pod in scene.observed.pods.values_mut() {
        pod.template_hash.clone_from(&hash);
    }
    let removed = scene.tick(5).remove;
    let names: Vec<_> = removed.iter().map(|key| (key.kind, key.name.as_str())).collect();
    assert_eq!(
        names,
        [
            (ChildKind::NetworkPolicy, "chat-redis"),
            (ChildKind::Service, "chat-redis"),
            (ChildKind::Deployment, "chat-redis"),
        ]
    );
}

#[test]
fn reserved_serial_is_a_starting_pod() {
    let mut scene = Scene::fresh(BOUNDS);
    scene.observed.status.next_serial = 2;
    scene.observed.reserved_serials = vec![0, 1];
    let plan = scene.step(0);
    assert!(plan.create_pods.is_empty());
    assert_eq!((plan.status.starting_replicas, plan.status.next_serial), (2, 2));
    scene.observed.reserved_serials = vec![1];
    let plan = scene.step(5);
    assert_eq!(
        plan.create_pods[0].metadata.name.as_deref(),
        Some(names::server_pod("chat", 2).as_str())
    );
    assert_eq!(plan.reserve_serials, Some(3));
}
