//! HTTP headers between proxy and server. HAProxy removes or overwrites them in every client's
//! request.

use crate::described::described;

described! {
    /// Every header that the proxy sets.
    ALL:
    SERVER = "X-Wsc-Server", "addressed server pod; any other pod returns 503";
    VIA = "X-Wsc-Via", "proxy pod that the connection came through; counted under `via` in `/stats`";
    FORWARDED_FOR = "X-Forwarded-For", "address of the client";
    FORWARDED_PROTO = "X-Forwarded-Proto", "protocol between client and proxy: always `http`, TLS ends in front of the proxy";
}
