//! One rule each. The same rules stand in the CRD, where the API server checks them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wsc_api::syntax;
use wsc_api::v1alpha1::{EnvVar, SecretKeyReference};
use wsc_contract::close::CloseCode;
use wsc_contract::env;
use wsc_contract::image::ImageRef;
use wsc_contract::paths::ClientPath;
use wsc_contract::redis::RedisUrl;

use super::values::{Amount, Invalid};

pub(super) fn invalid(field: impl Into<String>, problem: impl Display) -> Invalid {
    Invalid {
        field: field.into(),
        problem: problem.to_string(),
    }
}

pub(super) fn present(field: &str, value: Option<&str>) -> Result<String, Invalid> {
    match value {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(invalid(field, "is missing")),
    }
}

/// The names of all children are made from it.
pub(super) fn cluster_name(name: &str) -> Result<String, Invalid> {
    let refuse = |problem: &str| Err(invalid("metadata.name", problem));
    if name.is_empty() || name.len() > 40 {
        return refuse("must be 1 to 40 characters long");
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.ends_with('-') || !name.bytes().all(plain)
    {
        return refuse("must start with a letter and contain only lower-case letters, digits and '-'");
    }
    if ["-redis", "-haproxy", "-proxy"]
        .iter()
        .any(|ending| name.ends_with(ending))
    {
        return refuse(
            "must not end in -redis, -haproxy or -proxy: children of other clusters have such names",
        );
    }
    Ok(name.to_owned())
}

pub(super) fn range(field: &str, value: i32, least: i32, most: i32) -> Result<i32, Invalid> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(invalid(field, format!("must be {least} to {most}, not {value}")))
}

/// A number in range, in a type that holds no other sign or width.
pub(super) fn number<T: TryFrom<i32>>(field: &str, value: i32, least: i32, most: i32) -> Result<T, Invalid> {
    let value = range(field, value, least, most)?;
    T::try_from(value).map_err(|_| invalid(field, format!("must be {least} to {most}, not {value}")))
}

pub(super) fn seconds(field: &str, value: i32, least: i32, most: i32) -> Result<Duration, Invalid> {
    let seconds: u32 = number(field, value, least, most)?;
    Ok(Duration::from_secs(u64::from(seconds)))
}

pub(super) fn at_most(field: &str, length: usize, limit: usize) -> Result<(), Invalid> {
    if length <= limit {
        return Ok(());
    }
    Err(invalid(
        field,
        format!("has {length} entries, at most {limit} are allowed"),
    ))
}

pub(super) fn amount(
    field: &str,
    value: &IntOrString,
    counts: RangeInclusive<i64>,
    percents: RangeInclusive<i64>,
) -> Result<Amount, Invalid> {
    let (kind, number, allowed): (fn(i64) -> Amount, _, _) = match value {
        IntOrString::Int(count) => (Amount::Count, Some(i64::from(*count)), &counts),
        IntOrString::String(text) => (Amount::Percent, percent(text), &percents),
    };
    match number.filter(|number| allowed.contains(number)) {
        Some(number) => Ok(kind(number)),
        None => Err(invalid(
            field,
            format!(
                "must be {} to {} or {}% to {}%",
                counts.start(),
                counts.end(),
                percents.start(),
                percents.end()
            ),
        )),
    }
}

/// `20%`, without sign, blank or leading zero.
fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let number: i64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

pub(super) fn image(field: &str, text: &str) -> Result<String, Invalid> {
    let image: ImageRef = text.parse().map_err(|error| invalid(field, error))?;
    Ok(image.into())
}

pub(super) fn path(text: &str) -> Result<String, Invalid> {
    let path: ClientPath = text.parse().map_err(|error| invalid("server.path", error))?;
    Ok(path.into())
}

pub(super) fn variable(variable: &EnvVar) -> Result<(), Invalid> {
    let field = format!("server.env[{}]", variable.name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts = variable
        .name
        .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !variable.name.bytes().all(plain) {
        return Err(invalid(
            field,
            "must be a variable name of A-Z a-z 0-9 _, without a leading digit",
        ));
    }
    if variable.name == env::server::POD_NAME || variable.name.starts_with(env::PREFIX) {
        return Err(invalid(field, "is set by the operator"));
    }
    match (&variable.value, &variable.value_from) {
        (Some(_), None) => Ok(()),
        (None, Some(source)) => {
            secret_key(&format!("{field}.valueFrom.secretKeyRef"), &source.secret_key_ref)
        }
        (Some(_), Some(_)) | (None, None) => Err(invalid(field, "needs exactly one of value and valueFrom")),
    }
}

/// A user and a password belong into a Secret.
pub(super) fn redis_url(url: &str) -> Result<String, Invalid> {
    match RedisUrl::without_credentials(url) {
        Ok(_) => Ok(url.to_owned()),
        Err(error) => Err(invalid(
            "redis.external.url",
            format!("must be {}: {error}", RedisUrl::RULE),
        )),
    }
}

/// A key of a Secret that is there or not: that is the kubelet's to find out.
pub(super) fn secret_key(field: &str, reference: &SecretKeyReference) -> Result<(), Invalid> {
    object_name(&format!("{field}.name"), &reference.name)?;
    if syntax::is_secret_key(&reference.key) {
        return Ok(());
    }
    Err(invalid(
        format!("{field}.key"),
        "must be 1 to 253 characters of A-Z a-z 0-9 - . _, not . and without a leading ..",
    ))
}

pub(super) fn object_name(field: &str, name: &str) -> Result<(), Invalid> {
    if syntax::is_subdomain(name) {
        return Ok(());
    }
    Err(invalid(field, format!("must be {}", syntax::SUBDOMAIN_RULE)))
}

pub(super) fn close_code(code: i32) -> Result<CloseCode, Invalid> {
    let parsed = u16::try_from(code).map(CloseCode::try_from);
    let Ok(Ok(parsed)) = parsed else {
        return Err(invalid(
            "drain.notice.closeCode",
            format!("must be {}, not {code}", CloseCode::RULE),
        ));
    };
    Ok(parsed)
}
