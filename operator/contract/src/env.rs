//! Environment variables of the three programs. Each is a flag too; the flag wins.

/// Every variable that configures a server starts with this, so `spec.server.env` may not.
pub const PREFIX: &str = "WSC_";

/// Variables of `wsc-server`.
pub mod server {
    use crate::described::described;

    described! {
        /// Every variable of `wsc-server`.
        ALL:
        POD_NAME = "POD_NAME", "name of the pod; a handshake or check whose `X-Wsc-Server` differs is answered 503, and `WSC_BROKER` is required";
        PORT = "WSC_PORT", "port for clients, bound on `[::]`, or on `0.0.0.0` where there is no IPv6";
        CONTROL_PORT = "WSC_CONTROL_PORT", "port for health, metrics and the operator, bound like the port for clients";
        PATH = "WSC_PATH", "client path: `{path}` is room `main`, `{path}/{room}` any other room";
        MAX_CONNECTIONS = "WSC_MAX_CONNECTIONS", "capacity in connections; lowered to the open-file limit less 256";
        SHARDS = "WSC_SHARDS", "threads that serve clients";
        BROKER = "WSC_BROKER", "message broker: `redis` between pods, `memory` within one process";
        REDIS_URL = "WSC_REDIS_URL", "`redis://` or `rediss://` URL; may hold user, password and database";
        REDIS_USERNAME = "WSC_REDIS_USERNAME", "Redis user; overrides the user of the URL";
        REDIS_PASSWORD = "WSC_REDIS_PASSWORD", "Redis password; overrides the password of the URL";
        REDIS_PREFIX = "WSC_REDIS_PREFIX", "prefix of every Redis channel; servers with different prefixes share no messages";
        ORIGINS = "WSC_ORIGINS", "comma-separated allow-list of web origins; empty allows only the host of the request";
        TRUST_PROXY = "WSC_TRUST_PROXY", "`true`: the client's address is the last entry of `X-Forwarded-For`";
        MAX_SHEDS_PER_SECOND = "WSC_MAX_SHEDS_PER_SECOND", "upper bound of every rate in `PUT /shed`, in closes per second";
        DRAIN_SECONDS = "WSC_DRAIN_SECONDS", "after SIGTERM all connections are closed evenly over this time";
        CLOSE_CODE = "WSC_CLOSE_CODE", "close code sent to clients that must reconnect";
        CLOSE_JITTER_SECONDS = "WSC_CLOSE_JITTER_SECONDS", "upper end of the random reconnect delay in the close reason";
        MAX_MESSAGE_BYTES = "WSC_MAX_MESSAGE_BYTES", "largest message over all its fragments";
        OUTBOUND_QUEUE_BYTES = "WSC_OUTBOUND_QUEUE_BYTES", "bound of the outbound queue of one client";
        OUTBOUND_TOTAL_BYTES = "WSC_OUTBOUND_TOTAL_BYTES", "bound of all outbound queues together";
        MEMORY_LIMIT_BYTES = "WSC_MEMORY_LIMIT_BYTES", "memory limit; new handshakes are rejected above 85 % of it";
        HEARTBEAT_SECONDS = "WSC_HEARTBEAT_SECONDS", "silence before a client is pinged";
        LOG_FORMAT = "WSC_LOG_FORMAT", "log format: `json` or `text`";
    }
}

/// Variables of `wsc-proxy-agent`.
pub mod agent {
    use crate::described::described;

    described! {
        /// Every variable of `wsc-proxy-agent`.
        ALL:
        POD_NAME = "POD_NAME", "name of the pod; HAProxy sends it as `X-Wsc-Via`";
        POD_NAMESPACE = "POD_NAMESPACE", "namespace of the ConfigMap";
        CLUSTER = "WSC_CLUSTER", "name of the WebSocketCluster; its ConfigMap is `{name}-haproxy`";
        CONFIG_FOLDER = "WSC_CONFIG_FOLDER", "mount path of the ConfigMap";
        RUN_FOLDER = "WSC_RUN_FOLDER", "directory shared with HAProxy: its configuration and its sockets";
        HAPROXY = "WSC_HAPROXY", "HAProxy binary that checks a configuration before it is used";
        SOURCE = "WSC_SOURCE", "source of changes: `configmap` (watch) or `file` (mounted files only)";
        AGENT_PORT = "WSC_AGENT_PORT", "port of `/status`, `/readyz`, `/livez` and `/metrics`";
        RECHECK_MS = "WSC_RECHECK_MS", "interval between two comparisons with HAProxy without a change, in milliseconds";
        RELOAD_INTERVAL_MS = "WSC_RELOAD_INTERVAL_MS", "minimum time between two reloads, in milliseconds";
        LOG_FORMAT = "WSC_LOG_FORMAT", "log format: `json` or `text`";
    }
}

/// Variables of `wsc-operator`.
pub mod operator {
    use crate::described::described;

    described! {
        /// Every variable of `wsc-operator`.
        ALL:
        SERVER_IMAGE = "WSC_SERVER_IMAGE", "image of the server pods, unless the resource names one";
        PROXY_IMAGE = "WSC_PROXY_IMAGE", "image with HAProxy and its agent";
        REDIS_IMAGE = "WSC_REDIS_IMAGE", "image of the managed Redis";
        WATCH_NAMESPACES = "WSC_WATCH_NAMESPACES", "comma-separated namespaces to watch; empty watches all";
        ADMIN_ADDRESS = "WSC_ADMIN_ADDRESS", "address of `/livez`, `/readyz` and `/metrics`";
        POD_NAMESPACE = "POD_NAMESPACE", "namespace of the operator; only its pods may connect to the control ports";
        POD_NAME = "POD_NAME", "name of the operator's pod, the reporting instance of its events";
        LOG_FORMAT = "WSC_LOG_FORMAT", "log format: `json` or `text`";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn variables_are_unique_and_prefixed() {
        for table in [server::ALL, agent::ALL, operator::ALL] {
            let names: BTreeSet<&str> = table.iter().map(|variable| variable.name).collect();
            assert_eq!(names.len(), table.len(), "a variable is listed twice");
            for name in names {
                assert!(name.starts_with(PREFIX) || name.starts_with("POD_"), "{name}");
            }
        }
    }
}
