//! Which web pages may connect: a pure match of the `Origin` header.
//!
//! Without a list only a page of the same host may. A request without `Origin` does not come from a browser's page and
//! is allowed; `null` (a sandboxed frame, a file) is always refused.

/// Why an entry of the allow-list is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("origin {0:?} must be scheme://host[:port], scheme://*.host[:port] or *")]
pub struct OriginError(String);

/// The rule of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPolicy {
    /// Host and port of the origin equal the `Host` header.
    SameHost,
    /// Any page.
    Any,
    /// One of these.
    List(Vec<Pattern>),
}

/// One entry of the allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    origin: Origin,
    wildcard: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl OriginPolicy {
    /// Reads a comma-separated list; an empty one means the same host.
    ///
    /// # Errors
    /// Names the first entry that is malformed.
    pub fn parse(list: &str) -> Result<Self, OriginError> {
        let entries: Vec<&str> = list.split(',').map(str::trim).filter(|e| !e.is_empty()).collect();
        if entries.is_empty() {
            return Ok(Self::SameHost);
        }
        let patterns = entries.iter().filter(|e| **e != "*").map(|e| Pattern::parse(e));
        let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
        if patterns.len() < entries.len() {
            Ok(Self::Any)
        } else {
            Ok(Self::List(patterns))
        }
    }

    /// Whether a request with this `Origin` and `Host` may connect.
    pub fn allows(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(text) = origin else {
            return true;
        };
        let Some(origin) = Origin::parse(text) else {
            return false;
        };
        match self {
            Self::Any => true,
            Self::SameHost => {
                host.and_then(|h| Origin::parse(&format!("{}://{h}", origin.scheme))) == Some(origin)
            }
            Self::List(patterns) => patterns.iter().any(|p| p.matches(&origin)),
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, OriginError> {
        let error = || OriginError(text.to_owned());
        let plain = text.replacen("://*.", "://", 1);
        let wildcard = plain != text;
        let origin = Origin::parse(&plain).ok_or_else(error)?;
        Ok(Self { origin, wildcard })
    }

    fn matches(&self, origin: &Origin) -> bool {
        if !self.wildcard {
            return self.origin == *origin;
        }
        let label = origin
            .host
            .strip_suffix(&self.origin.host)
            .and_then(|l| l.strip_suffix('.'));
        let one_label = label.is_some_and(|l| !l.is_empty() && !l.contains('.'));
        one_label && self.origin.scheme == origin.scheme && self.origin.port == origin.port
    }
}

impl Origin {
    /// `scheme://host[:port]` and nothing else. The port of the scheme stands in for a missing one.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, parse_port(port)?),
            _ => (authority, default),
        };
        is_host(host).then(|| Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|p| *p > 0)
}

fn is_host(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    host.len() <= 253 && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// List, origin, host, whether they go together.
    type Case = (&'static str, Option<&'static str>, Option<&'static str>, bool);

    const TABLE: &[Case] = &[
        // The same host is the default.
        ("", None, Some("example.org"), true),
        ("", Some("https://example.org"), Some("example.org"), true),
        ("", Some("https://EXAMPLE.org"), Some("example.org:443"), true),
        (
            "",
            Some("http://example.org:8080"),
            Some("example.org:8080"),
            true,
        ),
        ("", Some("http://[::1]:8080"), Some("[::1]:8080"), true),
        ("", Some("http://example.org:8080"), Some("example.org"), false),
        (
            "",
            Some("https://example.org"),
            Some("example.org.evil.net"),
            false,
        ),
        ("", Some("https://evil.net"), Some("example.org"), false),
        ("", Some("https://example.org"), None, false),
        ("", Some("null"), Some("null"), false),
        ("", Some(""), Some("example.org"), false),
        // A list.
        ("https://example.org", Some("https://example.org"), None, true),
        ("https://example.org", Some("https://example.org:443"), None, true),
        ("https://example.org", Some("http://example.org"), None, false),
        (
            "https://example.org",
            Some("https://example.org:8443"),
            None,
            false,
        ),
        (
            "https://example.org",
            Some("https://example.org/path"),
            None,
            false,
        ),
        (
            "https://example.org",
            Some("https://example.org@evil.net"),
            None,
            false,
        ),
        ("https://example.org", None, None, true),
        ("https://a.org, https://b.org", Some("https://b.org"), None, true),
        // One wildcard label.
        (
            "https://*.example.org",
            Some("https://app.example.org"),
            None,
            true,
        ),
        (
            "https://*.example.org",
            Some("https://a.b.example.org"),
            None,
            false,
        ),
        ("https://*.example.org", Some("https://example.org"), None, false),
        (
            "https://*.example.org",
            Some("https://evilexample.org"),
            None,
            false,
        ),
        ("https://*.example.org", Some("https://.example.org"), None, false),
        (
            "https://*.example.org:8443",
            Some("https://app.example.org:8443"),
            None,
            true,
        ),
        (
            "https://*.example.org:8443",
            Some("https://app.example.org"),
            None,
            false,
        ),
        // Everybody, but for pages without an origin of their own.
        ("*", Some("http://anything.example"), None, true),
        ("*", Some("null"), None, false),
        ("https://a.org,*", Some("http://b.org"), None, true),
    ];

    #[test]
    fn who_may_connect() {
        for (list, origin, host, allowed) in TABLE {
            let policy = OriginPolicy::parse(list).expect("list");
            assert_eq!(
                policy.allows(*origin, *host),
                *allowed,
                "{list:?} {origin:?} {host:?}"
            );
        }
    }

    #[test]
    fn malformed_lists_are_refused() {
        for bad in [
            "example.org",
            "ftp://example.org",
            "https://",
            "https://a.org/",
            "https://a.org/x",
            "https://*",
            "https://*.*.org",
            "https://a.*.org",
            "null",
            "https://a b.org",
            "https://a.org:0",
            "https://a.org:70000",
            "https://a.org:",
            "https://a.org:+80",
            "https://[::g]",
            "https://a.org\nhttp-request deny",
        ] {
            assert_eq!(
                OriginPolicy::parse(bad),
                Err(OriginError(bad.to_owned())),
                "{bad:?}"
            );
        }
    }
}
