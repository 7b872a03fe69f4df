//! What a user reads of a pool: the columns of `kubectl get wsc -o wide`, the conditions and the
//! status say why the pool has its size, what is held and what cures it, which pods drain, which
//! revision is proven, and what could not be applied.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wsc_api::v1alpha1::WebSocketClusterStatus;
use wsc_contract::labels;

use super::scene::{BOUNDS, Scene};
use super::tell::message;
use crate::failures::{Cause, Problem};
use crate::observed::{ChildKey, ChildKind};
use crate::plan::Plan;
use crate::{status, testing};

const SPEC: &str = "scaling: {minReplicas: 2, maxReplicas: 20}\ndisruption: {maxConcurrentDrains: 1}";

/// The cells of `kubectl get wsc -o wide`, by the columns of the CRD.
fn wide(status: &WebSocketClusterStatus) -> BTreeMap<String, String> {
    let crd = serde_json::to_value(wsc_api::crd()).unwrap();
    let object = json!({ "status": status });
    let columns = crd.pointer("/spec/versions/0/additionalPrinterColumns").unwrap();
    let columns = columns.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    columns
        .map(|column| (text(&column["name"]), cell(&object, &text(&column["jsonPath"]))))
        .collect()
}

/// A path of fields, or of a field of the condition with a type.
fn cell(object: &Value, path: &str) -> String {
    let at = |value: &Value, path: &str| value.pointer(&path.replace('.', "/")).cloned();
    let value = match path.split_once("[?(@.type==\"") {
        None => at(object, path),
        Some((list, rest)) => {
            let (type_, field) = rest.split_once("\")]").unwrap();
            let list = at(object, list).unwrap_or_default();
            let found = list.as_array().into_iter().flatten();
            let mut found = found.filter(|condition| condition["type"] == type_);
            found.next().and_then(|condition| at(condition, field))
        }
    };
    match value {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

#[track_caller]
fn assert_cells(status: &WebSocketClusterStatus, wanted: &[(&str, &str)]) {
    let cells = wide(status);
    for (column, value) in wanted {
        assert_eq!(
            cells.get(*column).map(String::as_str),
            Some(*value),
            "{column}: {cells:#?}"
        );
    }
}

fn quota() -> Problem {
    Problem {
        message: "exceeded quota: few".to_owned(),
        cause: Cause::Quota,
    }
}

fn adopted(scene: &mut Scene, seconds: i64) -> Plan {
    let plan = scene.tick(seconds);
    scene.adopt(&plan);
    scene.obey(&plan);
    plan
}

#[test]
fn idle_pool_says_that_nothing_is_due() {
    let mut scene = Scene::running(BOUNDS, &[40, 50, 40]);
    let status = adopted(&mut scene, 5).status;
    let revision = status.update_revision.clone().unwrap();
    assert_cells(
        &status,
        &[
            ("Ready", "True"),
            ("Updated", "3"),
            ("Revision", &*revision),
            ("Proven", &*revision),
            ("Limit", "DesiredWithinRange"),
            ("Scaling", "StatsAvailable"),
            ("Progress", "Steady"),
            ("Stalled", "NotStalled"),
            ("Message", "the spec is fully applied"),
        ],
    );
}

#[test]
fn full_pool_names_its_limit_and_decision() {
    let mut scene = Scene::running("scaling: {minReplicas: 2, maxReplicas: 4}", &[75, 75, 75]);
    scene.said(0).connections = 95;
    scene.said(1).connections = 95;
    let plan = adopted(&mut scene, 5);
    assert_cells(&plan.status, &[("Desired", "4"), ("Limit", "TooManyReplicas")]);
    assert!(message(&plan, "ScalingLimited").contains("raise it"));
    let decision = plan.status.last_decision.unwrap();
    assert_eq!((&*decision.action, decision.connections), ("ScaleUp", 225));
    assert_eq!((decision.desired_replicas, decision.target_per_pod), (4, 75));
}

#[test]
fn held_pool_names_hold_and_cure() {
    let mut scene = Scene::running(SPEC, &[20, 30, 10, 20, 20]);
    for serial in [3, 4] {
        let name = wsc_contract::names::server_pod("chat", serial);
        scene.observed.samples.remove(&name);
    }
    let plan = adopted(&mut scene, 301);
    assert_cells(&plan.status, &[("Desired", "5"), ("Scaling", "Held")]);
    let held = message(&plan, "ScalingActive");
    for part in [
        "a hold forbids the scale-down",
        "it ends when the control ports respond",
    ] {
        assert!(held.contains(part), "{held}");
    }
}

#[test]
fn draining_pool_names_pod_reason_and_deadline() {
    let mut scene = Scene::running(SPEC, &[20, 30, 10, 20]);
    let began = scene.now;
    let plan = adopted(&mut scene, 301);
    assert_cells(&plan.status, &[("Desired", "3"), ("Progress", "PodsDraining")]);
    let [drain] = plan.status.drains.as_slice() else {
        panic!("{:?}", plan.status.drains)
    };
    assert_eq!(
        (&*drain.pod, &*drain.reason, drain.remaining),
        ("chat-2", "ScaleDown", 10)
    );
    assert_eq!(drain.since.0.duration_since(began).as_secs(), 301);
    let deadline = drain.deadline.0.duration_since(drain.since.0).as_secs();
    assert_eq!(deadline, 1_800, "drain.deadlineSeconds");
    let decision = plan.status.last_decision.unwrap();
    assert_eq!(&*decision.reason, "SurplusReplicas");
}

#[test]
fn stalled_pool_names_cause_and_remedy() {
    let mut scene = Scene::running(BOUNDS, &[75, 75, 75]);
    scene.said(0).connections = 95;
    for _ in 0..120 {
        let mut plan = scene.tick(5);
        if !plan.create_pods.is_empty() {
            plan.create_pods.clear();
            scene.memory.creates_failed("chat-9", quota(), scene.now);
        }
        scene.adopt(&plan);
    }
    let plan = scene.tick(0);
    let failed = "cannot write Pod chat-9: exceeded quota: few; it is retried";
    assert_cells(&plan.status, &[("Stalled", "PodRejected"), ("Message", failed)]);
    let stalled = message(&plan, "Stalled");
    assert!(
        stalled.contains("few") && stalled.contains("raise the quota"),
        "{stalled}"
    );
}

#[test]
fn rejected_child_is_named() {
    let mut scene = Scene::running(BOUNDS, &[10, 10]);
    let service = ChildKey {
        kind: ChildKind::Service,
        name: "chat".to_owned(),
    };
    scene.observed.children.remove(&service);
    let plan = scene.step(1);
    let child = plan.apply.iter().find(|child| child.key() == service).unwrap();
    let annotations = child.metadata().annotations.as_ref().unwrap();
    let hash = annotations.get(labels::APPLIED_HASH).cloned();
    let now = scene.now;
    scene.memory.apply_failed("Service", "chat", hash, quota(), now);
    let status = status::applied(&plan, &scene.memory, &scene.observed, now);
    let failed = "cannot write Service chat: exceeded quota: few; it is retried";
    let wanted = [
        ("Ready", "False"),
        ("Stalled", "ApplyFailed"),
        ("Message", failed),
    ];
    assert_cells(&status, &wanted);
}

#[test]
fn rollout_names_revisions_and_its_wait() {
    let mut scene = Scene::running(BOUNDS, &[10, 10, 10]);
    let old = scene.observed.status.update_revision.clone().unwrap();
    let server = "server: {maxConnections: 100, image: \"registry.example.org/wsc-server:2\"}";
    scene.cluster = testing::cluster(&format!("{server}\n{BOUNDS}"));
    adopted(&mut scene, 5);
    let new = scene.pod(3).clone();
    scene.add(new, 0);
    scene.said(3).broker_up = false;
    let plan = adopted(&mut scene, 5);
    let revision = plan.status.update_revision.clone().unwrap();
    assert_ne!(revision, old);
    let wanted = [
        ("Updated", "0"),
        ("Revision", &*revision),
        ("Proven", &*old),
        ("Progress", "RollingOut"),
    ];
    assert_cells(&plan.status, &wanted);
    let text = &wide(&plan.status)["Message"];
    for part in ["outdated template", "no connection to Redis; check spec.redis"] {
        assert!(text.contains(part), "{text}");
    }
}
