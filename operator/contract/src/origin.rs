//! Which web origins may connect: a pure decision over the `Origin` and `Host` headers, the same in
//! proxy and server.
//!
//! A request without `Origin` does not come from a web page and is allowed. `null` (a sandboxed
//! frame) never is. Requests are compared as text, in lower case and without default port, which
//! HAProxy can do too: a list has normal forms only.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

/// Default ports as they end an origin, with their schemes: those of the URL standard,
/// <https://url.spec.whatwg.org/#url-miscellaneous>.
pub const DEFAULT_PORTS: &[(&str, &[&str])] = &[
    (":80", &["http", "ws"]),
    (":443", &["https", "wss"]),
    (":21", &["ftp"]),
];

/// Why a text is no entry of an allow-list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("origin {text:?} must be {}: {problem}", OriginPattern::RULE)]
pub struct OriginError {
    text: String,
    problem: Problem,
}

/// What is wrong with the text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum Problem {
    #[error("{0}")]
    Form(&'static str),
    #[error("browsers send its normal form, {0}")]
    NotNormal(String),
}

/// A web origin in lower case, without the default port of its scheme.
///
/// Any scheme and a host; only `file://` lacks one. Parsing accepts the form that browsers send:
/// a host of letters, digits, `-`, `_` and `.`, or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    authority: String,
}

/// One entry of an allow-list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OriginPattern {
    /// `*`: every origin but `null`.
    Any,
    /// `https://example.org:8443`, `capacitor://localhost`: exactly this origin.
    Exact(Origin),
    /// `https://*.example.org`: exactly one label in place of the star, before this origin's host.
    Subdomain(Origin),
}

/// The rule of a proxy or server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPolicy {
    /// The host and port that the request is addressed to, by `http` or `https`.
    SameHost,
    /// Every origin but `null`.
    Any,
    /// One of these.
    List(Vec<OriginPattern>),
}

impl Origin {
    /// The longest origin that is accepted, in bytes.
    pub const MAX_BYTES: usize = 255;

    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Host and port: `example.org`, `example.org:8443`, `[::1]:80`; empty for `file://`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The origin of a request; its host and port are not checked.
    fn of_request(text: &str) -> Result<Self, Problem> {
        let (scheme, authority) = split(text).map_err(Problem::Form)?;
        let scheme = scheme.to_ascii_lowercase();
        let authority = normal_authority(&scheme, authority);
        Ok(Self { scheme, authority })
    }

    fn read(text: &str) -> Result<Self, Problem> {
        let origin = Self::of_request(text)?;
        if origin.authority.is_empty() && origin.scheme == "file" {
            return Ok(origin);
        }
        let host = check_authority(&origin.authority).map_err(Problem::Form)?;
        let url = Url::parse(&origin.to_string())
            .map_err(|_| Problem::Form("the host or the port is malformed"))?;
        if url.port() == Some(0) {
            return Err(Problem::Form("the port is not 1 to 65535"));
        }
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let normal = format!("{}://{}{port}", origin.scheme, url.host_str().unwrap_or_default());
        if normal != origin.to_string() {
            return Err(Problem::NotNormal(normal));
        }
        // `url` checks addresses in schemes of the web only.
        if ends_in_number(host) && host.parse::<Ipv4Addr>().is_err() {
            return Err(Problem::Form(
                "a host that ends in a number is an IPv4 address: 192.0.2.1",
            ));
        }
        Ok(origin)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        Self::read(text).map_err(|problem| OriginError {
            text: text.to_owned(),
            problem,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl OriginPattern {
    /// The grammar in words, for messages.
    pub const RULE: &str = "scheme://host[:port], scheme://*.host[:port] or *";
    /// The grammar as a regular expression, for the CRD. Parsing also rejects a host that is not in
    /// its normal form.
    pub const SCHEMA: &str = concat!(
        r"^(\*|[Ff][Ii][Ll][Ee]://|[A-Za-z][A-Za-z0-9+.-]*://",
        // A name, whose last label is no number; an IPv4 address; an IPv6 address.
        r"((\*\.)?([A-Za-z0-9_-]+\.)*[0-9]*[A-Za-z_-][A-Za-z0-9_-]*",
        r"|((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])",
        r"|\[[0-9A-Fa-f:]+\])",
        r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?)$",
    );

    pub fn matches(&self, origin: &Origin) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == origin,
            Self::Subdomain(parent) => {
                let prefix = origin.authority.strip_suffix(parent.authority.as_str());
                let label = prefix.and_then(|prefix| prefix.strip_suffix('.'));
                label.is_some_and(is_label) && parent.scheme == origin.scheme
            }
        }
    }

    fn read(text: &str) -> Result<Self, Problem> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let Some((scheme, parent)) = text.split_once("://*.") else {
            return Origin::read(text).map(Self::Exact);
        };
        let parent = Origin::read(&format!("{scheme}://{parent}"))?;
        let (host, _) = host_and_port(&parent.authority);
        if host.is_empty() || host.starts_with('[') || ends_in_number(host) {
            return Err(Problem::Form("a wildcard needs a domain behind it"));
        }
        Ok(Self::Subdomain(parent))
    }
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        Self::read(text).map_err(|problem| OriginError {
            text: text.to_owned(),
            problem,
        })
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(origin) => origin.fmt(f),
            Self::Subdomain(parent) => write!(f, "{}://*.{}", parent.scheme, parent.authority),
        }
    }
}

