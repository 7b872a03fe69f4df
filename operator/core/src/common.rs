//! Labels and annotations that the spec has for all objects, on server pods. They are no part of
//! the template: a change is written on the pods that are there, and replaces none. An annotation
//! of the pod has their keys, so that one that is no longer in the spec is removed from the pod,
//! and one of another writer is not.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use wsc_api::v1alpha1::PodSettings;
use wsc_contract::labels;

/// The kind of a failed write, in messages. Apart from that of its state: neither prevents the
/// other.
pub const KIND: &str = "metadata of Pod";

pub(crate) type Map = BTreeMap<String, String>;

/// Labels and annotations that the spec has for all objects, or those that a pod has of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CommonMetadata {
    pub(crate) labels: Map,
    pub(crate) annotations: Map,
}

/// The annotation of a pod.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Keys {
    labels: Vec<String>,
    annotations: Vec<String>,
}

impl CommonMetadata {
    /// What a live server pod has of them.
    pub fn of(meta: &ObjectMeta) -> Self {
        let keys = meta
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(labels::COMMON_METADATA));
        let Some(keys) = keys.and_then(|keys| serde_json::from_str::<Keys>(keys).ok()) else {
            return Self::default();
        };
        let values = |keys: Vec<String>, map: Option<&Map>| {
            let value = |key: String| Some((key.clone(), map?.get(&key)?.clone()));
            keys.into_iter().filter_map(value).collect()
        };
        Self {
            labels: values(keys.labels, meta.labels.as_ref()),
            annotations: values(keys.annotations, meta.annotations.as_ref()),
        }
    }

    /// Those of a new pod: `podLabels` and `podAnnotations` have precedence.
    pub(crate) fn of_new_pod(&self, pod: &PodSettings) -> Self {
        self.of_pod(pod, &Self::default())
    }

    /// Those that a pod with `live` is to have. Keys of `podLabels` and `podAnnotations` stay as
    /// they are: a new template sets them on new pods.
    pub(crate) fn of_pod(&self, pod: &PodSettings, live: &Self) -> Self {
        let merged = |spec: &Map, template: &Map, live: &Map| {
            let set = spec.iter().filter(|(key, _)| !template.contains_key(*key));
            let kept = live.iter().filter(|(key, _)| template.contains_key(*key));
            let both = set.chain(kept);
            both.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        Self {
            labels: merged(&self.labels, &pod.pod_labels, &live.labels),
            annotations: merged(&self.annotations, &pod.pod_annotations, &live.annotations),
        }
    }

    /// Writes them into an object that is to be created.
    pub(crate) fn add_to(self, meta: &mut ObjectMeta) {
        meta.labels.get_or_insert_default().extend(self.labels);
        if !self.annotations.is_empty() {
            meta.annotations.get_or_insert_default().extend(self.annotations);
        }
    }

    /// Their keys, for the annotation of a pod that has any.
    pub(crate) fn keys(&self) -> Option<String> {
        let keys = |map: &Map| map.keys().cloned().collect::<Vec<_>>();
        let keys = Keys {
            labels: keys(&self.labels),
            annotations: keys(&self.annotations),
        };
        if keys.labels.is_empty() && keys.annotations.is_empty() {
            return None;
        }
        // Lists of strings always serialize.
        Some(serde_json::to_string(&keys).unwrap_or_default())
    }
}
