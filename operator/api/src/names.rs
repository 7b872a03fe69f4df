//! Labels, annotations, child names and ports. One place, so that a selector and a label can never differ.

/// The API group, and the prefix of every label and annotation of ours.
pub const GROUP: &str = "websocket-operator.io";

/// Server-side-apply field manager of the children.
pub const FIELD_MANAGER: &str = "wsc-operator";
/// Server-side-apply field manager of the status.
pub const STATUS_FIELD_MANAGER: &str = "wsc-operator/status";

/// Label on every child: the name of its `WebSocketCluster`.
pub const CLUSTER_LABEL: &str = "websocket-operator.io/cluster";
/// Label on every child: `server`, `proxy` or `redis`.
pub const COMPONENT_LABEL: &str = "websocket-operator.io/component";
/// Label on server pods: the drain state (`Starting`, `Active`, `Cordoned`, `Shedding`, `Removing`).
pub const STATE_LABEL: &str = "websocket-operator.io/state";
/// Label on server pods: the hash of the template that made it.
pub const TEMPLATE_HASH_LABEL: &str = "websocket-operator.io/template-hash";
/// Label on server pods: the serial in the pod's name.
pub const SERIAL_LABEL: &str = "websocket-operator.io/serial";

/// Annotation on server pods: why the pod leaves (`ScaleDown`, `Rollout`).
pub const DRAIN_REASON_ANNOTATION: &str = "websocket-operator.io/drain-reason";
/// Annotation on server pods: when the drain began, RFC 3339.
pub const DRAIN_SINCE_ANNOTATION: &str = "websocket-operator.io/drain-since";
/// Annotation on server pods: when the drain's deadline is, RFC 3339.
pub const DRAIN_DEADLINE_ANNOTATION: &str = "websocket-operator.io/drain-deadline";
/// Annotation of a person on a server pod: never choose this pod as a victim.
pub const PROTECT_ANNOTATION: &str = "websocket-operator.io/protect";
/// Annotation on the resource, set by a person: a new value rolls the server pods.
pub const RESTARTED_AT_ANNOTATION: &str = "websocket-operator.io/restartedAt";
/// Annotation on children that are applied: the hash of what we last applied.
pub const APPLIED_HASH_ANNOTATION: &str = "websocket-operator.io/applied-hash";
/// Cluster Autoscaler may take our pods; draining them gently is our business.
pub const SAFE_TO_EVICT_ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// Port of the server's control contract, and its name on the pod.
pub const CONTROL_PORT: u16 = 9090;
/// Port of the proxy agent's admin API.
pub const AGENT_PORT: u16 = 9101;
/// Port that HAProxy listens on for clients.
pub const PROXY_PORT: u16 = 8080;
/// Port of the managed Redis.
pub const REDIS_PORT: u16 = 6379;

/// The three kinds of pods of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    Server,
    Proxy,
    Redis,
}

impl Component {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Proxy => "proxy",
            Self::Redis => "redis",
        }
    }
}

/// `chat-17`: the server pod with this serial.
pub fn server_pod(cluster: &str, serial: i64) -> String {
    format!("{cluster}-{serial}")
}

/// The serial of a server pod's name, if it is one of this cluster's.
pub fn serial_of(cluster: &str, pod: &str) -> Option<i64> {
    let digits = pod.strip_prefix(cluster)?.strip_prefix('-')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The Service that clients connect to.
pub fn client_service(cluster: &str) -> String {
    cluster.to_owned()
}

/// The HAProxy Deployment, its `ServiceAccount`, Role and `RoleBinding`.
pub fn proxy(cluster: &str) -> String {
    format!("{cluster}-proxy")
}

/// The `ConfigMap` that the operator publishes HAProxy's configuration in.
pub fn haproxy_config(cluster: &str) -> String {
    format!("{cluster}-haproxy")
}

/// The managed Redis Deployment and Service.
pub fn redis(cluster: &str) -> String {
    format!("{cluster}-redis")
}

/// Prefix of every Redis key and channel of a cluster.
pub fn redis_prefix(namespace: &str, cluster: &str) -> String {
    format!("wsc:{namespace}:{cluster}:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_comes_back_from_the_pod_name_of_its_own_cluster_only() {
        assert_eq!(serial_of("chat", &server_pod("chat", 17)), Some(17));
        assert_eq!(
            serial_of("chat", "chat-1-17"),
            None,
            "a pod of the cluster chat-1"
        );
        assert_eq!(serial_of("chat", "chat-"), None);
        assert_eq!(serial_of("chat", "chat-+1"), None);
        assert_eq!(serial_of("chat", "other-1"), None);
    }
}
