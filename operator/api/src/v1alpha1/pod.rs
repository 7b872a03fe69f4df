//! Settings that pods of all three kinds share, and references.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::on_change::OnChange;
use crate::syntax;

/// Pod settings that the resource exposes; the operator sets all others.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodSettings {
    /// Resource requests and limits of the main container; without it small requests and a memory limit are set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-on-change" = OnChange::RollsOwnPods))]
    pub resources: Option<ResourceRequirements>,

    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        extend("maxProperties" = 16, "additionalProperties" = syntax::label_values()),
        extend("x-on-change" = OnChange::RollsOwnPods)
    )]
    #[x_kube(validation = Rule::new(syntax::keys_rule(syntax::QUALIFIED_NAME))
        .message(format!("nodeSelector: each key must be {}", syntax::KEY_RULE).as_str()))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-on-change" = OnChange::RollsOwnPods))]
    pub tolerations: Vec<Toleration>,

    /// Affinity rules, in addition to spreading the pods over zones and nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-on-change" = OnChange::RollsOwnPods))]
    pub affinity: Option<Affinity>,

    /// Name of the PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = syntax::SUBDOMAIN_LENGTH),
        pattern(syntax::SUBDOMAIN),
        extend("x-on-change" = OnChange::RollsOwnPods)
    )]
    #[x_kube(validation = Rule::new("!self.startsWith('system-')")
        .message("priorityClassName must not start with system-: these classes are reserved for the cluster"))]
    pub priority_class_name: Option<String>,

    /// Secrets in the same namespace with the credentials of the image registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Vec<LocalObjectReference>,

    /// Additional labels of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        extend("maxProperties" = 16, "additionalProperties" = syntax::label_values()),
        extend("x-on-change" = OnChange::RollsOwnPods)
    )]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('websocket-operator.io/') && !key.startsWith('app.kubernetes.io/'))")
        .message("podLabels must not set labels of websocket-operator.io/ or app.kubernetes.io/"))]
    #[x_kube(validation = Rule::new(syntax::keys_rule(syntax::QUALIFIED_NAME))
        .message(format!("podLabels: each key must be {}", syntax::KEY_RULE).as_str()))]
    pub pod_labels: BTreeMap<String, String>,

    /// Additional annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        extend("maxProperties" = 16, "additionalProperties" = syntax::annotation_values(syntax::ANNOTATION_LENGTH)),
        extend("x-on-change" = OnChange::RollsOwnPods)
    )]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('websocket-operator.io/'))")
        .message("podAnnotations must not set annotations of websocket-operator.io/"))]
    #[x_kube(validation = Rule::new(syntax::keys_rule(syntax::ANNOTATION_KEY))
        .message(format!("podAnnotations: each key must be {}", syntax::KEY_RULE).as_str()))]
    pub pod_annotations: BTreeMap<String, String>,
}

/// Reference to an object in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LocalObjectReference {
    /// Name of the object.
    #[schemars(
        length(min = 1, max = syntax::SUBDOMAIN_LENGTH),
        pattern(syntax::SUBDOMAIN),
        extend("x-on-change" = OnChange::RollsOwnPods)
    )]
    pub name: String,
}

/// Reference to a key of a Secret in the same namespace, read by the kubelet and never by the operator.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// Name of the Secret.
    #[schemars(
        length(min = 1, max = syntax::SUBDOMAIN_LENGTH),
        pattern(syntax::SUBDOMAIN),
        extend("x-on-change" = OnChange::RollsServers)
    )]
    pub name: String,

    /// Key in the Secret.
    #[schemars(
        length(min = 1, max = 253),
        pattern(r"^[-._a-zA-Z0-9]+$"),
        extend("x-on-change" = OnChange::RollsServers)
    )]
    #[x_kube(validation = Rule::new("self != '.' && !self.startsWith('..')")
        .message("key must not be . and must not start with ..: no key of a Secret is"))]
    pub key: String,
}
