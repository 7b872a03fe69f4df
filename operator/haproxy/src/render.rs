//! From settings and servers to HAProxy's configuration. The one place where it is written.

use crate::backend::{BACKEND, BackendSet, Server, ServerOptions, ServerState};
use crate::config::{Argument, Config, Directive, Section};
use crate::names::{CookieName, Origin};
use crate::text::structure_of;

/// HAProxy computes maxconn from the limit of open files: (limit - 100) / 2, roughly. This bounds the limit that it uses, in files,
/// so that a node with a limit of millions does not make it reserve memory for as many.
const FD_HARD_LIMIT: u32 = 120_100;
/// Where the agent and HAProxy meet.
const RUNTIME_SOCKET: &str = "/run/haproxy/haproxy.sock";
const STATE_FILE: &str = "/run/haproxy/servers.state";

/// One line of JSON for each connection, at its end. The path comes without its query, where tokens may be.
const LOG_FORMAT: &str = r#"{"time":%Ts.%ms,"client":"%[src,regsub(^::ffff:,)]","server":"%s","status":%ST,"end":"%tsc","path":"%[var(txn.path),json(utf8s)]","retries":"%rc","duration_ms":%Ta,"received_bytes":%U,"sent_bytes":%B}"#;

/// Everything that the configuration is made of, besides the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// Port that clients connect to.
    pub port: u16,
    /// The server's client path: `/ws`.
    pub path: String,
    pub sticky: Sticky,
    /// Origins that may connect; empty means only pages of the same host.
    pub origins: Vec<Origin>,
    pub timeouts: Timeouts,
    pub server_options: ServerOptions,
    /// Folder of the runtime socket and the state file; `/run/haproxy` in the shipped image.
    pub runtime_folder: Option<String>,
}

/// The sticky cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    pub cookie_name: CookieName,
    /// Seconds; 0 is a session cookie.
    pub max_age_seconds: u32,
    pub same_site: SameSite,
}

/// `SameSite` of the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Lax,
    Strict,
    /// Only valid together with `Secure`.
    None,
}

/// Time limits in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect_seconds: u32,
    pub handshake_seconds: u32,
    pub tunnel_seconds: u32,
}

/// The configuration's text and the set that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedConfig {
    pub text: String,
    pub backend_set: BackendSet,
}

/// Renders the configuration.
pub fn render(settings: &ProxySettings, servers: &[Server]) -> RenderedConfig {
    let mut config = config(settings, servers);
    let structure = structure_of(&config.to_string());
    if let Some(global) = config.sections.first_mut() {
        // `show info` repeats it: what runs says itself which structure it is.
        global
            .directives
            .insert(0, Directive::new("description", [structure.clone()]));
    }
    let backend_set = BackendSet::new(structure, settings.server_options, servers.to_vec());
    RenderedConfig {
        text: config.to_string(),
        backend_set,
    }
}

pub(crate) fn config(settings: &ProxySettings, servers: &[Server]) -> Config {
    Config {
        sections: vec![
            Section {
                kind: "global",
                name: None,
                directives: global(settings),
            },
            Section {
                kind: "defaults",
                name: None,
                directives: defaults(settings),
            },
            Section {
                kind: "frontend",
                name: Some("ws"),
                directives: frontend(settings),
            },
            Section {
                kind: "backend",
                name: Some(BACKEND),
                directives: backend(settings, servers),
            },
        ],
    }
}

fn global(settings: &ProxySettings) -> Vec<Directive> {
    let place = |default: &str| match &settings.runtime_folder {
        Some(folder) => default.replace("/run/haproxy", folder),
        None => default.to_owned(),
    };
    let words = Directive::words;
    vec![
        words("log", "stdout format raw local0 info"),
        words("fd-hard-limit", &FD_HARD_LIMIT.to_string()),
        Directive::new(
            "stats",
            [
                "socket",
                &place(RUNTIME_SOCKET),
                "mode",
                "660",
                "level",
                "admin",
                "expose-fd",
                "listeners",
            ],
        ),
        // Longer than any `wait` that the agent sends.
        words("stats", "timeout 2m"),
        Directive::new("server-state-file", [place(STATE_FILE)]),
        // The end of an old worker after a reload; without it a single tunnel would pin it for ever.
        words("hard-stop-after", "2h"),
        // Fewer headers than the default of 101: a cheap guard against header floods.
        words("tune.http.maxhdr", "64"),
    ]
}

