//! The real operator, out of the cluster and with the permissions of the chart, in front of
//! stand-in pods.

mod autoscaler;
mod capacity;
mod children;
mod crashes;
mod idle;
mod invalid;
mod namespaces;
mod ownership;
mod pins;
mod redis;
mod rejected;
mod restarts;
mod restored;
mod second;
mod twins;

use serde_json::{Value, json};

/// Small and quick: two server pods, one proxy.
fn small() -> Value {
    json!({
        "scaling": {"minReplicas": 2, "maxReplicas": 20},
        "proxy": {"replicas": 1},
    })
}
