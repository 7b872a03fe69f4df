//! Environment variables of the three programs. Each is a flag too, whose help is the meaning.

/// Every variable that configures a server starts with this, so `spec.server.env` may not.
pub const PREFIX: &str = "WSC_";

/// Constants and a table of all of them.
macro_rules! variables {
    ($(#[$doc:meta])* $table:ident: $($constant:ident = $name:literal;)+) => {
        $(pub const $constant: &str = $name;)+
        $(#[$doc])*
        pub const $table: &[&str] = &[$($constant),+];
    };
}

/// Variables of `wsc-server`.
pub mod server {
    variables! {
        /// Every variable of `wsc-server`.
        ALL:
        POD_NAME = "POD_NAME";
        PORT = "WSC_PORT";
        CONTROL_PORT = "WSC_CONTROL_PORT";
        PATH = "WSC_PATH";
        MAX_CONNECTIONS = "WSC_MAX_CONNECTIONS";
        SHARDS = "WSC_SHARDS";
        BROKER = "WSC_BROKER";
        REDIS_URL = "WSC_REDIS_URL";
        REDIS_USERNAME = "WSC_REDIS_USERNAME";
        REDIS_PASSWORD = "WSC_REDIS_PASSWORD";
        REDIS_PREFIX = "WSC_REDIS_PREFIX";
        ORIGINS = "WSC_ORIGINS";
        TRUST_PROXY = "WSC_TRUST_PROXY";
        MAX_SHEDS_PER_SECOND = "WSC_MAX_SHEDS_PER_SECOND";
        DRAIN_SECONDS = "WSC_DRAIN_SECONDS";
        CLOSE_CODE = "WSC_CLOSE_CODE";
        CLOSE_JITTER_SECONDS = "WSC_CLOSE_JITTER_SECONDS";
        MAX_MESSAGE_BYTES = "WSC_MAX_MESSAGE_BYTES";
        OUTBOUND_QUEUE_BYTES = "WSC_OUTBOUND_QUEUE_BYTES";
        OUTBOUND_TOTAL_BYTES = "WSC_OUTBOUND_TOTAL_BYTES";
        MEMORY_LIMIT_BYTES = "WSC_MEMORY_LIMIT_BYTES";
        HEARTBEAT_SECONDS = "WSC_HEARTBEAT_SECONDS";
        LOG_FORMAT = "WSC_LOG_FORMAT";
    }

    /// Variables of release 0.1.0 that have another name now.
    pub const RENAMED: [(&str, &str); 3] = [
        ("WSC_BUS", BROKER),
        ("WSC_OUTBOX_BYTES", OUTBOUND_QUEUE_BYTES),
        ("WSC_OUTBOXES_BYTES", OUTBOUND_TOTAL_BYTES),
    ];
}

/// Variables of `wsc-proxy-agent`.
pub mod agent {
    variables! {
        /// Every variable of `wsc-proxy-agent`.
        ALL:
        POD_NAME = "POD_NAME";
        POD_NAMESPACE = "POD_NAMESPACE";
        CLUSTER = "WSC_CLUSTER";
        CONFIG_FOLDER = "WSC_CONFIG_FOLDER";
        RUN_FOLDER = "WSC_RUN_FOLDER";
        HAPROXY = "WSC_HAPROXY";
        SOURCE = "WSC_SOURCE";
        AGENT_PORT = "WSC_AGENT_PORT";
        RECHECK_MS = "WSC_RECHECK_MS";
        RELOAD_INTERVAL_MS = "WSC_RELOAD_INTERVAL_MS";
        LOG_FORMAT = "WSC_LOG_FORMAT";
    }
}

/// Variables of `wsc-operator`.
pub mod operator {
    variables! {
        /// Every variable of `wsc-operator`.
        ALL:
        SERVER_IMAGE = "WSC_SERVER_IMAGE";
        PROXY_IMAGE = "WSC_PROXY_IMAGE";
        REDIS_IMAGE = "WSC_REDIS_IMAGE";
        WATCH_NAMESPACES = "WSC_WATCH_NAMESPACES";
        ADMIN_ADDRESS = "WSC_ADMIN_ADDRESS";
        POD_NAMESPACE = "POD_NAMESPACE";
        POD_NAME = "POD_NAME";
        LOG_FORMAT = "WSC_LOG_FORMAT";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn variables_are_unique_and_prefixed() {
        for table in [server::ALL, agent::ALL, operator::ALL] {
            let names: BTreeSet<&str> = table.iter().copied().collect();
            assert_eq!(names.len(), table.len(), "a variable is listed twice");
            for name in names {
                assert!(name.starts_with(PREFIX) || name.starts_with("POD_"), "{name}");
            }
        }
    }
}