impl OriginPolicy {
    /// Reads a comma-separated list; an empty one means the same host.
    pub fn parse(list: &str) -> Result<Self, OriginError> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(str::parse)
            .collect::<Result<Vec<_>, _>>()
            .map(Self::from)
    }

    /// Whether a request with these `Origin` and `Host` headers may connect.
    pub fn allows(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(text) = origin else {
            return true;
        };
        match self {
            // Origins exist that no list can name, so only the form counts here.
            Self::Any => split(text).is_ok(),
            Self::SameHost => host.is_some_and(|host| is_same_host(text, host)),
            Self::List(patterns) => Origin::of_request(text)
                .is_ok_and(|origin| patterns.iter().any(|pattern| pattern.matches(&origin))),
        }
    }
}

impl From<Vec<OriginPattern>> for OriginPolicy {
    /// The policy of a list: none is the same host, and `*` makes all others redundant.
    fn from(patterns: Vec<OriginPattern>) -> Self {
        if patterns.is_empty() {
            Self::SameHost
        } else if patterns.contains(&OriginPattern::Any) {
            Self::Any
        } else {
            Self::List(patterns)
        }
    }
}

fn is_same_host(origin: &str, host: &str) -> bool {
    Origin::of_request(origin).is_ok_and(|origin| {
        is_web(&origin.scheme)
            && !origin.authority.is_empty()
            && normal_authority(&origin.scheme, host) == origin.authority
    })
}

/// Whether pages of this scheme have a host that a browser can connect to.
fn is_web(scheme: &str) -> bool {
    scheme == "http" || scheme == "https"
}

/// In lower case and without the default port, which browsers omit; other clients and load
/// balancers may write it.
fn normal_authority(scheme: &str, authority: &str) -> String {
    let mut authority = authority.to_ascii_lowercase();
    let default = DEFAULT_PORTS
        .iter()
        .find(|(_, schemes)| schemes.contains(&scheme));
    if let Some((port, _)) = default
        && authority.ends_with(port)
    {
        authority.truncate(authority.len() - port.len());
    }
    authority
}

/// Scheme and authority of a text that has the form of one origin (RFC 6454, section 6.2): no path,
/// no user, no second origin.
fn split(text: &str) -> Result<(&str, &str), &'static str> {
    if text.len() > Origin::MAX_BYTES {
        return Err("it is longer than 255 characters");
    }
    let (scheme, authority) = text.split_once("://").ok_or("there is no scheme")?;
    let mut bytes = scheme.bytes();
    let is_scheme = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b));
    if !is_scheme {
        return Err("the scheme is malformed");
    }
    if authority
        .bytes()
        .any(|b| !b.is_ascii_graphic() || b"/\\?#@,".contains(&b))
    {
        return Err("an origin is a scheme, a host and a port, nothing else");
    }
    Ok((scheme, authority))
}

/// The host of an authority. `url` is too lenient: it repairs hosts, and drops empty ports.
fn check_authority(authority: &str) -> Result<&str, &'static str> {
    let (host, port) = host_and_port(authority);
    if port.is_some_and(|port| !is_number(port)) {
        return Err("the port is not a number");
    }
    let is_address = host.starts_with('[') && host.ends_with(']');
    if is_address || host.split('.').all(is_label) {
        Ok(host)
    } else {
        Err("the host is not an address in brackets or labels of letters, digits, '-' and '_'")
    }
}

/// The port is what follows the first colon behind an address in brackets.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    let host_end = authority.rfind(']').unwrap_or_default();
    match authority[host_end..].find(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(host_end + colon);
            (host, port.strip_prefix(':'))
        }
        None => (authority, None),
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// Whether the last label has digits only.
fn ends_in_number(host: &str) -> bool {
    host.rsplit('.').next().is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests;
