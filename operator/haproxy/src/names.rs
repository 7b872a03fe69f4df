//! Every string that reaches HAProxy's configuration is one of these. They are parsed once, and a parsed one needs no escaping.

use std::fmt;

use thiserror::Error;

/// Why a string may not reach the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    #[error("must not be empty")]
    Empty,
    #[error("is {length} characters long, at most {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    #[error("holds {0:?}, which is not allowed here")]
    Character(char),
    #[error(
        "must be scheme://host[:port] with http or https, one wildcard label as in https://*.example.org, or *: {0}"
    )]
    Origin(&'static str),
}

/// Name of the sticky cookie: letters, digits, `_`, `.` and `-`, at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CookieName(String);

/// Name of a server line and of the pod behind it: a DNS label, at most 63 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(String);

/// A web origin that may connect, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `*`
    Any,
    /// `https://example.org:8443`
    Exact(String),
    /// `https://*.example.org`: exactly one label in place of the star.
    Wildcard { scheme: &'static str, suffix: String },
}

impl CookieName {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text, 64, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
        })?;
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ServerName {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text, 63, |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
        })?;
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Origin {
    /// The longest origin that is accepted, in characters.
    pub const LIMIT: usize = 255;

    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        check(text, Self::LIMIT, |c| c.is_ascii_graphic())?;
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => ("http", rest),
            Some(("https", rest)) => ("https", rest),
            Some(_) => return Err(NameError::Origin("the scheme is neither http nor https")),
            None => return Err(NameError::Origin("there is no scheme")),
        };
        let (host, port) = split_port(rest)?;
        // A browser never writes the scheme's own port, so a list with it would match nobody.
        let port = match (scheme, port.map(check_port).transpose()?) {
            (_, None) | ("http", Some(80)) | ("https", Some(443)) => String::new(),
            (_, Some(port)) => format!(":{port}"),
        };
        if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            return match address.parse::<std::net::Ipv6Addr>() {
                Ok(address) => Ok(Self::Exact(format!("{scheme}://[{address}]{port}"))),
                Err(_) => Err(NameError::Origin("the address in brackets is not IPv6")),
            };
        }
        if let Some(parent) = host.strip_prefix("*.") {
            check_host(parent)?;
            let suffix = format!(".{parent}{port}");
            return Ok(Self::Wildcard { scheme, suffix });
        }
        check_host(host)?;
        Ok(Self::Exact(format!("{scheme}://{host}{port}")))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Wildcard { scheme, suffix } => write!(f, "{scheme}://*{suffix}"),
        }
    }
}

fn check(text: &str, limit: usize, allowed: impl Fn(char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let length = text.chars().count();
    if length > limit {
        return Err(NameError::TooLong { length, limit });
    }
    text.chars()
        .find(|&c| !allowed(c))
        .map_or(Ok(()), |c| Err(NameError::Character(c)))
}

fn split_port(rest: &str) -> Result<(&str, Option<&str>), NameError> {
    if rest.starts_with('[') {
        let end = rest
            .find(']')
            .ok_or(NameError::Origin("the bracket is not closed"))?;
        let (host, tail) = rest.split_at(end + 1);
        return match tail.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if tail.is_empty() => Ok((host, None)),
            None => Err(NameError::Origin("there is something behind the address")),
        };
    }
    Ok(rest
        .split_once(':')
        .map_or((rest, None), |(host, port)| (host, Some(port))))
}

fn check_port(port: &str) -> Result<u16, NameError> {
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NameError::Origin("the port is not a number"));
    }
    match port.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(NameError::Origin("the port is not 1 to 65535")),
    }
}

fn check_host(host: &str) -> Result<(), NameError> {
    for label in host.split('.') {
        if label.is_empty() {
            return Err(NameError::Origin("a label of the host is empty"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::Origin("a label of the host begins or ends with '-'"));
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(NameError::Origin(
                "the host holds something else than letters, digits, '-' and '.'",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_names_that_could_break_out_are_refused() {
        for bad in [
            "", "a;b", "a,b", "a=b", "a b", "a\tb", "a\rb", "a\nb", "a\"b", "a'b", "a\\b", "a#b", "%[src]",
            "${X}", "ä",
        ] {
            assert!(CookieName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(CookieName::parse(&"a".repeat(65)).is_err());
        assert_eq!(CookieName::parse("wsc_1.x-y").unwrap().as_str(), "wsc_1.x-y");
    }

    #[test]
    fn origins_that_are_none_are_refused() {
        for bad in [
            "",
            "null",
            "https://",
            "https://a/",
            "https://a/path",
            "https://a b",
            "https://a\nhttp-request deny",
            "ftp://a",
            "https://*.*.a",
            "https://a.*.b",
            "https://*",
            "https://*a.b",
            "https://a:0",
            "https://a:65536",
            "https://a:x",
            "https://a:",
            "https://a:+1",
            "https://-a.b",
            "https://a..b",
            "//a",
            "https://[::g]",
            "https://[::1",
            "https://[::1]x",
            "https://a%[src]",
            "ws://a",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn origins_come_back_as_browsers_write_them() {
        for (text, shown) in [
            ("*", "*"),
            ("https://Example.org", "https://example.org"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("https://*.Example.org:8443", "https://*.example.org:8443"),
            ("https://[0:0::1]:80", "https://[::1]:80"),
            ("https://example.org:443", "https://example.org"),
            ("http://*.example.org:80", "http://*.example.org"),
            ("http://example.org:443", "http://example.org:443"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), shown);
        }
    }
}
