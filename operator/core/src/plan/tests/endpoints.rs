//! Where proxies find the servers: what the pods say, not what the spec wants by now.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wsc_contract::agent::ServerState;
use wsc_haproxy::BackendSet;

use super::scene::{BOUNDS, Scene};
use crate::observed::{ChildKey, ChildKind, Listener, PodState};
use crate::plan::{Child, Plan};
use crate::testing;

/// The published servers, after the plan.
fn published(scene: &Scene) -> BackendSet {
    let key = ChildKey {
        kind: ChildKind::ConfigMap,
        name: "chat-haproxy".to_owned(),
    };
    let object = &scene.observed.children[&key].object;
    BackendSet::from_json(object["data"]["backends.json"].as_str().unwrap()).unwrap()
}

fn ports(scene: &Scene) -> Vec<(String, u16, ServerState)> {
    let servers = published(scene).servers.into_iter();
    servers
        .map(|server| (server.name, server.port, server.state))
        .collect()
}

/// The ports of pods that the NetworkPolicy lets the proxies reach, and whether the plan writes it.
fn admitted(plan: &Plan) -> Option<BTreeSet<i32>> {
    let policy = plan.apply.iter().find_map(|child| match child {
        Child::NetworkPolicy(policy) if policy.metadata.name.as_deref() == Some("chat") => Some(policy),
        _ => None,
    })?;
    let rules = policy.spec.as_ref().unwrap().ingress.as_ref().unwrap();
    let from_proxies = rules[0].ports.as_ref().unwrap().iter();
    let numbers = from_proxies.map(|port| match port.port {
        Some(IntOrString::Int(number)) => number,
        _ => panic!("a port without a number"),
    });
    Some(numbers.collect())
}

#[test]
fn changed_port_leaves_old_pods_in_rotation() {
    let mut scene = Scene::running(BOUNDS, &[50, 50]);
    scene.cluster = testing::cluster(&format!("server: {{maxConnections: 100, port: 8081}}\n{BOUNDS}"));
    let plan = scene.tick(5);
    assert_eq!(
        admitted(&plan),
        Some([8080, 8081].into()),
        "pods of both kinds are reachable before the first new one exists"
    );
    assert_eq!(plan.create_pods.len(), 1, "the rollout begins");
    scene.adopt(&plan);
    let old = |serial| (format!("chat-{serial}"), 8080, ServerState::Ready);
    assert_eq!(ports(&scene), [old(0), old(1)]);

    let name = plan.create_pods[0].metadata.name.clone().unwrap();
    let new = scene.observed.pods.get_mut(&name).unwrap();
    (new.ready, new.state) = (true, PodState::Active);
    new.ready_since = Some(testing::start());
    assert_eq!(new.listener.port, Some(8081), "as in its own spec");
    let plan = scene.tick(1);
    scene.adopt(&plan);
    let new = (name, 8081, ServerState::Ready);
    assert_eq!(ports(&scene), [old(0), old(1), new]);

    for serial in 0..2 {
        scene.observed.pods.remove(&format!("chat-{serial}"));
        scene.observed.samples.remove(&format!("chat-{serial}"));
    }
    let plan = scene.tick(5);
    assert_eq!(admitted(&plan), Some([8081].into()), "no pod is left on 8080");
}

#[test]
fn pod_without_a_port_has_the_one_of_the_spec() {
    let mut scene = Scene::running(BOUNDS, &[50, 50]);
    scene.pod(1).listener = Listener::default();
    let plan = scene.tick(5);
    scene.adopt(&plan);
    let server = |serial| (format!("chat-{serial}"), 8080, ServerState::Ready);
    assert_eq!(ports(&scene), [server(0), server(1)]);
}
