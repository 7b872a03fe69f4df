//! `spec.server`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use wsc_contract::image::ImageRef;
use wsc_contract::paths::{self, ClientPath};
use wsc_contract::{env, ports};

use super::pod::{PodSettings, SecretKeyReference};
use crate::on_change::OnChange;

/// Server pods: image, port, path, capacity and pod settings.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServerSpec {
    /// Image of the server; without it the image that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = ImageRef::MAX_LENGTH), pattern(ImageRef::SCHEMA), extend("x-on-change" = OnChange::RollsServers))]
    #[x_kube(validation = Rule::new(format!("self.matches(r'{}')", ImageRef::SCHEMA))
        .message(format!("server.image must be {}", ImageRef::RULE).as_str()))]
    pub image: Option<String>,

    /// Port on which the server accepts WebSocket connections.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1024, max = 65535), extend("x-on-change" = OnChange::RollsServers))]
    #[x_kube(validation = Rule::new(format!("self != {}", ports::CONTROL.number))
        .message(format!("server.port must not be {}: it is the control port", ports::CONTROL.number).as_str()))]
    pub port: i32,

    /// URL path of the WebSocket endpoint: `{path}` joins the room `main`, `{path}/{room}` the room `{room}`.
    #[serde(default = "default_path")]
    #[schemars(
        length(min = 2, max = ClientPath::MAX_LENGTH),
        pattern(ClientPath::SCHEMA),
        extend("x-on-change" = OnChange::UpdatesProxies)
    )]
    #[x_kube(validation = Rule::new(format!("self.matches(r'{}')", ClientPath::SCHEMA))
        .message(format!("server.path must be {}", ClientPath::RULE).as_str()))]
    #[x_kube(validation = Rule::new(format!("self != '{0}' && !self.startsWith('{0}/')", paths::RESERVED))
        .message(format!("server.path must not be {} or below it: these paths are reserved", paths::RESERVED).as_str()))]
    pub path: String,

    /// Connections that a server pod accepts; fewer where the limit of open files of its process is lower.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1, max = 60000), extend("x-on-change" = OnChange::RollsServers))]
    pub max_connections: i32,

    /// Time in which a new server pod must become ready, counted from when it has a node and its server reaches Redis. A pod that does
    /// not is replaced; three in a row stop the creation of more (condition `Stalled`).
    #[serde(default = "default_start_deadline_seconds")]
    #[schemars(range(min = 30, max = 86400), extend("x-on-change" = OnChange::Immediate))]
    pub start_deadline_seconds: i32,

    /// Additional environment variables of the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,

    /// Time in which a deleted server pod closes its connections, spread over the period, before the kubelet kills it.
    #[serde(default = "default_termination_grace_period_seconds")]
    #[schemars(range(min = 10, max = 3600), extend("x-on-change" = OnChange::RollsServers))]
    pub termination_grace_period_seconds: i32,

    #[serde(flatten)]
    pub pod: PodSettings,
}

/// Environment variable: a value, or a key of a Secret in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.valueFrom)")
    .message("server.env: each variable needs exactly one of value and valueFrom"))]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 128), pattern(r"^[A-Za-z_][A-Za-z0-9_]*$"), extend("x-on-change" = OnChange::RollsServers))]
    #[x_kube(validation = Rule::new(format!("self != '{}' && !self.startsWith('{}')", env::server::POD_NAME, env::PREFIX))
        .message(format!("server.env: names that start with {} and {} are set by the operator", env::PREFIX, env::server::POD_NAME).as_str()))]
    pub name: String,

    /// Literal value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), extend("x-on-change" = OnChange::RollsServers))]
    pub value: Option<String>,

    /// Source of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// Source of the value of a variable.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVarSource {
    /// Key of a Secret.
    pub secret_key_ref: SecretKeyReference,
}

impl Default for ServerSpec {
    fn default() -> Self {
        Self {
            image: None,
            port: default_port(),
            path: default_path(),
            max_connections: default_max_connections(),
            start_deadline_seconds: default_start_deadline_seconds(),
            env: Vec::new(),
            termination_grace_period_seconds: default_termination_grace_period_seconds(),
            pod: PodSettings::default(),
        }
    }
}

fn default_port() -> i32 {
    i32::from(ports::SERVER.number)
}
fn default_path() -> String {
    ClientPath::DEFAULT.to_owned()
}
fn default_max_connections() -> i32 {
    10_000
}
fn default_start_deadline_seconds() -> i32 {
    600
}
fn default_termination_grace_period_seconds() -> i32 {
    60
}
