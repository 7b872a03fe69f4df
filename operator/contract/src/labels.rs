//! Labels and annotations on Kubernetes objects. One place, so that a selector and a label cannot
//! differ.

use crate::described::described;

/// The API group, and the prefix of every label and annotation of this project.
pub const GROUP: &str = "websocket-operator.io";

described! {
    /// Every label.
    LABELS:
    CLUSTER = "websocket-operator.io/cluster", "on every child: name of its WebSocketCluster";
    COMPONENT = "websocket-operator.io/component", "on every child: `server`, `proxy` or `redis`";
    STATE = "websocket-operator.io/state", "on server pods: drain state (`Starting`, `Active`, `Cordoned`, `Shedding`, `Removing`)";
    TEMPLATE_HASH = "websocket-operator.io/template-hash", "on server pods: hash of the template that the pod was created from";
    SERIAL = "websocket-operator.io/serial", "on server pods: serial number in the pod's name";
}

described! {
    /// Every annotation.
    ANNOTATIONS:
    DRAIN_REASON = "websocket-operator.io/drain-reason", "on server pods: reason of the drain (`ScaleDown`, `Rollout`)";
    DRAIN_SINCE = "websocket-operator.io/drain-since", "on server pods: start of the drain, RFC 3339";
    DRAIN_DEADLINE = "websocket-operator.io/drain-deadline", "on server pods: deadline of the drain, RFC 3339";
    PROTECT = "websocket-operator.io/protect", "set by a user on a server pod: excludes the pod from scale-downs and rollouts";
    RESTARTED_AT = "websocket-operator.io/restartedAt", "set by a user on the WebSocketCluster: a new value rolls the server pods";
    ADOPT = "websocket-operator.io/adopt", "`true`, set by a user on an object that has the name of a child and no controller: the operator takes it over";
    APPLIED_HASH = "websocket-operator.io/applied-hash", "on children: hash of the object as it was last applied";
    COMMON_METADATA = "websocket-operator.io/common-metadata", "on server pods: keys of `spec.labels` and `spec.annotations` that the pod has, as JSON";
    SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict", "on pods: whether Cluster Autoscaler may evict it; `false` on server and proxy pods unless `podAnnotations` or `spec.annotations` has it";
}

/// The kinds of pods of a cluster: the values of [`COMPONENT`].
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_carry_the_group() {
        for key in LABELS.iter().chain(ANNOTATIONS) {
            let (prefix, name) = key.name.split_once('/').unwrap();
            assert!(key.name == SAFE_TO_EVICT || prefix == GROUP, "{}", key.name);
            assert!(!name.is_empty() && name.len() <= 63, "{}", key.name);
        }
    }
}