fn defaults(settings: &ProxySettings) -> Vec<Directive> {
    let words = Directive::words;
    let timeout =
        |name: &str, seconds: u32| Directive::new("timeout", [name.to_owned(), format!("{seconds}s")]);
    vec![
        words("mode", "http"),
        words("log", "global"),
        words("option", "dontlognull"),
        Directive::new("log-format", [LOG_FORMAT]),
        // A sticky server that is gone is left at the first retry: milliseconds instead of seconds.
        words("option", "redispatch 1"),
        // Vanished clients and nodes send no FIN: the kernel's keepalive finds them.
        words("option", "clitcpka"),
        words("option", "srvtcpka"),
        words("clitcpka-idle", "60s"),
        words("clitcpka-intvl", "15s"),
        words("clitcpka-cnt", "3"),
        words("srvtcpka-idle", "30s"),
        words("srvtcpka-intvl", "10s"),
        words("srvtcpka-cnt", "3"),
        words("retries", "3"),
        // A pod that is full or leaving answers 503: the next one is tried, and the client never knows.
        words("retry-on", "conn-failure empty-response 503"),
        timeout("http-request", settings.timeouts.handshake_seconds),
        timeout("connect", settings.timeouts.connect_seconds),
        timeout("queue", 2),
        timeout("client", 30),
        timeout("server", 30),
        timeout("tunnel", settings.timeouts.tunnel_seconds),
        timeout("client-fin", 10),
        timeout("server-fin", 10),
        timeout("check", 2),
        words("load-server-state-from-file", "global"),
    ]
}

fn frontend(settings: &ProxySettings) -> Vec<Directive> {
    let words = Directive::words;
    let below = format!("{}/", settings.path);
    let mut lines = vec![
        Directive::new(
            "bind",
            [
                format!(":::{}", settings.port),
                "v4v6".to_owned(),
                "backlog".to_owned(),
                "8192".to_owned(),
            ],
        ),
        words("http-request", "set-var(txn.path) path"),
        // Only the server's own client path is served: its control paths and everything else stay inside.
        Directive::new(
            "acl",
            ["is_client_path", "path", "-m", "str", settings.path.as_str()],
        ),
        Directive::new("acl", ["is_client_path", "path", "-m", "beg", below.as_str()]),
        Directive::new(
            "http-request",
            [
                "return",
                "status",
                "404",
                "content-type",
                "application/json",
                "string",
                r#"{"error":"not_found","message":"there is no such path"}"#,
                "unless",
                "is_client_path",
            ],
        ),
    ];
    lines.extend(origin_check(&settings.origins));
    lines.push(Directive {
        keyword: "http-request",
        arguments: vec![
            Argument::Literal("set-header".into()),
            Argument::Literal("X-Wsc-Via".into()),
            Argument::Environment("POD_NAME"),
        ],
    });
    lines.extend([
        // The client's own claims about its address and the pod are never passed on.
        words("http-request", "del-header X-Wsc-Server"),
        words("http-request", "del-header Forwarded"),
        // One socket serves both families, so an IPv4 client's address comes mapped into IPv6.
        words(
            "http-request",
            "set-header X-Forwarded-For %[src,regsub(^::ffff:,)]",
        ),
        words("http-request", "set-header X-Forwarded-Proto http"),
        // Nobody has room: clients that come back all at once would only find the same.
        words(
            "http-after-response",
            "set-header Retry-After %[rand(5),add(1)] if { status 503 } !{ res.hdr(retry-after) -m found }",
        ),
        words("default_backend", BACKEND),
    ]);
    lines
}

