//! Labels and annotations that the spec has for all objects, on server pods. They are no part of the template: a change is written on
//! the pods that are there, and replaces none. An annotation of the pod has their keys, so that one that is no longer in the spec is
//! removed from the pod, and one of another writer is not.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use wsc_api::v1alpha1::PodSettings;
use wsc_contract::labels;

use crate::draft::Draft;
use crate::failures::ObjectName;
use crate::goal::Control;
use crate::hash::short_hex;
use crate::observed::PodView;
use crate::plan::PodMetadata;
use crate::pool::{Member, Pool, Role};
use crate::resources;
use crate::validate::ValidCluster;

/// The kind of a failed write, in messages. Apart from that of its state: neither prevents the other.
pub const KIND: &str = "metadata of Pod";

/// Pods that get theirs in one pass: drains and new pods of the same pass wait for these writes.
const PODS_IN_A_PASS: usize = 32;

type Map = BTreeMap<String, String>;

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

    /// Those that a pod with `live` is to have. Keys of `podLabels` and `podAnnotations` stay as they are: a new template sets them on
    /// new pods.
    fn of_pod(&self, pod: &PodSettings, live: &Self) -> Self {
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
    fn keys(&self) -> Option<String> {
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

/// Writes them into a server pod that is to be created, with the annotation.
pub(crate) fn add_to_server(cluster: &ValidCluster, meta: &mut ObjectMeta) {
    let mut common = cluster.common.of_new_pod(&cluster.server.pod);
    let keys = common.keys();
    let keys = keys.map(|keys| (labels::COMMON_METADATA.to_owned(), keys));
    common.annotations.extend(keys);
    common.add_to(meta);
}

/// Plans the writes on pods that have others, unless something else happens to them in this pass.
pub(crate) fn plan(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let (spec, pod) = (&draft.cluster.common, &draft.cluster.server.pod);
    let new = spec.of_new_pod(pod);
    let differs = |member: &&Member<'_>| {
        let live = &member.view.common;
        let stays = !member.view.terminating && member.role != Role::Dead;
        // The first comparison is the one of nearly all pods.
        stays && *live != new && *live != spec.of_pod(pod, live)
    };
    let due: Vec<_> = pool.members.iter().filter(differs).collect();
    let is_due = |name: &str| due.iter().any(|member| member.view.name == name);
    draft
        .memory
        .failures
        .retain(|object| object.kind != KIND || is_due(&object.name));
    let is_free = |member: &Member<'_>| {
        let (view, control) = (member.view, draft.control(member));
        let is_same = |control: &Control| (control.label, control.drain) == (view.state, view.drain);
        !draft.goals.is_unconfirmed(member)
            && control.is_some_and(|control| control.delete.is_none() && is_same(control))
    };
    let writes = due
        .iter()
        .filter(|member| is_free(member))
        .map(|member| write(draft.cluster, member.view))
        .filter(|write| {
            let pod = ObjectName::new(KIND, write.name.as_str());
            draft.memory.failures.is_due(&pod, Some(&write.hash), draft.now)
        });
    let writes: Vec<_> = writes.take(PODS_IN_A_PASS).collect();
    let (now, all) = (writes.len(), due.len());
    draft.plan.update_pods = writes;
    if now > 0 {
        draft.line(format!("update labels and annotations of {now} of {all} pods"));
    }
}

fn write(cluster: &ValidCluster, view: &PodView) -> PodMetadata {
    let wanted = cluster.common.of_pod(&cluster.server.pod, &view.common);
    let template = resources::template_meta(cluster);
    let mut annotations = changes(
        &view.common.annotations,
        &wanted.annotations,
        template.annotations.as_ref(),
    );
    annotations.insert(labels::COMMON_METADATA.to_owned(), wanted.keys());
    // Maps of strings always serialize.
    let bytes = serde_json::to_vec(&wanted).unwrap_or_default();
    PodMetadata {
        name: view.name.clone(),
        uid: view.uid.clone(),
        resource_version: view.resource_version.clone(),
        labels: changes(&view.common.labels, &wanted.labels, None),
        annotations,
        common: wanted,
        hash: short_hex(&bytes, 5),
    }
}

/// What makes one of the other; a removed key gets the value of the template, or none.
fn changes(live: &Map, wanted: &Map, template: Option<&Map>) -> BTreeMap<String, Option<String>> {
    let value = |key: &String| wanted.get(key).or_else(|| template?.get(key)).cloned();
    let keys = live.keys().chain(wanted.keys());
    let changed = keys.filter(|key| live.get(*key) != wanted.get(*key));
    changed.map(|key| (key.clone(), value(key))).collect()
}
