//! The `WebSocketCluster` resource: its types, its schema and the names that every program of this project shares.
//!
//! Nothing here talks to anybody: no client, no clock, no environment. `cargo xtask gen` writes [`crd()`] to `crds/` and the
//! reference in `docs/` from the same schema.

#![expect(
    unreachable_pub,
    clippy::struct_field_names,
    reason = "the KubeSchema derive makes a private copy of each type, without its attributes"
)]

pub mod names;
mod schema;
pub mod v1alpha1;

pub use schema::crd;

#[cfg(test)]
mod tests;
