//! What the operator makes of a resource, as the API server receives it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use wsc_api::v1alpha1::{WebSocketCluster, WebSocketClusterStatus};
use wsc_contract::{labels, names};
use wsc_core::common::CommonMetadata;
use wsc_core::decide;
use wsc_core::memory::Memory;
use wsc_core::observed::{Drain, DrainReason, Observed, PodPhase, PodState, PodView};
use wsc_core::plan::{Child, Plan};
use wsc_core::resources;
use wsc_core::validate::{Images, ValidCluster, validate};

use super::folder::{Folder, yaml};

/// Written where the operator draws a random password.
const PASSWORD: &str = "0123456789abcdef";

/// All objects of one cluster.
pub(crate) struct Rendered {
    /// In the order in which they are applied.
    pub(crate) children: Vec<Value>,
    /// A new server pod.
    pub(crate) pod: Value,
    /// What identifies a server pod that drains.
    pub(super) draining: Value,
    pub(super) secret: Option<Value>,
    pub(super) status: WebSocketClusterStatus,
}

impl Rendered {
    pub(super) fn write(&self, folder: &Folder, name: &str, resource: &WebSocketCluster) -> Result<()> {
        let mut resource = resource.clone();
        resource.status = Some(self.status.clone());
        folder.write(&format!("clusters/{name}/resource.yaml"), &yaml(&[resource])?)?;
        folder.write(&format!("clusters/{name}/children.yaml"), &yaml(&self.children)?)?;
        folder.write(&format!("clusters/{name}/pod.yaml"), &yaml(&[&self.pod])?)?;
        folder.write(
            &format!("clusters/{name}/draining.yaml"),
            &yaml(&[&self.draining])?,
        )?;
        if let Some(secret) = &self.secret {
            folder.write(&format!("clusters/{name}/secret.yaml"), &yaml(&[secret])?)?;
        }
        Ok(())
    }
}

/// The pool as it serves: as many ready pods as the first plan wants, and one more that drains.
pub(crate) fn render(resource: &WebSocketCluster, version: &str) -> Result<Rendered> {
    let cluster = validate(resource, &images(version)).context("the example is not valid")?;
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().context("a time")?;
    let mut observed = Observed {
        generation: 1,
        watches_fresh: true,
        proxy_ready: Some(2),
        redis_ready: Some(1),
        ..Observed::default()
    };
    let first = decide(&cluster, &observed, &Memory::default(), now);
    let wanted = i64::from(first.status.desired_replicas);
    let new = first_pod(&first)?;
    for serial in 0..wanted {
        let pod = view(&cluster, &new, serial, PodState::Active, now);
        observed.pods.insert(pod.name.clone(), pod.into());
    }
    observed.status.next_serial = wanted;
    let next = Observed {
        pods: BTreeMap::new(),
        ..observed.clone()
    };
    let mut draining = first_pod(&decide(&cluster, &next, &Memory::default(), now))?;
    let leaving = view(&cluster, &draining, wanted, PodState::Shedding, now);
    mark(&mut draining, &leaving);
    draining.spec = None;
    observed.pods.insert(leaving.name.clone(), leaving.into());
    observed.status = WebSocketClusterStatus {
        next_serial: wanted + 1,
        ..first.status
    };
    let serving = decide(&cluster, &observed, &first.memory, now);
    let children = serving.apply.iter().map(child).collect::<Result<_>>()?;
    let secret = first.create_redis_secret;
    let secret = secret.map(|_| value(&resources::redis_secret(&cluster, PASSWORD)));
    Ok(Rendered {
        children,
        pod: value(&new)?,
        draining: value(&draining)?,
        secret: secret.transpose()?,
        status: serving.status,
    })
}

fn first_pod(plan: &Plan) -> Result<Pod> {
    plan.create_pods
        .first()
        .cloned()
        .context("the plan creates no pod")
}

fn images(version: &str) -> Images {
    let image = |name: &str| format!("ghcr.io/websocket-operator/{name}:{version}");
    Images {
        server: image("wsc-server"),
        proxy: image("wsc-proxy"),
        redis: image("wsc-redis"),
        operator_namespace: "websocket-operator".to_owned(),
    }
}

fn view(cluster: &ValidCluster, pod: &Pod, serial: i64, state: PodState, now: Timestamp) -> PodView {
    let labels = pod.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get(labels::TEMPLATE_HASH));
    let created = now - SignedDuration::from_hours(1);
    let host = u8::try_from(1 + serial % 250).unwrap_or_default();
    PodView {
        name: names::server_pod(&cluster.name, serial),
        uid: format!("00000000-0000-4000-8000-{serial:012}"),
        resource_version: "1".to_owned(),
        serial,
        template_hash: hash.cloned().unwrap_or_default(),
        state,
        drain: (state != PodState::Active).then(|| Drain {
            reason: DrainReason::ScaleDown,
            since: now,
            deadline: now + SignedDuration::from_mins(10),
        }),
        common: CommonMetadata::of(&pod.metadata),
        protected: false,
        phase: PodPhase::Running,
        ready: true,
        ready_since: Some(created),
        created,
        terminating: false,
        ip: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host))),
        listener: resources::listener(pod),
        image: resources::image(pod).map(str::to_owned),
        node: None,
        node_ready: true,
        zone: None,
        scheduled: true,
        waiting_reason: None,
        restarts: 0,
        last_exit: None,
    }
}

/// The pod with the label and the annotations that the operator writes on it while it drains.
fn mark(pod: &mut Pod, view: &PodView) {
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(labels::STATE.to_owned(), view.state.as_str().to_owned());
    if let Some(drain) = view.drain {
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.extend([
            (labels::DRAIN_REASON.to_owned(), drain.reason.as_str().to_owned()),
            (labels::DRAIN_SINCE.to_owned(), drain.since.to_string()),
            (labels::DRAIN_DEADLINE.to_owned(), drain.deadline.to_string()),
        ]);
    }
}

fn child(child: &Child) -> Result<Value> {
    match child {
        Child::ServiceAccount(object) => value(object),
        Child::Role(object) => value(object),
        Child::RoleBinding(object) => value(object),
        Child::NetworkPolicy(object) => value(object),
        Child::ConfigMap(object) => value(object),
        Child::Service(object) => value(object),
        Child::Deployment(object) => value(object),
    }
}

fn value<T: Serialize>(object: &T) -> Result<Value> {
    serde_json::to_value(object).context("an object as JSON")
}
