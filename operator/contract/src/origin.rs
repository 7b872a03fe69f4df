//! Which web origins may connect: a pure decision over the `Origin` and `Host` headers, the same in proxy and server.
//!
//! A request without `Origin` does not come from a web page and is allowed. `null` (a sandboxed frame) never is.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::{Host, Url};

/// Why a text is no origin, or no entry of an allow-list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("origin {text:?} must be scheme://host[:port], scheme://*.host[:port] or *: {problem}")]
pub struct OriginError {
    text: String,
    problem: &'static str,
}

/// A web origin, normalized as browsers serialize it: lower case, without the default port of its scheme.
///
/// Any scheme and a host; only `file://` lacks one. A host consists of letters, digits, `-`, `_` and `.`, or is an IPv6 address in
/// brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
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
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let (scheme, authority) = split(text)?;
        if authority.is_empty() && scheme.eq_ignore_ascii_case("file") {
            return Ok(Self {
                scheme: "file".to_owned(),
                host: String::new(),
                port: None,
            });
        }
        check_authority(authority)?;
        let url = Url::parse(text).map_err(|_| "the host or the port is malformed")?;
        // In schemes without web semantics the host stays as it was written.
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        if url.port() == Some(0) {
            return Err("the port is not 1 to 65535");
        }
        Ok(Self {
            scheme: url.scheme().to_owned(),
            host,
            port: url.port(),
        })
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
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

impl OriginPattern {
    /// The grammar as a regular expression, for the CRD. Of addresses it knows the characters only; parsing knows the rest.
    pub const SCHEMA: &str = concat!(
        r"^(\*|[Ff][Ii][Ll][Ee]://|[A-Za-z][A-Za-z0-9+.-]*://((\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])",
        r"(:0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?)$",
    );

    pub fn matches(&self, origin: &Origin) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == origin,
            Self::Subdomain(parent) => {
                let prefix = origin.host.strip_suffix(parent.host.as_str());
                let label = prefix.and_then(|prefix| prefix.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
                    && parent.scheme == origin.scheme
                    && parent.port == origin.port
            }
        }
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let Some((scheme, parent)) = text.split_once("://*.") else {
            return Origin::read(text).map(Self::Exact);
        };
        let parent = Origin::read(&format!("{scheme}://{parent}"))?;
        if parent.host.is_empty() || !matches!(Host::parse(&parent.host), Ok(Host::Domain(_))) {
            return Err("a wildcard needs a domain behind it");
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
            Self::Subdomain(parent) => write!(f, "{}://*.{}", parent.scheme, parent.authority()),
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
            Self::List(patterns) => {
                Origin::read(text).is_ok_and(|origin| patterns.iter().any(|pattern| pattern.matches(&origin)))
            }
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
    let Ok(origin) = Origin::read(origin) else {
        return false;
    };
    is_web(&origin.scheme) && Origin::read(&format!("{}://{host}", origin.scheme)).as_ref() == Ok(&origin)
}

/// Whether pages of this scheme have a host that a browser can connect to.
fn is_web(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// Scheme and authority of a text that has the form of one origin (RFC 6454, section 6.2): no path, no user, no second origin.
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

/// What `url` is too lenient about: it repairs hosts, and drops empty ports.
fn check_authority(authority: &str) -> Result<(), &'static str> {
    if let Some(address) = authority.strip_prefix('[') {
        return match address.split_once(']') {
            Some((_, "")) => Ok(()),
            Some((_, port)) if port.strip_prefix(':').is_some_and(is_number) => Ok(()),
            _ => Err("the address in brackets is malformed"),
        };
    }
    let (host, port) = authority
        .split_once(':')
        .map_or((authority, None), |(host, port)| (host, Some(port)));
    if port.is_some_and(|port| !is_number(port)) {
        return Err("the port is not a number");
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if host.split('.').all(is_label) {
        Ok(())
    } else {
        Err("the host consists of labels of letters, digits, '-' and '_'")
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests;
