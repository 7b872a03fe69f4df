//! What the pods of all three components have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, LocalObjectReference,
    ObjectFieldSelector, PodSecurityContext, PodSpec, Probe, SeccompProfile, SecretKeySelector,
    SecurityContext, Sysctl, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wsc_api::v1alpha1::{PodSettings, SecretKeyReference};
use wsc_contract::labels::{self, Component};

use super::metadata;
use crate::validate::ValidCluster;

/// Numeric users of the images (docs/contracts.md).
pub(super) fn user(component: Component) -> i64 {
    match component {
        Component::Server => 65532,
        Component::Proxy => 99,
        Component::Redis => 999,
    }
}

/// Labels and annotations of a pod: what the user may add, and ours, which win but for
/// `safe-to-evict`.
pub(super) fn pod_meta(cluster: &ValidCluster, component: Component, settings: &PodSettings) -> ObjectMeta {
    let mut labels = settings.pod_labels.clone();
    labels.extend(metadata::labels(cluster, component));
    let mut annotations = settings.pod_annotations.clone();
    // An eviction ends the connections of clients outside of the budget; Redis has none.
    let safe_to_evict = component == Component::Redis;
    annotations
        .entry(labels::SAFE_TO_EVICT.to_owned())
        .or_insert_with(|| safe_to_evict.to_string());
    ObjectMeta {
        labels: Some(labels),
        annotations: Some(annotations),
        ..Default::default()
    }
}

/// The same, with those of the spec for all objects: a change of them replaces the pods of a
/// Deployment.
pub(super) fn deployed_pod_meta(
    cluster: &ValidCluster,
    component: Component,
    settings: &PodSettings,
) -> ObjectMeta {
    let mut meta = pod_meta(cluster, component, settings);
    cluster.common.of_new_pod(settings).add_to(&mut meta);
    meta
}

/// A pod that the Restricted Pod Security Standard admits, with the user's allow-listed settings
/// and no containers yet.
pub(super) fn pod_spec(cluster: &ValidCluster, component: Component, settings: &PodSettings) -> PodSpec {
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(user(component)),
            run_as_group: Some(user(component)),
            fs_group: Some(user(component)),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        topology_spread_constraints: Some(spread(cluster, component)),
        node_selector: none_if_empty(settings.node_selector.clone()),
        tolerations: (!settings.tolerations.is_empty()).then(|| settings.tolerations.clone()),
        affinity: settings.affinity.clone(),
        priority_class_name: settings.priority_class_name.clone(),
        image_pull_secrets: pull_secrets(settings),
        ..Default::default()
    }
}

/// A container that the Restricted Pod Security Standard admits.
pub(super) fn container(name: &str, image: &str) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// One connection takes one source port per pair of addresses, so the whole range is opened, except
/// for the ports that the pod itself listens on. All of these are safe sysctls that the Restricted
/// standard admits.
pub(super) fn sysctls(listening: [u16; 2]) -> Vec<Sysctl> {
    let [first, second] = listening;
    vec![
        sysctl("net.ipv4.ip_local_port_range", "1024 65535".to_owned()),
        sysctl("net.ipv4.ip_local_reserved_ports", format!("{first},{second}")),
    ]
}

pub(super) fn http_probe(path: &str, port: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(port.to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(super) fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    }
}

pub(super) fn value(name: &str, value: &(impl ToString + ?Sized)) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_string()),
        ..Default::default()
    }
}

/// A variable out of the pod's own metadata.
pub(super) fn from_field(name: &str, path: &str) -> EnvVar {
    let field_ref = Some(ObjectFieldSelector {
        field_path: path.to_owned(),
        ..Default::default()
    });
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A variable that the kubelet takes from a Secret; no program of ours reads it from the API
/// server.
pub(super) fn from_secret(name: &str, reference: &SecretKeyReference) -> EnvVar {
    let secret_key_ref = Some(SecretKeySelector {
        name: reference.name.clone(),
        key: reference.key.clone(),
        ..Default::default()
    });
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn none_if_empty(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}

fn sysctl(name: &str, value: String) -> Sysctl {
    Sysctl {
        name: name.to_owned(),
        value,
    }
}

/// Spread over zones and hosts where that is possible; a pod is never kept waiting for it.
fn spread(cluster: &ValidCluster, component: Component) -> Vec<TopologySpreadConstraint> {
    ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(metadata::selector(cluster, component)),
            ..Default::default()
        })
        .to_vec()
}

fn pull_secrets(settings: &PodSettings) -> Option<Vec<LocalObjectReference>> {
    let secrets = settings.image_pull_secrets.iter();
    let secrets: Vec<_> = secrets
        .map(|secret| LocalObjectReference {
            name: secret.name.clone(),
        })
        .collect();
    (!secrets.is_empty()).then_some(secrets)
}
