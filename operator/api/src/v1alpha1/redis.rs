use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{PodSettings, SecretKeyReference};

/// The Redis that carries broadcasts between pods: `managed` or `external`, not both.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.managed) && has(self.external))")
    .message("redis.managed and redis.external exclude each other"))]
pub struct RedisSpec {
    /// A small Redis that the operator runs (default when `external` is absent). It keeps nothing over a restart. A change restarts it:
    /// clients stay connected, messages of these seconds are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedRedis>,

    /// A Redis of your own (default none). A change rolls the server pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalRedis>,
}

/// A small Redis that the operator runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManagedRedis {
    #[serde(flatten)]
    pub pod: PodSettings,
}

/// A Redis of your own: exactly one of `url` and `urlSecretRef`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.url) != has(self.urlSecretRef)")
    .message("redis.external needs exactly one of url and urlSecretRef"))]
pub struct ExternalRedis {
    /// `redis://host[:port][/database]` or `rediss://…` for TLS (default none, at most 512 characters). No user and no password:
    /// they belong into a Secret, see `urlSecretRef`. A change rolls the server pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 512),
        pattern(r"^rediss?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[0-9]{1,3})?$")
    )]
    pub url: Option<String>,

    /// The Secret key that holds the URL, with user and password if there are any (default none). A change rolls the server pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret_ref: Option<SecretKeyReference>,
}
