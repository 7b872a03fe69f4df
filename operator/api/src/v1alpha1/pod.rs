use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What a person may say about pods of one kind; everything else about them is ours.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodSettings {
    /// Requests and limits of the main container (Kubernetes quantities; default: small requests and a memory limit).
    /// A change rolls these pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// Labels that a node must have (default none, at most 16). A change rolls these pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the pods tolerate (default none, at most 16). A change rolls these pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,

    /// Affinity rules (default none; pods are spread over zones and hosts anyway where that is possible). A change rolls these pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Name of a PriorityClass (default none, at most 253 characters). A change rolls these pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,

    /// Secrets in the same namespace to pull the image with (default none, at most 8). A change rolls these pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Vec<LocalObjectReference>,

    /// More labels on the pods (default none, at most 16; none of ours). A change rolls these pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(validation = Rule::new("self.all(key, size(key) <= 253 && !key.startsWith('websocket-operator.io/') && !key.startsWith('app.kubernetes.io/'))")
        .message("podLabels must not set labels of websocket-operator.io/ or app.kubernetes.io/"))]
    pub pod_labels: BTreeMap<String, String>,

    /// More annotations on the pods (default none, at most 16; none of ours). A change rolls these pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(validation = Rule::new("self.all(key, size(key) <= 253 && !key.startsWith('websocket-operator.io/'))")
        .message("podAnnotations must not set annotations of websocket-operator.io/"))]
    pub pod_annotations: BTreeMap<String, String>,
}

/// An object of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LocalObjectReference {
    /// Name of the object (required, 1 to 253 characters). A change rolls these pods.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One key of a Secret of the same namespace. The operator never reads it: the kubelet hands it to the pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// Name of the Secret (required, 1 to 253 characters). A change rolls the server pods.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key in the Secret (required, 1 to 253 characters). A change rolls the server pods.
    #[schemars(length(min = 1, max = 253), pattern(r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}
