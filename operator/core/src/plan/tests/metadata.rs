//! Labels and annotations that the spec has for all objects, on server pods that are there.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use wsc_contract::labels;

use super::scene::{BOUNDS, Scene};
use super::tell::{changes_no_pod, condition, marked};
use crate::common::{self, CommonMetadata};
use crate::failures::{Cause, Problem};
use crate::observed::PodState;
use crate::plan::{Plan, PodMetadata};
use crate::{resources, status, testing};

const MAXIMUM: &str = "server: {maxConnections: 100}\nscaling: {minReplicas: 2, maxReplicas: 20}";

/// A pool whose pods were created before the spec had this.
fn changed(pods: usize, spec: &str) -> Scene {
    let mut scene = Scene::running(BOUNDS, &vec![50; pods]);
    scene.cluster = testing::cluster(&format!("{MAXIMUM}\n{spec}"));
    scene
}

fn pods(plan: &Plan) -> Vec<&str> {
    plan.update_pods
        .iter()
        .map(|update| update.name.as_str())
        .collect()
}

/// A pod as the API server has it after the write.
fn written(mut meta: ObjectMeta, update: &PodMetadata) -> ObjectMeta {
    let write = |map: &mut BTreeMap<String, String>, changes: &BTreeMap<String, Option<String>>| {
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
    };
    write(meta.labels.get_or_insert_default(), &update.labels);
    write(meta.annotations.get_or_insert_default(), &update.annotations);
    meta
}

/// The metadata of the pod `chat-0` of this spec after it is changed to each of these, and what a
/// new pod of the last one has.
fn after(specs: &[&str]) -> (ObjectMeta, ObjectMeta) {
    let new = |spec: &str| {
        let cluster = testing::cluster(&format!("{MAXIMUM}\n{spec}"));
        resources::server_pod(&cluster, 0, "/ws").metadata
    };
    let (first, rest) = specs.split_first().unwrap();
    let mut live = new(first);
    live.labels
        .as_mut()
        .unwrap()
        .insert("injected".to_owned(), "x".to_owned());
    for spec in rest {
        let mut scene = changed(2, spec);
        scene.pod(0).common = CommonMetadata::of(&live);
        let plan = scene.tick(1);
        let update = plan.update_pods.iter().find(|update| update.name == "chat-0");
        if let Some(update) = update {
            live = written(live, update);
            assert!(update.is_in(&live), "{live:?}");
        }
    }
    let injected = live.labels.as_mut().unwrap().remove("injected");
    assert_eq!(injected.as_deref(), Some("x"), "a label of another writer");
    (live, new(specs.last().unwrap()))
}

#[test]
fn pods_are_updated_in_place() {
    let mut scene = changed(
        3,
        "labels: {team: chat}\nannotations: {example.org/contact: chat}",
    );
    let plan = scene.tick(1);
    assert_eq!(pods(&plan), ["chat-0", "chat-1", "chat-2"]);
    assert!(changes_no_pod(&plan) && plan.calls.is_empty(), "{plan:#?}");
    assert!(!plan.is_quiet);
    let progressing = condition(&plan, "Progressing");
    assert_eq!(progressing.0, "False", "no rollout: {progressing:?}");
    assert!(pods(&scene.tick(1)).is_empty(), "the watch does not show it yet");
    for serial in 0..3 {
        let update = plan
            .update_pods
            .iter()
            .find(|update| update.uid == format!("uid-{serial}"));
        let live = written(ObjectMeta::default(), update.unwrap());
        assert_eq!(live.labels.as_ref().unwrap()["team"], "chat");
        assert_eq!(live.annotations.as_ref().unwrap()["example.org/contact"], "chat");
        let pod = scene.pod(serial);
        (pod.common, pod.resource_version) = (CommonMetadata::of(&live), "101".to_owned());
    }
    assert!(pods(&scene.tick(1)).is_empty());
}

#[test]
fn updated_pod_equals_a_new_one() {
    let stories: [&[&str]; 8] = [
        &["", "labels: {a: b, c: d}"],
        &["labels: {a: b}", "labels: {a: c}"],
        &["labels: {a: b, c: d}\nannotations: {x: y}", "labels: {c: d}"],
        &["labels: {a: b}\nannotations: {x: y}", ""],
        &["", "labels: {a: b}", "annotations: {x: y}", "labels: {a: c}"],
        &[
            "annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: 'true'}",
            "",
        ],
        &[
            "",
            "annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: 'true'}",
        ],
        &["", "labels: {a: b}", "labels: {a: b}"],
    ];
    for story in stories {
        let (live, new) = after(story);
        assert_eq!(
            (live.labels, live.annotations),
            (new.labels, new.annotations),
            "{story:?}"
        );
    }
}

