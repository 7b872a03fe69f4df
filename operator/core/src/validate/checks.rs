//! One rule each. The same rules stand in the CRD, where the API server checks them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wsc_api::v1alpha1::{EnvVar, PodSettings, SecretKeyReference};
use wsc_contract::close::CloseCode;
use wsc_contract::image::ImageRef;
use wsc_contract::paths::ClientPath;
use wsc_contract::redis::RedisUrl;
use wsc_contract::{env, labels};

use super::values::{Amount, Invalid};
use crate::quantity;

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
    let name = (1..=253).contains(&reference.name.len());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let key = (1..=253).contains(&reference.key.len()) && reference.key.bytes().all(plain);
    match (name, key) {
        (true, true) => Ok(()),
        (false, _) => Err(invalid(
            format!("{field}.name"),
            "must be 1 to 253 characters long",
        )),
        (true, false) => Err(invalid(
            format!("{field}.key"),
            "must be 1 to 253 characters out of A-Z a-z 0-9 - . _",
        )),
    }
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

/// Labels and annotations of ours are not the user's to set.
pub(super) fn pod_settings(field: &str, settings: &PodSettings) -> Result<(), Invalid> {
    let labels = format!("{field}.podLabels");
    not_ours(
        &labels,
        settings.pod_labels.keys(),
        &[labels::GROUP, "app.kubernetes.io"],
    )?;
    let annotations = format!("{field}.podAnnotations");
    not_ours(&annotations, settings.pod_annotations.keys(), &[labels::GROUP])?;
    for (name, length, most) in [
        ("tolerations", settings.tolerations.len(), 16),
        ("podLabels", settings.pod_labels.len(), 16),
        ("podAnnotations", settings.pod_annotations.len(), 16),
        ("nodeSelector", settings.node_selector.len(), 16),
        ("imagePullSecrets", settings.image_pull_secrets.len(), 8),
    ] {
        at_most(&format!("{field}.{name}"), length, most)?;
    }
    settings
        .resources
        .as_ref()
        .map_or(Ok(()), |given| resources(field, given))
}

/// None of the keys has one of these prefixes.
pub(super) fn not_ours<'a>(
    field: &str,
    mut keys: impl Iterator<Item = &'a String>,
    prefixes: &[&str],
) -> Result<(), Invalid> {
    let ours = |key: &&String| {
        let prefix = key.split_once('/').map(|(prefix, _)| prefix);
        prefix.is_some_and(|prefix| prefixes.contains(&prefix))
    };
    match keys.find(ours) {
        Some(key) => Err(invalid(format!("{field}[{key}]"), "is set by the operator")),
        None => Ok(()),
    }
}

/// What the API server would only reject in the pods, far from the resource.
fn resources(field: &str, given: &ResourceRequirements) -> Result<(), Invalid> {
    let empty = BTreeMap::new();
    let requests = given.requests.as_ref().unwrap_or(&empty);
    let limits = given.limits.as_ref().unwrap_or(&empty);
    for (kind, quantities) in [("requests", requests), ("limits", limits)] {
        for (name, quantity) in quantities {
            if !quantity::is_amount(&quantity.0) {
                return Err(invalid(
                    format!("{field}.resources.{kind}.{name}"),
                    format!("must be a quantity like 500m or 1Gi, not {:?}", quantity.0),
                ));
            }
        }
    }
    for (name, request) in requests {
        if limits
            .get(name)
            .is_some_and(|limit| quantity::is_above(request, limit))
        {
            return Err(invalid(
                format!("{field}.resources.requests.{name}"),
                format!("must not be above {field}.resources.limits.{name}"),
            ));
        }
    }
    Ok(())
}
