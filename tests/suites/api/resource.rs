//! The resource on a real API server.

mod bad;
mod good;
mod subresources;

use serde_json::Value;

/// The spec with `value` at a dotted path, with objects made on the way.
fn with(mut spec: Value, at: &str, value: Value) -> Value {
    let mut place = &mut spec;
    for key in at.split('.') {
        place = &mut place[key];
    }
    *place = value;
    spec
}
