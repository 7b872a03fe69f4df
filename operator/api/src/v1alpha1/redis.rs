//! `spec.redis`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::pod::{PodSettings, SecretKeyReference};
use crate::on_change::OnChange;

/// Also a rule, whose message shows the valid form.
const URL_PATTERN: &str = r"^rediss?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[0-9]{1,3})?$";

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
        length(min = 1, max = 512),
        pattern(URL_PATTERN),
        extend("x-on-change" = OnChange::RollsServers)
    )]
    #[x_kube(validation = Rule::new(format!("self.matches(r'{URL_PATTERN}')"))
        .message("redis.external.url must be redis://HOST[:PORT][/DATABASE], or rediss:// for TLS, without user and password"))]
    pub url: Option<String>,

    /// Secret key that holds the URL, with user and password if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret_ref: Option<SecretKeyReference>,
}
