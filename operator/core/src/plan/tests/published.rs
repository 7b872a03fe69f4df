//! The configuration of the proxies is rendered again when anything in it changes, and only then.

use super::scene::{BOUNDS, Scene};
use crate::plan::Child;
use crate::{decide, testing};

const CHANGES: [fn(&mut Scene); 8] = [
    |scene| scene.pod(0).ip = Some([10, 0, 1, 1].into()),
    |scene| scene.pod(0).uid = "another".to_owned(),
    |scene| scene.pod(0).listener.port = Some(8081),
    |scene| scene.pod(0).listener.path = Some("/other".to_owned()),
    |scene| scene.pod(0).terminating = true,
    |scene| {
        scene.observed.pods.remove("chat-1");
    },
    |scene| with(scene, "proxy: {origins: [\"https://example.org\"]}"),
    |scene| with(scene, "labels: {team: a}"),
];

fn with(scene: &mut Scene, spec: &str) {
    scene.cluster = testing::cluster(&format!("server: {{maxConnections: 100}}\n{BOUNDS}\n{spec}"));
}

#[test]
fn every_change_of_the_configuration_is_published() {
    for (index, change) in CHANGES.into_iter().enumerate() {
        let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
        change(&mut scene);
        let kept = decide(&scene.cluster, &scene.observed, &scene.memory, scene.now);
        scene.memory.published = None;
        let rendered = decide(&scene.cluster, &scene.observed, &scene.memory, scene.now);
        let is_config_map = |child: &Child| matches!(child, Child::ConfigMap(_));
        assert!(kept.apply.iter().any(is_config_map), "change {index}");
        assert!(kept == rendered, "change {index}: not the plan without a memory");
    }
}

#[test]
fn same_configuration_keeps_its_hashes() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    let before = scene.memory.published.clone().unwrap();
    // A rendering would correct it.
    scene.memory.published.as_mut().unwrap().servers = "kept".to_owned();
    scene.said(0).connections = 60;
    let plan = scene.tick(5);
    let published = plan.memory.published.unwrap();
    assert_eq!((published.inputs, &*published.servers), (before.inputs, "kept"));
}
