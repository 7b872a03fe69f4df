//! Address of a Redis.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::ports;

/// `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    tls: bool,
    credentials: Option<Credentials>,
    host: String,
    port: u16,
    database: u16,
}

/// User and password, decoded; an empty one is none.
#[derive(Clone, PartialEq, Eq)]
struct Credentials {
    username: Option<String>,
    password: Option<String>,
}

/// Why a text is no URL of a Redis; never with a part of the text, which may be the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RedisUrlError {
    #[error("must start with redis:// or rediss://")]
    Scheme,
    #[error("user and password must be percent-encoded: / is %2F, # is %23, ? is %3F, @ is %40, % is %25")]
    Encoding,
    #[error("must not contain user or password")]
    Credentials,
    #[error("query and fragment are not supported")]
    Extra,
    #[error("the host must be a name of A-Z a-z 0-9 . _ -, an IPv4 address or an IPv6 address in brackets")]
    Host,
    #[error("the host must not be the unspecified address")]
    Unspecified,
    #[error("the port must be 1 to 65535")]
    Port,
    #[error("the database must be a number of at most three digits")]
    Database,
    #[error(
        "must be at most {} characters without user and password",
        RedisUrl::MAX_LENGTH
    )]
    Length,
}

impl RedisUrl {
    /// The grammar without credentials in words, for messages.
    pub const RULE: &str = "redis://HOST[:PORT][/DATABASE], or rediss:// for TLS, without user and password";
    /// The longest URL without credentials, in characters.
    pub const MAX_LENGTH: u32 = 512;
    /// The grammar without credentials as a regular expression, for the CRD. Parsing also rejects
    /// malformed IPv6 addresses and the unspecified addresses.
    pub const SCHEMA: &str = concat!(
        r"^rediss?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)",
        r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?",
        r"(/[0-9]{1,3})?$",
    );

    /// A URL that is stored in the open: credentials are an error.
    pub fn without_credentials(text: &str) -> Result<Self, RedisUrlError> {
        let url: Self = text.parse()?;
        match url.credentials {
            None => Ok(url),
            Some(_) => Err(RedisUrlError::Credentials),
        }
    }

    pub fn is_tls(&self) -> bool {
        self.tls
    }

    pub fn username(&self) -> Option<&str> {
        self.credentials.as_ref()?.username.as_deref()
    }

    pub fn password(&self) -> Option<&str> {
        self.credentials.as_ref()?.password.as_deref()
    }

    /// A name or an address, which has no brackets here.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn database(&self) -> u16 {
        self.database
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisUrl")
            .field("tls", &self.tls)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(RedisUrlError::Scheme)?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err(RedisUrlError::Scheme),
        };
        // The last `@` of all: with a raw `/` in the password, the first `/` does not end the
        // authority.
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let credentials = credentials.map(Credentials::read).transpose()?;
        if scheme.len() + "://".len() + address.len() > Self::MAX_LENGTH as usize {
            return Err(RedisUrlError::Length);
        }
        if address.contains(['?', '#']) {
            return Err(RedisUrlError::Extra);
        }
        let (authority, database) = match address.split_once('/') {
            Some((authority, database)) => (authority, read_database(database)?),
            None => (address, 0),
        };
        let (host, port) = split_port(authority);
        Ok(Self {
            tls,
            credentials,
            host: read_host(host)?,
            port: port.map_or(Ok(ports::REDIS.number), read_port)?,
            database,
        })
    }
}

impl Credentials {
    fn read(text: &str) -> Result<Self, RedisUrlError> {
        let (username, password) = text.split_once(':').unwrap_or((text, ""));
        let decode = |text| decode(text).ok_or(RedisUrlError::Encoding);
        Ok(Self {
            username: Some(decode(username)?).filter(|text| !text.is_empty()),
            password: Some(decode(password)?).filter(|text| !text.is_empty()),
        })
    }
}

/// `None` if a character is in it that has a meaning in a URL or none, or if it is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let reserved = |c: char| "/?#@".contains(c) || c.is_whitespace() || c.is_control();
    let mut after_percent = text.split('%').skip(1);
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if text.contains(reserved) || !after_percent.all(is_escape) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// The port is what follows the last colon behind an address in brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let brackets_end = authority.rfind(']').unwrap_or_default();
    match authority[brackets_end..].rsplit_once(':') {
        Some((_, port)) => (&authority[..authority.len() - port.len() - 1], Some(port)),
        None => (authority, None),
    }
}

fn read_host(text: &str) -> Result<String, RedisUrlError> {
    let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let host = match address {
        Some(address) => {
            let address: Ipv6Addr = address.parse().map_err(|_| RedisUrlError::Host)?;
            address.to_string()
        }
        None => text.to_owned(),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if address.is_none() && (host.is_empty() || !host.bytes().all(is_name)) {
        return Err(RedisUrlError::Host);
    }
    if host == "0.0.0.0" || host == "::" {
        return Err(RedisUrlError::Unspecified);
    }
    Ok(host)
}

fn read_port(text: &str) -> Result<u16, RedisUrlError> {
    let port = read_number(text).filter(|port| *port > 0 && !text.starts_with('0'));
    port.ok_or(RedisUrlError::Port)
}

fn read_database(text: &str) -> Result<u16, RedisUrlError> {
    let database = read_number(text).filter(|_| text.len() <= 3);
    database.ok_or(RedisUrlError::Database)
}

/// Digits only: `parse` also takes a sign.
fn read_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests;
