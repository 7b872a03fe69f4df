//! HTTP paths of the control port, the agent's port and the operator's admin port.

use crate::described::described;

/// Client paths below this belong to the server itself; a client path may not.
pub const RESERVED: &str = "/wsc";

described! {
    /// Every path.
    ALL:
    LIVEZ = "/livez", "every program: 200 while the process makes progress";
    READYZ = "/readyz", "every program: 200 once the process can do its work";
    METRICS = "/metrics", "every program: metrics in the OpenMetrics text format";
    STATS = "/stats", "server, control port: `GET` returns the statistics document";
    CORDON = "/cordon", "server, control port: `PUT` rejects new handshakes with 503, `DELETE` accepts them again; both return the statistics document";
    SHED = "/shed", "server, control port: `PUT` closes connections up to a cumulative total; returns the statistics document";
    LOAD_BALANCER = "/wsc/lb", "server, client port: health check of HAProxy: 200, or 404 while the server is full (until 97 % of its capacity), cordoned or terminating, or 503 when `X-Wsc-Server` names another pod";
    STATUS = "/status", "agent: `GET` returns the status document";
}