/// A page of another site may not use a visitor's cookies to open a WebSocket. No `Origin` header: not a browser.
fn origin_check(origins: &[Origin]) -> Vec<Directive> {
    if origins.contains(&Origin::Any) {
        return Vec::new();
    }
    let words = Directive::words;
    let mut lines = vec![
        words("acl", "has_origin req.fhdr_cnt(origin) gt 0"),
        words("acl", "two_origins req.fhdr_cnt(origin) gt 1"),
        words("http-request", "set-var(txn.origin) req.fhdr(origin),lower"),
    ];
    if origins.is_empty() {
        lines.extend([
            words(
                "http-request",
                "set-var-fmt(txn.http) http://%[req.hdr(host),lower]",
            ),
            words(
                "http-request",
                "set-var-fmt(txn.https) https://%[req.hdr(host),lower]",
            ),
            words("acl", "origin_ok var(txn.origin),strcmp(txn.http) eq 0"),
            words("acl", "origin_ok var(txn.origin),strcmp(txn.https) eq 0"),
        ]);
    }
    lines.extend(origins.iter().filter_map(|origin| match origin {
        Origin::Any => None,
        Origin::Exact(text) => Some(Directive::new(
            "acl",
            ["origin_ok", "var(txn.origin)", "-m", "str", text.as_str()],
        )),
        Origin::Wildcard { scheme, suffix } => {
            let pattern = format!("^{scheme}://[a-z0-9-]+{}$", suffix.replace('.', "\\."));
            Some(Directive::new(
                "acl",
                ["origin_ok", "var(txn.origin)", "-m", "reg", pattern.as_str()],
            ))
        }
    }));
    lines.push(words(
        "http-request",
        "deny deny_status 403 if has_origin !origin_ok or two_origins",
    ));
    lines
}

fn backend(settings: &ProxySettings, servers: &[Server]) -> Vec<Directive> {
    let words = Directive::words;
    let mut lines = vec![
        words("balance", "leastconn"),
        cookie(&settings.sticky),
        // A connection that idles to a server would block its removal.
        words("http-reuse", "never"),
        // A pod that got another pod's address answers 503 to this, and the next one is tried.
        words("http-send-name-header", "X-Wsc-Server"),
        words("option", "httpchk"),
        words(
            "http-check",
            "send meth GET uri /wsc/lb ver HTTP/1.1 hdr Host wsc hdr X-Wsc-Server %[srv_name]",
        ),
        // A full pod answers 404: nobody new is sent there, nobody is cut.
        words("http-check", "disable-on-404"),
        words("http-check", "expect status 200"),
        words("default-server", &settings.server_options.keywords()),
    ];
    let mut sorted: Vec<&Server> = servers.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    // At the end of the last section: `text::with_servers` relies on it.
    lines.extend(sorted.into_iter().map(server_line));
    lines
}

fn cookie(sticky: &Sticky) -> Directive {
    let mut words = vec![sticky.cookie_name.as_str().to_owned()];
    words.extend(["insert", "indirect", "nocache", "httponly"].map(str::to_owned));
    let same_site = match sticky.same_site {
        SameSite::Lax => "SameSite=Lax",
        SameSite::Strict => "SameSite=Strict",
        SameSite::None => {
            words.push("secure".to_owned());
            "SameSite=None"
        }
    };
    words.extend(["attr".to_owned(), same_site.to_owned()]);
    if sticky.max_age_seconds > 0 {
        words.extend(["maxlife".to_owned(), format!("{}s", sticky.max_age_seconds)]);
        words.extend(["attr".to_owned(), format!("Max-Age={}", sticky.max_age_seconds)]);
    }
    Directive::new("cookie", words)
}

pub(crate) fn server_line(server: &Server) -> Directive {
    let mut words = vec![
        server.name.clone(),
        server.socket(),
        "cookie".to_owned(),
        server.cookie.clone(),
    ];
    if server.state == ServerState::Maint {
        words.push("disabled".to_owned());
    }
    Directive::new("server", words)
}
