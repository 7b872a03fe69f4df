//! Which of several pods drains to shrink the pool.

use super::scene::{BOUNDS, Scene};
use super::tell::marked;

/// Of pods with these connections, zones and nodes, by serial.
fn drained_first(pods: &[(i64, &str, &str)]) -> String {
    let connections: Vec<i64> = pods.iter().map(|(connections, ..)| *connections).collect();
    let mut scene = Scene::running(BOUNDS, &connections);
    for (serial, (_, zone, node)) in (0..).zip(pods) {
        let pod = scene.pod(serial);
        (pod.zone, pod.node) = (Some((*zone).to_owned()), Some((*node).to_owned()));
    }
    let plan = scene.tick(600);
    let marked = marked(&plan);
    assert_eq!(marked.len(), 1, "{marked:?}");
    marked[0].0.to_owned()
}

#[test]
fn crowded_zone_drains_before_crowded_node() {
    let pods = |in_a, in_b| {
        [
            (in_a, "a", "a1"),
            (in_a, "a", "a2"),
            (in_a, "a", "a3"),
            (in_b, "b", "b1"),
            (in_b, "b", "b1"),
        ]
    };
    assert_eq!(
        drained_first(&pods(10, 10)),
        "chat-2",
        "the newest in the zone of three"
    );
    assert_eq!(
        drained_first(&pods(13, 7)),
        "chat-2",
        "less than a tenth of the target apart"
    );
    assert_eq!(
        drained_first(&pods(20, 10)),
        "chat-4",
        "fewer clients have to move"
    );
}

#[test]
fn crowded_node_drains_before_newer_pods() {
    let pods = [(10, "a", "a1"), (10, "a", "a1"), (10, "a", "a2")];
    assert_eq!(drained_first(&pods), "chat-1");
}
