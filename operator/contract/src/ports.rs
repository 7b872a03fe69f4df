//! Ports of the pods.

/// A port of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    /// Name of the container port, which Services and probes refer to.
    pub name: &'static str,
    /// One sentence for the reference.
    pub meaning: &'static str,
}

/// Server: clients, by way of the proxy.
pub const SERVER: Port = Port {
    number: 8080,
    name: "ws",
    meaning: "server, clients; the default of `server.port`",
};
/// Server: health, metrics and the operator.
pub const CONTROL: Port = Port {
    number: 9090,
    name: "control",
    meaning: "server, control: `/stats`, `/shed`, `/cordon`, `/livez`, `/readyz`, `/metrics`",
};
/// Proxy: clients.
pub const PROXY: Port = Port {
    number: 8080,
    name: "ws",
    meaning: "proxy, clients",
};
/// Proxy: the agent's admin port.
pub const AGENT: Port = Port {
    number: 9101,
    name: "agent",
    meaning: "proxy, agent: `/status`, `/livez`, `/readyz`, `/metrics`",
};
/// Managed Redis.
pub const REDIS: Port = Port {
    number: 6379,
    name: "redis",
    meaning: "managed Redis",
};
/// Operator: health and metrics.
pub const OPERATOR: Port = Port {
    number: 8080,
    name: "admin",
    meaning: "operator, admin: `/livez`, `/readyz`, `/metrics`",
};

/// Every port.
pub const ALL: &[Port] = &[SERVER, CONTROL, PROXY, AGENT, REDIS, OPERATOR];
