//! An API server: resource versions, preconditions, and events for watches. It keeps the pods as
//! the views that the shell would make.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use wsc_api::v1alpha1::WebSocketClusterStatus;
use wsc_contract::{labels, names};
use wsc_haproxy::{BackendSet, Settings};

use super::server::Made;
use super::settings::at;
use crate::common::CommonMetadata;
use crate::live::LiveChild;
use crate::observed::{ChildKey, ChildView, PodPhase, PodState, PodView};
use crate::plan::{Child, PodDelete, PodMark, PodMetadata};
use crate::resources;

/// A pod right after its creation.
fn new_pod(name: &str, serial: i64) -> PodView {
    PodView {
        name: name.to_owned(),
        serial,
        state: PodState::Starting,
        phase: PodPhase::Pending,
        ready: false,
        ready_since: None,
        scheduled: false,
        ip: None,
        ..crate::testing::pod(serial)
    }
}

/// Why a write was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Conflict,
    NotFound,
    Exists,
}

/// The resource's status with its version, as a watch or an answer shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resource {
    pub(super) version: u64,
    pub(super) status: WebSocketClusterStatus,
}

/// What a watch tells.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Pod(Box<PodView>),
    Gone(String),
    Resource(Box<Resource>),
}

#[derive(Debug, Default)]
pub(super) struct Api {
    version: u64,
    pub(super) pods: BTreeMap<String, PodView>,
    pub(super) children: BTreeMap<ChildKey, ChildView>,
    /// The server set, and the hash of the settings.
    pub(super) published: Option<(BackendSet, String)>,
    pub(super) resource: Resource,
    /// Not delivered yet.
    pub(super) events: Vec<Event>,
    /// What servers are started with, by pod uid.
    pub(super) made: BTreeMap<String, Made>,
    /// Every name that a server pod ever had.
    names_used: Vec<String>,
}

impl Api {
    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Changes a pod that is there, as kubelets, people and the operator do.
    pub(super) fn touch(&mut self, name: &str, change: impl FnOnce(&mut PodView)) {
        let version = self.next_version();
        let pod = self.pods.get_mut(name).unwrap();
        change(pod);
        pod.resource_version = version.to_string();
        self.events.push(Event::Pod(Box::new(pod.clone())));
    }

    pub(super) fn gone(&mut self, name: &str) {
        self.pods.remove(name);
        self.events.push(Event::Gone(name.to_owned()));
    }

    pub(super) fn create(&mut self, cluster: &str, pod: &Pod, clock: i64) -> Result<(), Refusal> {
        let name = pod.metadata.name.clone().unwrap();
        if self.pods.contains_key(&name) {
            return Err(Refusal::Exists);
        }
        assert!(
            !self.names_used.contains(&name),
            "the name {name} is used again: sticky cookies and samples would be mixed up"
        );
        self.names_used.push(name.clone());
        let version = self.next_version();
        let serial = names::serial_of(cluster, &name).unwrap();
        let labels = pod.metadata.labels.as_ref().unwrap();
        let view = PodView {
            uid: format!("uid-{version}"),
            resource_version: version.to_string(),
            template_hash: labels[labels::TEMPLATE_HASH].clone(),
            created: at(clock),
            common: CommonMetadata::of(&pod.metadata),
            listener: resources::listener(pod),
            image: resources::image(pod).map(str::to_owned),
            ..new_pod(&name, serial)
        };
        self.events.push(Event::Pod(Box::new(view.clone())));
        self.made.insert(view.uid.clone(), Made::of(pod));
        self.pods.insert(name, view);
        Ok(())
    }

    fn checked(&self, name: &str, uid: &str, resource_version: &str) -> Result<(), Refusal> {
        let pod = self.pods.get(name).ok_or(Refusal::NotFound)?;
        if pod.uid != uid || pod.resource_version != resource_version {
            return Err(Refusal::Conflict);
        }
        Ok(())
    }

    pub(super) fn mark(&mut self, mark: &PodMark) -> Result<(), Refusal> {
        self.checked(&mark.name, &mark.uid, &mark.resource_version)?;
        self.touch(&mark.name, |pod| {
            (pod.state, pod.drain) = (mark.state, mark.drain);
        });
        Ok(())
    }

    pub(super) fn update(&mut self, update: &PodMetadata) -> Result<(), Refusal> {
        self.checked(&update.name, &update.uid, &update.resource_version)?;
        self.touch(&update.name, |pod| pod.common.clone_from(&update.common));
        Ok(())
    }

    pub(super) fn delete(&mut self, delete: &PodDelete) -> Result<(), Refusal> {
        self.checked(&delete.name, &delete.uid, &delete.resource_version)?;
        self.touch(&delete.name, |pod| pod.terminating = true);
        Ok(())
    }

    pub(super) fn apply(&mut self, child: &Child) {
        let version = self.next_version();
        let annotations = child.metadata().annotations.as_ref().unwrap();
        let view = ChildView {
            uid: format!("child-{version}"),
            applied_hash: annotations.get(labels::APPLIED_HASH).cloned(),
            object: Arc::new(LiveChild::new(&crate::testing::live(child))),
            terminating: false,
        };
        if let Child::ConfigMap(map) = child {
            let data = map.data.as_ref().unwrap();
            let settings = Settings::from_json(&data["settings.json"]).unwrap();
            let set = BackendSet::from_json(&data["backends.json"]).unwrap();
            self.published = Some((set, settings.hash().to_owned()));
        }
        self.children.insert(child.key(), view);
    }

    /// A write of the status that carries the version which it was made from.
    pub(super) fn put_status(
        &mut self,
        from: u64,
        status: &WebSocketClusterStatus,
    ) -> Result<Resource, Refusal> {
        if from != self.resource.version {
            return Err(Refusal::Conflict);
        }
        if *status != self.resource.status {
            self.resource = Resource {
                version: self.next_version(),
                status: status.clone(),
            };
            self.events.push(Event::Resource(Box::new(self.resource.clone())));
        }
        Ok(self.resource.clone())
    }

    /// Pods that have not ended and are not being deleted.
    pub(super) fn living(&self) -> impl Iterator<Item = &PodView> {
        self.pods
            .values()
            .filter(|pod| !pod.terminating && pod.phase != PodPhase::Failed)
    }
}
