//! The pins of a resource: images and template version by which its pods are rendered. They are
//! recorded in the status, so that the template hash depends on spec and status, and on the
//! operator's version only when [`follows`] says so.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wsc_api::v1alpha1::Pins;
use wsc_contract::names;

use crate::observed::{ChildKey, ChildKind, Observed, SharedPod};
use crate::plan::Child;
use crate::validate::{Images, ValidCluster};
use crate::{drift, resources};

const TEMPLATE: &str = "/spec/template";
/// In a pod template.
const IMAGE: &str = "/spec/containers/0/image";

/// The cluster with the pins of this reconcile.
pub fn resolve(cluster: ValidCluster, observed: &Observed, installed: &Images) -> ValidCluster {
    let installed = installed.pins();
    let pinned = observed.status.pins.clone();
    let pinned = pinned.unwrap_or_else(|| recovered(&cluster, observed, &installed));
    let pins = if follows(&pinned, &installed) {
        installed
    } else {
        pinned
    };
    ValidCluster { pins, ..cluster }
}

/// Whether the resource gets the installed pins now. Each resource does at once; its own move
/// budget limits the rollout.
fn follows(pinned: &Pins, installed: &Pins) -> bool {
    pinned != installed
}

/// The pins of a resource without any: a new one, one of release 0.1.0, or one whose status was
/// lost. Those by which its live pods are current move no pod. Pods whose template is not rendered
/// any more (release 0.1.0) get the installed images: other pins would replace them twice.
fn recovered(cluster: &ValidCluster, observed: &Observed, installed: &Pins) -> Pins {
    let (proxy, redis) = (names::proxy(&cluster.name), names::redis(&cluster.name));
    let candidate = Pins {
        server: server_image(cluster, observed, installed),
        proxy: deployment_image(observed, &proxy).unwrap_or_else(|| installed.proxy.clone()),
        redis: deployment_image(observed, &redis).unwrap_or_else(|| installed.redis.clone()),
        template: installed.template,
    };
    let rendered = with_pins(cluster, candidate.clone());
    let (keeps_proxy, keeps_redis) = (
        is_current(&rendered, observed, &proxy),
        is_current(&rendered, observed, &redis),
    );
    Pins {
        proxy: if keeps_proxy {
            candidate.proxy
        } else {
            installed.proxy.clone()
        },
        redis: if keeps_redis {
            candidate.redis
        } else {
            installed.redis.clone()
        },
        ..candidate
    }
}

/// The image by which most live server pods are current. Pods of the installed image show that the
/// resource had followed it.
fn server_image(cluster: &ValidCluster, observed: &Observed, installed: &Pins) -> String {
    if cluster.server.image.is_some() {
        return installed.server.clone();
    }
    let mut hashes: BTreeMap<&str, (String, usize)> = BTreeMap::new();
    let live = |pod: &&SharedPod| !pod.terminating && !pod.has_ended();
    for pod in observed.pods.values().filter(live) {
        let Some(image) = &pod.image else {
            continue;
        };
        let (hash, pods) = hashes.entry(image).or_insert_with(|| {
            let pins = Pins {
                server: image.clone(),
                ..installed.clone()
            };
            (resources::template_hash(&with_pins(cluster, pins)), 0)
        });
        *pods += usize::from(pod.template_hash == *hash);
    }
    let current = hashes.into_iter().filter(|(_, (_, pods))| *pods > 0);
    let most = current.max_by_key(|(image, (_, pods))| (*image == installed.server, *pods));
    most.map_or(&*installed.server, |(image, _)| image).to_owned()
}

fn deployment_image(observed: &Observed, name: &str) -> Option<String> {
    let live = template(observed, name)?;
    let image = live.pointer(IMAGE)?;
    image.as_str().map(str::to_owned)
}

/// The pods of the live Deployment are those that are rendered.
fn is_current(rendered: &ValidCluster, observed: &Observed, name: &str) -> bool {
    let key = deployment(name);
    let children = resources::children(rendered, &BTreeSet::new());
    let wanted = children
        .iter()
        .find(|child| child.key() == key)
        .map(Child::to_json);
    let wanted = wanted.as_ref().and_then(|wanted| wanted.pointer(TEMPLATE));
    let live = template(observed, name);
    matches!((wanted, live), (Some(wanted), Some(live)) if drift::contains(wanted, &live))
}

/// The pod template of a live Deployment.
fn template(observed: &Observed, name: &str) -> Option<Value> {
    observed.children.get(&deployment(name))?.object.template()
}

fn deployment(name: &str) -> ChildKey {
    ChildKey {
        kind: ChildKind::Deployment,
        name: name.to_owned(),
    }
}

fn with_pins(cluster: &ValidCluster, pins: Pins) -> ValidCluster {
    ValidCluster {
        pins,
        ..cluster.clone()
    }
}
