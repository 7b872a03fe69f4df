//! Renders HAProxy's configuration from settings and servers.

mod origins;

use wsc_contract::control::ErrorBody;
use wsc_contract::cookie::CookieName;
use wsc_contract::origin::OriginPattern;
use wsc_contract::{env, files, headers, paths};

use crate::backend::{BACKEND, BackendSet, Server, ServerOptions};
use crate::config::{Argument, Config, Directive, Section};
use crate::settings::Settings;
use crate::text::structure_of;

/// Upper bound of the open-file limit that HAProxy uses. It derives maxconn from it, (limit - 100)
/// / 2 roughly, and reserves memory accordingly, which a node with a limit of millions would
/// exhaust.
const FD_HARD_LIMIT: u32 = 120_100;

/// One line of JSON per connection, at its end. The path is logged without its query, which may
/// contain tokens.
const LOG_FORMAT: &str = r#"{"time":%Ts.%ms,"client":"%[src,regsub(^::ffff:,)]","server":"%s","status":%ST,"end":"%tsc","path":"%[var(txn.path),json(utf8s)]","retries":"%rc","duration_ms":%Ta,"received_bytes":%U,"sent_bytes":%B}"#;

/// The settings of a configuration, without the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// Port that clients connect to.
    pub port: u16,
    /// The path that clients use.
    pub path: String,
    /// The path that the servers serve.
    pub server_path: String,
    pub sticky: Sticky,
    /// Origins that may connect; empty allows only the same host.
    pub origins: Vec<OriginPattern>,
    pub timeouts: Timeouts,
    pub server_options: ServerOptions,
    /// Directory of the runtime socket and the state file, if it is not that of the image.
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

/// A configuration, its server set and the settings beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedConfig {
    pub text: String,
    pub backend_set: BackendSet,
    pub settings: Settings,
}

impl ProxySettings {
    fn folder(&self) -> &str {
        self.runtime_folder.as_deref().unwrap_or(files::RUN_FOLDER)
    }
}

/// Renders the configuration.
pub fn render(settings: &ProxySettings, servers: &[Server]) -> RenderedConfig {
    let mut config = config(settings, servers);
    let structure = structure_of(&config.to_string());
    if let Some(global) = config.sections.first_mut() {
        // `show info` reports it, so the structure of the running configuration is known.
        global
            .directives
            .insert(0, Directive::new("description", [structure.clone()]));
    }
    let backend_set = BackendSet::new(structure, settings.server_options, servers.to_vec());
    RenderedConfig {
        text: config.to_string(),
        backend_set,
        settings: Settings::new(&settings.path, &settings.server_path, settings.origins.clone()),
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
    let folder = settings.folder();
    let words = Directive::words;
    vec![
        words("log", "stdout format raw local0 info"),
        words("fd-hard-limit", &FD_HARD_LIMIT.to_string()),
        Directive::new(
            "stats",
            [
                "socket",
                &format!("{folder}/{}", files::RUNTIME_SOCKET),
                "mode",
                "660",
                "level",
                "admin",
                "expose-fd",
                "listeners",
            ],
        ),
        // Longer than any `wait` of the agent.
        words("stats", "timeout 2m"),
        Directive::new("server-state-file", [format!("{folder}/{}", files::SERVER_STATE)]),
        // Terminates an old worker after a reload, which a single tunnel would keep running
        // otherwise.
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
        // A failed sticky server is abandoned at the first retry: milliseconds instead of seconds.
        words("option", "redispatch 1"),
        // Lost clients and nodes send no FIN; TCP keepalive detects them.
        words("option", "clitcpka"),
        words("option", "srvtcpka"),
        words("clitcpka-idle", "60s"),
        words("clitcpka-intvl", "15s"),
        words("clitcpka-cnt", "3"),
        words("srvtcpka-idle", "30s"),
        words("srvtcpka-intvl", "10s"),
        words("srvtcpka-cnt", "3"),
        words("retries", "3"),
        // A full or draining pod returns 503; another pod is tried, invisibly to the client.
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
    // A struct of strings always serializes.
    let not_found = serde_json::to_string(&ErrorBody::not_found()).unwrap_or_default();
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
        // Only the client path is public; the server's own paths are not.
        Directive::new(
            "http-request",
            [
                "set-var(txn.server_path)".to_owned(),
                format!("path,map_regm({}/{})", settings.folder(), files::PATHS),
            ],
        ),
        Directive::new(
            "http-request",
            [
                "return",
                "status",
                "404",
                "content-type",
                "application/json",
                "string",
                not_found.as_str(),
                "unless",
                "{",
                "var(txn.server_path)",
                "-m",
                "found",
                "}",
            ],
        ),
    ];
    lines.extend(origins::check(settings.folder()));
    lines.push(words("http-request", "set-path %[var(txn.server_path)]"));
    lines.push(Directive {
        keyword: "http-request",
        arguments: vec![
            Argument::Literal("set-header".into()),
            Argument::Literal(headers::VIA.into()),
            Argument::Environment(env::agent::POD_NAME),
        ],
    });
    lines.extend([
        // A client must not choose the pod or its own address.
        words("http-request", &format!("del-header {}", headers::SERVER)),
        words("http-request", "del-header Forwarded"),
        // One socket serves both families, so the address of an IPv4 client is mapped into IPv6.
        words(
            "http-request",
            &format!("set-header {} %[src,regsub(^::ffff:,)]", headers::FORWARDED_FOR),
        ),
        words(
            "http-request",
            &format!("set-header {} http", headers::FORWARDED_PROTO),
        ),
        // Spreads the reconnects of clients that found every pod full.
        words(
            "http-after-response",
            "set-header Retry-After %[rand(5),add(1)] if { status 503 } !{ res.hdr(retry-after) -m found }",
        ),
        words("default_backend", BACKEND),
    ]);
    lines
}

fn backend(settings: &ProxySettings, servers: &[Server]) -> Vec<Directive> {
    let words = Directive::words;
    let mut lines = vec![
        words("balance", "leastconn"),
        cookie(&settings.sticky),
        // An idle connection to a server would block its removal.
        words("http-reuse", "never"),
        // A pod that reuses the address of another one returns 503, and the next one is tried.
        words("http-send-name-header", headers::SERVER),
        words("option", "httpchk"),
        words(
            "http-check",
            &format!(
                "send meth GET uri {} ver HTTP/1.1 hdr Host wsc hdr {} %[srv_name]",
                paths::LOAD_BALANCER,
                headers::SERVER
            ),
        ),
        // A full pod returns 404: it receives no new clients and keeps its open ones.
        words("http-check", "disable-on-404"),
        words("http-check", "expect status 200"),
        words("default-server", &settings.server_options.keywords()),
    ];
    let mut sorted: Vec<&Server> = servers.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    // At the end of the last section: `text::with_servers` relies on it.
    lines.extend(sorted.into_iter().map(Server::directive));
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
