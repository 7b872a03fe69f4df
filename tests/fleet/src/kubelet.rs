//! Simulates the scheduler and the kubelets: pods are bound, get an address, become Ready, and are
//! removed after their deletion.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::StreamExt;
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::json;
use wsc_contract::labels::{self, Component};
use wsc_testing::stand_in::{Process, pod_status};

use crate::api::send;
use crate::fleet;
use crate::nodes::Nodes;
use crate::pods::Pods;

/// Pods that are started or removed at the same time.
const PARALLEL: usize = 32;

#[derive(Clone)]
pub(crate) struct Kubelet {
    pub(crate) client: Client,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) pods: Arc<Pods>,
}

impl Kubelet {
    /// Pods of clusters run from now on.
    pub(crate) fn start(self) {
        tokio::spawn(async move {
            let pods: Api<Pod> = Api::all(self.client.clone());
            let events = watcher(pods, watcher::Config::default().labels(labels::CLUSTER)).default_backoff();
            events
                .filter_map(async |event| event.ok())
                .for_each_concurrent(PARALLEL, |event| {
                    let kubelet = self.clone();
                    async move {
                        // The object changes again, or the measure times out and names what is not
                        // Ready.
                        let _ = kubelet.handle(event).await;
                    }
                })
                .await;
        });
    }

    async fn handle(&self, event: watcher::Event<Pod>) -> Result<()> {
        match event {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                if pod.metadata.deletion_timestamp.is_some() {
                    self.remove(&pod).await
                } else {
                    self.run(&pod).await
                }
            }
            watcher::Event::Delete(pod) => {
                self.pods.remove(pod.metadata.uid.as_deref().unwrap_or_default());
                Ok(())
            }
            watcher::Event::Init | watcher::Event::InitDone => Ok(()),
        }
    }

    async fn run(&self, pod: &Pod) -> Result<()> {
        let name = pod.metadata.name.as_deref().context("a pod without a name")?;
        let uid = pod.metadata.uid.as_deref().context("a pod without a uid")?;
        let namespace = pod.metadata.namespace.as_deref().context("no namespace")?;
        let label = |key| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        let cluster = label(labels::CLUSTER).context("no cluster")?;
        let of_pod = label(labels::COMPONENT).context("no component")?;
        let component = [Component::Server, Component::Proxy, Component::Redis]
            .into_iter()
            .find(|component| component.as_str() == of_pod)
            .context("an unknown component")?;
        let key = (namespace.to_owned(), cluster.clone());
        let Some(address) = self.pods.add(uid, name, key, component) else {
            return Ok(());
        };
        let node = self.nodes.schedule(Nodes::zone_of(fleet::number(cluster)));
        let started = self.start_on(&node, pod, (namespace, name), address).await;
        if started.is_err() {
            self.pods.remove(uid);
        }
        started
    }

    async fn start_on(
        &self,
        node: &str,
        pod: &Pod,
        (namespace, name): (&str, &str),
        address: IpAddr,
    ) -> Result<()> {
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": node});
        let binding = json!({"metadata": {"name": name}, "target": target});
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        send(&self.client, Method::POST, &format!("{path}/binding"), &binding).await?;
        let status = json!({"status": pod_status(pod, address, Process::first())});
        send(&self.client, Method::PATCH, &format!("{path}/status"), &status).await
    }

    async fn remove(&self, pod: &Pod) -> Result<()> {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        if node.is_some_and(|node| !self.nodes.works(node)) {
            return Ok(());
        }
        let (name, namespace) = (&pod.metadata.name, &pod.metadata.namespace);
        let (name, namespace) = (name.as_deref().context("no name")?, namespace.as_deref());
        let path = format!("/api/v1/namespaces/{}/pods/{name}", namespace.unwrap_or_default());
        let now = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": pod.metadata.uid}});
        send(&self.client, Method::DELETE, &path, &now).await
    }
}
