//! `spec.disruption`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::on_change::OnChange;

/// Limits on the number and the rate of connections that drains move to other pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionSpec {
    /// Connections that drains may move in a minute, as a number or a percentage of all connections; lower while Redis is unreachable,
    /// exceeded only at the deadline of a drain.
    #[serde(default = "default_moves_per_minute")]
    #[schemars(extend("x-on-change" = OnChange::Immediate))]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 1 && self <= 1000000 : string(self).matches('^([1-9]|[1-9][0-9]|100)%$')")
        .message("disruption.movesPerMinute must be 1 to 1000000 connections or 1% to 100%"))]
    pub moves_per_minute: IntOrString,

    /// Limit of the connections that drains move in a second, besides `movesPerMinute`.
    #[serde(default = "default_max_moves_per_second")]
    #[schemars(range(min = 1, max = 10000), extend("x-on-change" = OnChange::Immediate))]
    pub max_moves_per_second: i32,

    /// Server pods that may drain at the same time, as a number or a percentage of the active ones, rounded up.
    #[serde(default = "default_max_concurrent_drains")]
    #[schemars(extend("x-on-change" = OnChange::Immediate))]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 1 && self <= 2000 : string(self).matches('^([1-9]|[1-9][0-9]|100)%$')")
        .message("disruption.maxConcurrentDrains must be 1 to 2000 pods or 1% to 100%"))]
    pub max_concurrent_drains: IntOrString,
}

impl Default for DisruptionSpec {
    fn default() -> Self {
        Self {
            moves_per_minute: default_moves_per_minute(),
            max_moves_per_second: default_max_moves_per_second(),
            max_concurrent_drains: default_max_concurrent_drains(),
        }
    }
}

fn default_moves_per_minute() -> IntOrString {
    IntOrString::String("20%".to_owned())
}
fn default_max_moves_per_second() -> i32 {
    200
}
fn default_max_concurrent_drains() -> IntOrString {
    IntOrString::String("10%".to_owned())
}