#[test]
fn labels_of_the_template_have_precedence() {
    let extra = "server: {maxConnections: 100, podLabels: {a: template}, podAnnotations: {x: template}}";
    let cluster = testing::cluster(&format!(
        "{BOUNDS}\n{extra}\nlabels: {{a: all, b: all}}\nannotations: {{x: all}}"
    ));
    let meta = resources::server_pod(&cluster, 0, "/ws").metadata;
    let (of_pod, of_annotations) = (meta.labels.clone().unwrap(), meta.annotations.clone().unwrap());
    assert_eq!((of_pod["a"].as_str(), of_pod["b"].as_str()), ("template", "all"));
    assert_eq!(of_annotations["x"], "template");

    // A pod of an earlier template keeps a key that a policy may require, until it is replaced.
    let mut scene = changed(2, "");
    scene.pod(0).common = CommonMetadata::of(&ObjectMeta {
        labels: Some(BTreeMap::from([("a".to_owned(), "before".to_owned())])),
        annotations: Some(BTreeMap::from([(
            labels::COMMON_METADATA.to_owned(),
            r#"{"labels":["a"]}"#.to_owned(),
        )])),
        ..ObjectMeta::default()
    });
    scene.cluster = cluster;
    let plan = scene.tick(1);
    let update = plan
        .update_pods
        .iter()
        .find(|update| update.name == "chat-0")
        .unwrap();
    assert_eq!(
        update.labels,
        BTreeMap::from([("b".to_owned(), Some("all".to_owned()))])
    );
}

#[test]
fn metadata_is_no_part_of_the_template() {
    let hash = |spec: &str| resources::template_hash(&testing::cluster(&format!("{MAXIMUM}\n{spec}")));
    assert_eq!(hash(""), hash("labels: {a: b}\nannotations: {x: y}"));
}

#[test]
fn few_pods_are_updated_in_a_pass() {
    let plan = changed(40, "labels: {a: b}").tick(1);
    assert_eq!(plan.update_pods.len(), 32);
}

/// A policy that freezes labels must not keep a pod from its rotation or its drain.
#[test]
fn rejected_update_delays_no_state() {
    let mut scene = changed(3, "labels: {a: b}");
    let plan = scene.tick(1);
    let now = scene.now;
    for update in &plan.update_pods {
        let problem = Problem {
            message: "labels are frozen".to_owned(),
            cause: Cause::Object,
        };
        let hash = Some(update.hash.clone());
        scene.memory.write_failed(&update.uid);
        scene
            .memory
            .apply_failed(common::KIND, &update.name, hash, problem, now);
    }
    let reported = status::applied(&plan, &scene.memory, &scene.observed, now);
    let stalled = reported
        .conditions
        .iter()
        .find(|found| found.type_ == "Stalled")
        .unwrap();
    assert_eq!(
        (stalled.status.as_str(), stalled.reason.as_str()),
        ("True", "ApplyFailed")
    );
    assert_eq!(
        stalled.message,
        "cannot write metadata of Pod chat-0: labels are frozen; it is retried"
    );
    let plan = scene.step(0);
    assert!(pods(&plan).is_empty(), "there is no back-off");

    scene.pod(0).state = PodState::Starting;
    assert_eq!(marked(&scene.step(0)), [("chat-0", PodState::Active)]);
}

#[test]
fn state_of_a_pod_is_written_first() {
    let mut scene = changed(3, "labels: {a: b}");
    scene.pod(0).state = PodState::Starting;
    let plan = scene.tick(1);
    assert_eq!(marked(&plan), [("chat-0", PodState::Active)]);
    assert_eq!(pods(&plan), ["chat-1", "chat-2"]);
}

#[test]
fn failure_is_forgotten_with_its_cause() {
    let mut scene = changed(2, "labels: {a: b}");
    let now = scene.now;
    let problem = Problem {
        message: "labels are frozen".to_owned(),
        cause: Cause::Object,
    };
    scene
        .memory
        .apply_failed(common::KIND, "chat-0", None, problem, now);
    assert_eq!(condition(&scene.step(0), "Stalled"), ("True", "ApplyFailed"));
    for uid in ["uid-0", "uid-1"] {
        scene.memory.write_failed(uid);
    }
    scene.cluster = testing::cluster(MAXIMUM);
    assert_eq!(condition(&scene.step(0), "Stalled").0, "False");
}
