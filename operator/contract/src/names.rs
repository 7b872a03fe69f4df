//! Names of the objects of a cluster. Tools and tests rely on them, so a change breaks an upgrade.

/// Server-side-apply field manager of the children.
pub const FIELD_MANAGER: &str = "wsc-operator";
/// Server-side-apply field manager of the status.
pub const STATUS_FIELD_MANAGER: &str = "wsc-operator/status";

/// `chat-17`: the server pod with this serial.
pub fn server_pod(cluster: &str, serial: i64) -> String {
    format!("{cluster}-{serial}")
}

/// The largest serial that is read: those above it are never used up.
pub const LAST_SERIAL: i64 = i64::MAX / 2;

/// The serial of a server pod's name; `None` for a pod of another cluster, and for a number that
/// leaves no room for later pods.
pub fn serial_of(cluster: &str, pod: &str) -> Option<i64> {
    let digits = pod.strip_prefix(cluster)?.strip_prefix('-')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|serial| *serial <= LAST_SERIAL)
}

/// The Service that clients connect to.
pub fn client_service(cluster: &str) -> String {
    cluster.to_owned()
}

/// The HAProxy Deployment, its `ServiceAccount`, Role and `RoleBinding`.
pub fn proxy(cluster: &str) -> String {
    format!("{cluster}-proxy")
}

/// The `ConfigMap` with HAProxy's configuration.
pub fn haproxy_config(cluster: &str) -> String {
    format!("{cluster}-haproxy")
}

/// The managed Redis Deployment and Service.
pub fn redis(cluster: &str) -> String {
    format!("{cluster}-redis")
}

/// Prefix of every Redis channel of a cluster.
pub fn redis_prefix(namespace: &str, cluster: &str) -> String {
    format!("wsc:{namespace}:{cluster}:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_belongs_to_one_cluster() {
        assert_eq!(serial_of("chat", &server_pod("chat", 17)), Some(17));
        assert_eq!(
            serial_of("chat", "chat-1-17"),
            None,
            "a pod of the cluster chat-1"
        );
        for other in [
            "chat-",
            "chat-+1",
            "other-1",
            "chat",
            "chat-9223372036854775807",
            "chat-99999999999999999999",
        ] {
            assert_eq!(serial_of("chat", other), None, "{other}");
        }
    }

    #[test]
    fn names_are_those_of_0_1_0() {
        let names = [
            client_service("chat"),
            proxy("chat"),
            haproxy_config("chat"),
            redis("chat"),
        ];
        assert_eq!(names, ["chat", "chat-proxy", "chat-haproxy", "chat-redis"]);
        assert_eq!(redis_prefix("ns", "chat"), "wsc:ns:chat:");
    }
}
