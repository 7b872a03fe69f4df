//! Port and path of the servers in front of which HAProxy runs: those of the live pods, not of the
//! spec.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wsc_contract::agent::ServerState;
use wsc_haproxy::{BackendSet, Settings};

use super::scene::{BOUNDS, Scene};
use super::tell::{changes_no_pod, condition};
use crate::observed::{ChildKey, ChildKind, Listener, PodState};
use crate::plan::{Child, Plan};
use crate::testing;

/// A key of the published data, after the plan.
fn published(scene: &Scene, data: &str) -> String {
    let key = ChildKey {
        kind: ChildKind::ConfigMap,
        name: "chat-haproxy".to_owned(),
    };
    let object = scene.observed.children[&key].object.object();
    object["data"][data].as_str().unwrap().to_owned()
}

/// The client path and the server path that it maps to.
fn paths(scene: &Scene) -> (String, String) {
    let settings = Settings::from_json(&published(scene, "settings.json")).unwrap();
    (settings.path().to_owned(), settings.server_path().to_owned())
}

fn ports(scene: &Scene) -> Vec<(String, u16, ServerState)> {
    let set = BackendSet::from_json(&published(scene, "backends.json")).unwrap();
    let servers = set.servers.into_iter();
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
fn pod_without_listener_has_the_defaults() {
    let mut scene = Scene::running(BOUNDS, &[50, 50]);
    scene.pod(1).listener = Listener::default();
    let plan = scene.tick(5);
    scene.adopt(&plan);
    let server = |serial| (format!("chat-{serial}"), 8080, ServerState::Ready);
    assert_eq!(ports(&scene), [server(0), server(1)]);
}

#[test]
fn changed_path_and_origins_replace_no_pod() {
    let mut scene = Scene::running(BOUNDS, &[50, 50]);
    let before = published(&scene, "backends.json");
    assert_eq!(paths(&scene), ("/ws".to_owned(), "/ws".to_owned()));
    scene.cluster = testing::cluster(&format!(
        "server: {{maxConnections: 100, path: /chat}}\nproxy: {{origins: [\"https://b.example\"]}}\n{BOUNDS}"
    ));
    let plan = scene.tick(5);
    assert!(changes_no_pod(&plan), "{plan:?}");
    assert_eq!(condition(&plan, "ProxyConfigured"), ("Unknown", "Applying"));
    scene.adopt(&plan);
    assert_eq!(paths(&scene), ("/chat".to_owned(), "/ws".to_owned()));
    assert_eq!(
        published(&scene, "backends.json"),
        before,
        "neither servers nor structure"
    );
    for _ in 0..12 {
        let plan = scene.tick(5);
        assert_eq!(condition(&plan, "ProxyConfigured"), ("True", "Applied"));
        assert!(changes_no_pod(&plan), "{plan:?}");
        scene.adopt(&plan);
    }
}

/// Pods of release 0.1.0 serve the path of the spec by which they were created.
#[test]
fn pods_of_one_pool_serve_one_path() {
    let mut scene = Scene::running(BOUNDS, &[50, 50]);
    scene.cluster = testing::cluster(&format!("server: {{maxConnections: 100, path: /chat}}\n{BOUNDS}"));
    for serial in 0..2 {
        scene.pod(serial).listener.path = Some("/chat".to_owned());
        scene.pod(serial).template_hash = "of 0.1.0".to_owned();
    }
    let plan = scene.tick(5);
    assert!(!plan.create_pods.is_empty(), "the upgrade replaces them");
    for pod in &plan.create_pods {
        let listener = crate::resources::listener(pod);
        assert_eq!(listener.path.as_deref(), Some("/chat"), "new pods join the pool");
    }
    scene.adopt(&plan);
    assert_eq!(paths(&scene), ("/chat".to_owned(), "/chat".to_owned()));

    // A change of the path that an operator of 0.1.0 began: what the proxies cannot reach is out of
    // rotation.
    scene.observed.pods.retain(|_, pod| pod.serial < 2);
    scene.pod(1).listener.path = Some("/ws".to_owned());
    let plan = scene.tick(5);
    scene.adopt(&plan);
    assert_eq!(
        paths(&scene),
        ("/chat".to_owned(), "/chat".to_owned()),
        "the oldest decides"
    );
    let state = |serial, state| (format!("chat-{serial}"), 8080, state);
    assert_eq!(
        ports(&scene)[..2],
        [state(0, ServerState::Ready), state(1, ServerState::Maint)]
    );
    scene.pod(0).terminating = true;
    let plan = scene.tick(5);
    scene.adopt(&plan);
    assert_eq!(paths(&scene), ("/chat".to_owned(), "/ws".to_owned()));
}
