//! `spec.redis`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use wsc_contract::redis::RedisUrl;

use super::pod::{PodSettings, SecretKeyReference};
use crate::on_change::OnChange;

/// Redis that carries broadcasts between server pods: `managed` or `external`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.managed) && has(self.external))")
    .message("redis.managed and redis.external exclude each other"))]
pub struct RedisSpec {
    /// Single Redis without persistence that the operator runs; used when `external` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedRedis>,

    /// Existing Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalRedis>,
}

/// Single Redis without persistence that the operator runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManagedRedis {
    #[serde(flatten)]
    pub pod: PodSettings,
}

/// Existing Redis: exactly one of `url` and `urlSecretRef`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.url) != has(self.urlSecretRef)")
    .message("redis.external needs exactly one of url and urlSecretRef"))]
pub struct ExternalRedis {
    /// URL `redis://host[:port][/database]`, or `rediss://` for TLS, without user and password; use `urlSecretRef` for a URL with
    /// credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = RedisUrl::MAX_LENGTH),
        pattern(RedisUrl::SCHEMA),
        extend("x-on-change" = OnChange::RollsServers)
    )]
    #[x_kube(validation = Rule::new(format!("self.matches(r'{}')", RedisUrl::SCHEMA))
        .message(format!("redis.external.url must be {}", RedisUrl::RULE).as_str()))]
    pub url: Option<String>,

    /// Secret key that holds the URL, with user and password if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret_ref: Option<SecretKeyReference>,
}
