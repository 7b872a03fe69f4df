//! Writes of labels and annotations of the spec on server pods that are there.

use std::collections::BTreeMap;

use crate::common::{KIND, Map};
use crate::draft::Draft;
use crate::failures::ObjectName;
use crate::goal::Control;
use crate::hash::short_hex;
use crate::observed::PodView;
use crate::plan::PodMetadata;
use crate::pool::{Member, Pool, Role};
use crate::resources;
use crate::validate::ValidCluster;
use wsc_contract::labels;

/// Pods that get theirs in one pass: drains and new pods of the same pass wait for these writes.
const PODS_IN_A_PASS: usize = 32;

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
