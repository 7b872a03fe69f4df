//! Files that operator, agent and HAProxy share.

use crate::described::described;

/// Mount path of the `ConfigMap` in every container of the proxy pod.
pub const CONFIG_FOLDER: &str = "/etc/wsc-haproxy";
/// Directory that the agent and HAProxy share.
pub const RUN_FOLDER: &str = "/run/haproxy";

described! {
    /// Keys of the proxy's `ConfigMap`.
    CONFIG_MAP:
    CONFIGURATION = "haproxy.cfg", "the complete HAProxy configuration, with the current servers";
    BACKENDS = "backends.json", "the server set";
    SETTINGS = "settings.json", "settings that HAProxy applies at run time";
}

described! {
    /// Files in the shared directory, besides the configuration.
    SHARED:
    RUNTIME_SOCKET = "haproxy.sock", "runtime socket of the current HAProxy worker";
    MASTER_SOCKET = "master.sock", "socket of the HAProxy master process";
    SERVER_STATE = "servers.state", "server states that a new worker starts with after a reload";
    PATHS = "paths.map", "HAProxy map of the settings: regular expression of the client path, server path";
    ORIGINS = "origins.acl", "HAProxy ACL of the settings: regular expressions of the allowed origins, or `SAME-HOST`";
}
