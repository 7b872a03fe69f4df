//! The API server and the kubelets' writes: pods as the views that the controller makes of them,
//! children, and the published server set.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use wsc_contract::{files, labels, names};
use wsc_core::common::CommonMetadata;
use wsc_core::live::LiveChild;
use wsc_core::observed::{ChildKey, ChildView, PodPhase, PodState, PodView};
use wsc_core::plan::{Child, PodDelete, PodMark};
use wsc_core::resources;
use wsc_haproxy::{BackendSet, Settings};

/// Pods are spread over zones, with a node each.
const ZONES: i64 = 3;

#[derive(Debug, Default)]
pub(crate) struct Api {
    version: u64,
    pods: BTreeMap<String, PodView>,
    children: BTreeMap<ChildKey, ChildView>,
    /// The server set, and the hash of the settings.
    published: Option<(BackendSet, String)>,
    /// Something changed since the last look.
    changed: bool,
}

impl Api {
    pub(crate) fn pods(&self) -> &BTreeMap<String, PodView> {
        &self.pods
    }

    pub(crate) fn children(&self) -> &BTreeMap<ChildKey, ChildView> {
        &self.children
    }

    pub(crate) fn published(&self) -> Option<&(BackendSet, String)> {
        self.published.as_ref()
    }

    /// Names and serials of the pods.
    pub(crate) fn serials(&self) -> Vec<(String, i64)> {
        let pods = self.pods.values();
        pods.map(|pod| (pod.name.clone(), pod.serial)).collect()
    }

    pub(crate) fn is_terminating(&self, name: &str) -> bool {
        self.pods.get(name).is_some_and(|pod| pod.terminating)
    }

    /// Whether there are events of a watch.
    pub(crate) fn take_events(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn next_version(&mut self) -> String {
        self.changed = true;
        self.version += 1;
        self.version.to_string()
    }

    fn touch(&mut self, name: &str, change: impl FnOnce(&mut PodView)) {
        let version = self.next_version();
        if let Some(pod) = self.pods.get_mut(name) {
            change(pod);
            pod.resource_version = version;
        }
    }

    /// The pod has an address from its second second on, and is Ready when its process is.
    pub(crate) fn observe_kubelet(&mut self, name: &str, ready: bool, now: Timestamp) {
        let Some(pod) = self.pods.get(name) else {
            return;
        };
        if pod.ready == ready && pod.ip.is_some() {
            return;
        }
        self.touch(name, |pod| {
            let host = pod.serial.to_be_bytes();
            pod.ip = Some([10, host[5], host[6], host[7]].into());
            pod.phase = PodPhase::Running;
            pod.scheduled = true;
            pod.node = Some(format!("node-{}", pod.serial));
            pod.zone = Some(format!("zone-{}", pod.serial % ZONES));
            (pod.ready, pod.ready_since) = (ready, ready.then_some(now));
        });
    }

    pub(crate) fn gone(&mut self, name: &str) {
        self.changed = true;
        self.pods.remove(name);
    }

    pub(crate) fn create(&mut self, cluster: &str, pod: &Pod, now: Timestamp) -> Result<i64> {
        let name = pod.metadata.name.clone().context("a pod without a name")?;
        let serial = names::serial_of(cluster, &name).context("a pod without a serial")?;
        let labels = pod.metadata.labels.as_ref();
        let template_hash = labels.and_then(|labels| labels.get(labels::TEMPLATE_HASH));
        let version = self.next_version();
        let view = PodView {
            name: name.clone(),
            uid: format!("uid-{version}"),
            resource_version: version,
            serial,
            template_hash: template_hash.cloned().unwrap_or_default(),
            state: PodState::Starting,
            drain: None,
            common: CommonMetadata::of(&pod.metadata),
            protected: false,
            phase: PodPhase::Pending,
            ready: false,
            ready_since: None,
            created: now,
            terminating: false,
            ip: None,
            listener: resources::listener(pod),
            image: resources::image(pod).map(str::to_owned),
            node: None,
            node_ready: true,
            zone: None,
            scheduled: false,
            waiting_reason: None,
            restarts: 0,
            last_exit: None,
        };
        self.pods.insert(name, view);
        Ok(serial)
    }

    pub(crate) fn mark(&mut self, mark: &PodMark) {
        self.touch(&mark.name, |pod| {
            (pod.state, pod.drain) = (mark.state, mark.drain);
        });
    }

    pub(crate) fn delete(&mut self, delete: &PodDelete) {
        self.touch(&delete.name, |pod| pod.terminating = true);
    }

    pub(crate) fn apply(&mut self, child: &Child) -> Result<()> {
        if let Child::ConfigMap(map) = child {
            let data = map.data.as_ref().context("a ConfigMap without data")?;
            let file = |name: &str| data.get(name).with_context(|| format!("no {name} is published"));
            let set = BackendSet::from_json(file(files::BACKENDS)?)?;
            let settings = Settings::from_json(file(files::SETTINGS)?)?;
            self.published = Some((set, settings.hash().to_owned()));
        }
        let annotations = child.metadata().annotations.as_ref();
        let applied_hash = annotations.and_then(|annotations| annotations.get(labels::APPLIED_HASH));
        let view = ChildView {
            uid: format!("child-{}", self.next_version()),
            applied_hash: applied_hash.cloned(),
            object: Arc::new(LiveChild::new(&child.to_json())),
            terminating: false,
        };
        self.children.insert(child.key(), view);
        Ok(())
    }
}
