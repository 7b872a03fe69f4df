use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{PodSettings, SecretKeyReference};

/// The server pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServerSpec {
    /// Image of our server (default: the one that the operator was installed with; at most 512 characters). A change replaces the
    /// server pods one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), pattern(r"^[a-zA-Z0-9][-a-zA-Z0-9._:/@]*$"))]
    pub image: Option<String>,

    /// Port that the server listens on for clients (default 8080, 1024 to 65535, not 9090). A change rolls the server pods.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1024, max = 65535))]
    #[x_kube(validation = Rule::new("self != 9090").message("server.port must not be 9090: it is the port of the control contract"))]
    pub port: i32,

    /// Path that clients connect to: `{path}` is the room `main`, `{path}/{room}` a room (default `/ws`, at most 128 characters, not below
    /// `/wsc`). A change rolls the server pods and reloads HAProxy.
    #[serde(default = "default_path")]
    #[schemars(length(min = 2, max = 128), pattern(r"^(/[A-Za-z0-9._~-]+)+$"))]
    #[x_kube(validation = Rule::new("self != '/wsc' && !self.startsWith('/wsc/')").message("server.path must not be /wsc or below it: these paths are ours"))]
    pub path: String,

    /// Connections that a pod takes (connections, default 10000, 1 to 60000; a pod offers less where its limit of open files is lower).
    /// A change rolls the server pods.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1, max = 60000))]
    pub max_connections: i32,

    /// More environment for the server (default none, at most 64; names that start with `WSC_` and `POD_NAME` are ours).
    /// A change rolls the server pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,

    /// How long a server pod that is deleted has to close its clients one by one (seconds, default 60, 10 to 3600).
    /// A change rolls the server pods.
    #[serde(default = "default_termination_grace_period_seconds")]
    #[schemars(range(min = 10, max = 3600))]
    pub termination_grace_period_seconds: i32,

    #[serde(flatten)]
    pub pod: PodSettings,
}

/// One environment variable: a value, or a key of a Secret of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.valueFrom)")
    .message("server.env: each variable needs exactly one of value and valueFrom"))]
pub struct EnvVar {
    /// Name of the variable (required, 1 to 128 characters). A change rolls the server pods.
    #[schemars(length(min = 1, max = 128), pattern(r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    #[x_kube(validation = Rule::new("self != 'POD_NAME' && !self.startsWith('WSC_')")
        .message("server.env: names that start with WSC_ and POD_NAME are set by the operator"))]
    pub name: String,

    /// Plain value (default none, at most 4096 characters). A change rolls the server pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,

    /// Where the value comes from (default none). A change rolls the server pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// Where a variable's value comes from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVarSource {
    /// A key of a Secret (required). A change rolls the server pods.
    pub secret_key_ref: SecretKeyReference,
}

impl Default for ServerSpec {
    fn default() -> Self {
        Self {
            image: None,
            port: default_port(),
            path: default_path(),
            max_connections: default_max_connections(),
            env: Vec::new(),
            termination_grace_period_seconds: default_termination_grace_period_seconds(),
            pod: PodSettings::default(),
        }
    }
}

fn default_port() -> i32 {
    8080
}
fn default_path() -> String {
    "/ws".to_owned()
}
fn default_max_connections() -> i32 {
    10_000
}
fn default_termination_grace_period_seconds() -> i32 {
    60
}
