//! `spec.drain`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wsc_contract::close::CloseCode;

use crate::on_change::OnChange;

/// Connection draining of server pods that are removed by a scale-down or a rollout.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.naturalSeconds <= self.deadlineSeconds")
    .message("drain.naturalSeconds must not be above drain.deadlineSeconds")
    .field_path(".naturalSeconds"))]
pub struct DrainSpec {
    /// Time in which a draining pod waits for clients to disconnect on their own, before it requests them to reconnect; a rollout waits
    /// at most 60 seconds.
    #[serde(default = "default_natural_seconds")]
    #[schemars(range(min = 0, max = 86400), extend("x-on-change" = OnChange::Immediate))]
    pub natural_seconds: i32,

    /// Time from the start of a drain until `onDeadline` applies.
    #[serde(default = "default_deadline_seconds")]
    #[schemars(range(min = 1, max = 86400), extend("x-on-change" = OnChange::NewDrainsOnly))]
    pub deadline_seconds: i32,

    /// Handling of the remaining clients at the deadline: `Close` requests them to reconnect and then deletes the pod, `Wait` never deletes
    /// a pod that has clients.
    #[serde(default)]
    #[schemars(extend("x-on-change" = OnChange::Immediate))]
    pub on_deadline: OnDeadline,

    /// Close frame sent to clients that must reconnect.
    #[serde(default)]
    pub notice: NoticeSpec,
}

/// What happens at the deadline of a drain.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeadline {
    #[default]
    Close,
    Wait,
}

/// Close frame sent to clients that must reconnect.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NoticeSpec {
    /// WebSocket close code; 1012 is "service restart".
    #[serde(default = "default_close_code")]
    #[schemars(extend("x-on-change" = OnChange::Immediate))]
    #[x_kube(validation = Rule::new(CloseCode::CEL_RULE)
        .message(format!("drain.notice.closeCode must be {}", CloseCode::RULE).as_str()))]
    pub close_code: i32,

    /// Upper limit of the random reconnect delay that the close reason names to each client.
    #[serde(default = "default_jitter_seconds")]
    #[schemars(range(min = 0, max = 600), extend("x-on-change" = OnChange::Immediate))]
    pub jitter_seconds: i32,
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self {
            natural_seconds: default_natural_seconds(),
            deadline_seconds: default_deadline_seconds(),
            on_deadline: OnDeadline::default(),
            notice: NoticeSpec::default(),
        }
    }
}

impl Default for NoticeSpec {
    fn default() -> Self {
        Self {
            close_code: default_close_code(),
            jitter_seconds: default_jitter_seconds(),
        }
    }
}

fn default_natural_seconds() -> i32 {
    600
}
fn default_deadline_seconds() -> i32 {
    1800
}
fn default_close_code() -> i32 {
    1012
}
fn default_jitter_seconds() -> i32 {
    30
}
