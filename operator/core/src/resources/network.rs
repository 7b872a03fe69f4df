//! Who may connect to the pods of a cluster. Ingress only: rules about egress would cut users' own
//! databases off.
//!
//! The node of a pod always reaches it, so the kubelet's probes need no rule.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wsc_contract::labels::{self, Component};
use wsc_contract::{names, ports};

use super::metadata::{object_meta, selector, stamp};
use crate::validate::ValidCluster;

/// Clients come through this cluster's proxies, to the port of the spec and to those of older pods;
/// the control port is the operator's alone.
pub(super) fn server(cluster: &ValidCluster, in_use: &BTreeSet<u16>) -> NetworkPolicy {
    let mut clients = in_use.clone();
    clients.insert(cluster.server.port);
    policy(
        cluster,
        Component::Server,
        cluster.name.clone(),
        vec![
            allow(Some(pods(cluster, Component::Proxy)), clients),
            allow(Some(operator(cluster)), [ports::CONTROL.number]),
        ],
    )
}

/// Clients come from everywhere; the agent's port is the operator's alone.
pub(super) fn proxy(cluster: &ValidCluster) -> NetworkPolicy {
    policy(
        cluster,
        Component::Proxy,
        names::proxy(&cluster.name),
        vec![
            allow(None, [ports::PROXY.number]),
            allow(Some(operator(cluster)), [ports::AGENT.number]),
        ],
    )
}

pub(super) fn redis(cluster: &ValidCluster) -> NetworkPolicy {
    policy(
        cluster,
        Component::Redis,
        names::redis(&cluster.name),
        vec![allow(
            Some(pods(cluster, Component::Server)),
            [ports::REDIS.number],
        )],
    )
}

fn policy(
    cluster: &ValidCluster,
    component: Component,
    name: String,
    ingress: Vec<NetworkPolicyIngressRule>,
) -> NetworkPolicy {
    stamp(NetworkPolicy {
        metadata: object_meta(cluster, component, name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(cluster, component)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            ..Default::default()
        }),
    })
}

fn allow(
    from: Option<NetworkPolicyPeer>,
    numbers: impl IntoIterator<Item = u16>,
) -> NetworkPolicyIngressRule {
    let port = |number| NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    };
    NetworkPolicyIngressRule {
        from: from.map(|peer| vec![peer]),
        ports: Some(numbers.into_iter().map(port).collect()),
    }
}

/// Pods of one component of this cluster, in this namespace.
fn pods(cluster: &ValidCluster, component: Component) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(selector(cluster, component)),
        ..Default::default()
    }
}

/// The operator's pods: the label that the chart gives them, in the operator's namespace.
fn operator(cluster: &ValidCluster) -> NetworkPolicyPeer {
    let labels = |key: &str, value: &str| {
        Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
            ..Default::default()
        })
    };
    NetworkPolicyPeer {
        namespace_selector: labels("kubernetes.io/metadata.name", &cluster.operator_namespace),
        pod_selector: labels(labels::COMPONENT, "operator"),
        ..Default::default()
    }
}
