//! Every object that a cluster consists of, typed and pure: the validated spec goes in, objects
//! come out.

mod metadata;
mod network;
mod pod;
mod proxy;
mod redis;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use wsc_api::v1alpha1::ServiceType;
use wsc_contract::names;

use crate::observed::{ChildKey, ChildKind};
use crate::plan::Child;
use crate::validate::{RedisTarget, ValidCluster};

pub(crate) use metadata::plain_meta;
pub(crate) use proxy::config_map;
pub use redis::redis_secret;
pub(crate) use redis::redis_secret_name;
pub use server::{CONTAINER, image, listener, template_hash};
pub(crate) use server::{server_pod, server_pod_spec, template_meta};

/// All children besides server pods and the `ConfigMap`, stamped, in the order in which they are
/// applied. `ports`: where the server pods that are there accept clients; new ones do so at the
/// port of the spec.
pub(crate) fn children(cluster: &ValidCluster, ports: &BTreeSet<u16>) -> Vec<Child> {
    let managed_redis = match &cluster.redis {
        RedisTarget::Managed(settings) => Some(settings),
        RedisTarget::Url(_) | RedisTarget::SecretRef(_) => None,
    };
    let mut children = vec![
        Child::ServiceAccount(Box::new(proxy::service_account(cluster))),
        Child::Role(Box::new(proxy::role(cluster))),
        Child::RoleBinding(Box::new(proxy::role_binding(cluster))),
        Child::NetworkPolicy(Box::new(network::server(cluster, ports))),
        Child::NetworkPolicy(Box::new(network::proxy(cluster))),
    ];
    if managed_redis.is_some() {
        children.push(Child::NetworkPolicy(Box::new(network::redis(cluster))));
    }
    children.push(Child::Service(Box::new(proxy::service(cluster))));
    if managed_redis.is_some() {
        children.push(Child::Service(Box::new(redis::service(cluster))));
    }
    if let Some(settings) = managed_redis {
        children.push(Child::Deployment(Box::new(redis::deployment(cluster, settings))));
    }
    children.push(Child::Deployment(Box::new(proxy::deployment(cluster))));
    children
}

/// Whether a child of the cluster has this kind and name.
pub fn is_child(cluster: &ValidCluster, key: &ChildKey) -> bool {
    let config_map = key.kind == ChildKind::ConfigMap && key.name == names::haproxy_config(&cluster.name);
    let none = BTreeSet::new();
    config_map || children(cluster, &none).iter().any(|child| child.key() == *key)
}

/// Where clients connect, as they write it: the load balancer's address once there is one, the
/// Service's name within the cluster otherwise.
pub(crate) fn endpoint(cluster: &ValidCluster, load_balancer: Option<&str>) -> String {
    let inside = format!(
        "{}.{}.svc",
        names::client_service(&cluster.name),
        cluster.namespace
    );
    let host = match load_balancer.filter(|_| cluster.proxy.service.type_ == ServiceType::LoadBalancer) {
        Some(address) if address.contains(':') => format!("[{address}]"),
        Some(address) => address.to_owned(),
        None => inside,
    };
    format!(
        "ws://{host}:{}{}",
        cluster.proxy.service.port, cluster.server.path
    )
}
