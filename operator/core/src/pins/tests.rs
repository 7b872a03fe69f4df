//! Pins across upgrades: which pods an operator of another release or image replaces.

use std::sync::Arc;

use serde::Deserialize;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::labels;

use super::*;
use crate::live::LiveChild;
use crate::observed::{ChildView, PodPhase};
use crate::resources::{listener, template_hash};
use crate::testing::{self, images as installed};
use crate::validate::validate;

const SPEC: &str = "scaling: {minReplicas: 2, maxReplicas: 4}";
const OWN: &str = "scaling: {maxReplicas: 4}\nserver: {image: registry.example.org/chat:7}";
const RELEASE: (&str, &str, &str) = (
    include_str!("../../../../tests/releases/0.1.0/clusters/minimal/resource.yaml"),
    include_str!("../../../../tests/releases/0.1.0/clusters/minimal/pod.yaml"),
    include_str!("../../../../tests/releases/0.1.0/clusters/minimal/children.yaml"),
);

/// Images of the operator before the installed one.
fn former() -> Pins {
    let of_before = |image: &str| image.replace(":1", ":0");
    let pins = installed().pins();
    Pins {
        server: of_before(&pins.server),
        proxy: of_before(&pins.proxy),
        redis: of_before(&pins.redis),
        ..pins
    }
}

/// A pool with a server pod for each of these pins, and the children by the first ones; its status
/// is lost.
fn lost(spec: &str, pods: &[Pins]) -> Observed {
    let cluster = testing::cluster(spec);
    let mut observed = Observed::default();
    for (serial, pins) in (0..).zip(pods) {
        let rendered = with_pins(&cluster, pins.clone());
        let mut pod = testing::pod(serial);
        pod.template_hash = template_hash(&rendered);
        pod.image = Some(rendered.server_image().to_owned());
        observed.pods.insert(pod.name.clone(), pod.into());
        if serial == 0 {
            for child in resources::children(&rendered, &BTreeSet::new()) {
                let live = testing::live(&child);
                observed.children.insert(child.key(), view(&live));
            }
        }
    }
    observed
}

fn view(object: &Value) -> ChildView {
    ChildView {
        uid: "uid".to_owned(),
        applied_hash: None,
        object: Arc::new(LiveChild::new(object)),
        terminating: false,
    }
}

fn recovered_of(spec: &str, observed: &Observed) -> Pins {
    recovered(&testing::cluster(spec), observed, &installed().pins())
}

#[test]
fn new_resource_gets_installed_pins() {
    let chat = resolve(testing::cluster(SPEC), &Observed::default(), &installed());
    assert_eq!(chat.pins, installed().pins());
}

#[test]
fn each_resource_follows_at_once() {
    let mut observed = lost(SPEC, &[former(), former()]);
    observed.status.pins = Some(former());
    let chat = resolve(testing::cluster(SPEC), &observed, &installed());
    assert_eq!(chat.pins, installed().pins());
    let newer = Pins {
        template: former().template + 1,
        ..former()
    };
    assert!(follows(&former(), &newer), "the template alone");
    assert!(follows(&newer, &former()), "a downgrade");
}

#[test]
fn operator_version_alone_moves_nothing() {
    assert!(!follows(&former(), &former()));
    let mut observed = lost(SPEC, &[former()]);
    observed.status.pins = Some(former());
    let images = Images {
        server: former().server,
        proxy: former().proxy,
        redis: former().redis,
        operator_namespace: "elsewhere".to_owned(),
    };
    let chat = validate(&testing::resource(SPEC), &images).unwrap();
    let chat = resolve(chat, &observed, &images);
    assert_eq!(chat.pins, former());
    assert_eq!(template_hash(&chat), observed.pods["chat-0"].template_hash);
}

#[test]
fn lost_status_pins_what_runs() {
    let observed = lost(SPEC, &[former(), former()]);
    assert_eq!(recovered_of(SPEC, &observed), former());
}

#[test]
fn lost_status_of_rollout_pins_installed() {
    let observed = lost(SPEC, &[former(), former(), installed().pins()]);
    let pins = recovered_of(SPEC, &observed);
    assert_eq!(pins.server, installed().server, "it had followed");
    let mut reverted = observed;
    let pod = reverted.pods.get_mut("chat-2").unwrap();
    pod.phase = PodPhase::Failed;
    assert_eq!(recovered_of(SPEC, &reverted).server, former().server);
}

#[test]
fn replaced_pods_get_installed_images() {
    let mut edited = lost(SPEC, &[former()]);
    let pod = edited.pods.get_mut("chat-0").unwrap();
    pod.image = Some("registry.example.org/debug:1".to_owned());
    assert_eq!(recovered_of(SPEC, &edited).server, installed().server);

    let other = "scaling: {maxReplicas: 4}\nserver: {port: 8081}\nproxy: {podLabels: {a: b}}";
    let pins = recovered_of(other, &lost(SPEC, &[former()]));
    let kept = Pins {
        redis: former().redis,
        ..installed().pins()
    };
    assert_eq!(pins, kept, "the spec replaces server and proxy pods");
}

#[test]
fn image_of_resource_is_no_pin() {
    let pins = recovered_of(OWN, &lost(OWN, &[former()]));
    assert_eq!(
        pins,
        Pins {
            server: installed().server,
            ..former()
        }
    );
    assert_eq!(
        with_pins(&testing::cluster(OWN), pins).server_image(),
        "registry.example.org/chat:7"
    );
}

/// Server and proxy pods are replaced by the upgrade whatever their images are; the managed Redis
/// is not.
#[test]
fn release_0_1_0_keeps_only_redis() {
    let (resource, pod, children) = RELEASE;
    let chat: WebSocketCluster = serde_yaml::from_str(resource).unwrap();
    let pod: k8s_openapi::api::core::v1::Pod = serde_yaml::from_str(pod).unwrap();
    let mut view_of_pod = testing::pod(0);
    view_of_pod.template_hash = pod.metadata.labels.as_ref().unwrap()[labels::TEMPLATE_HASH].clone();
    view_of_pod.listener = listener(&pod);
    view_of_pod.image = resources::image(&pod).map(str::to_owned);
    let mut observed = Observed {
        pods: [("chat-0".to_owned(), view_of_pod.into())].into(),
        ..Observed::default()
    };
    for document in serde_yaml::Deserializer::from_str(children) {
        let child = Value::deserialize(document).unwrap();
        if child["kind"] == "Deployment" {
            let key = deployment(child["metadata"]["name"].as_str().unwrap());
            observed.children.insert(key, view(&child));
        }
    }
    assert_eq!(observed.children.len(), 2);
    let chat = validate(&chat, &installed()).unwrap();
    let pins = recovered(&chat, &observed, &installed().pins());
    let redis = "ghcr.io/websocket-operator/wsc-redis:0.1.0".to_owned();
    assert_eq!(
        pins,
        Pins {
            redis,
            ..installed().pins()
        }
    );
}
