//! The `WebSocketCluster` resource: types and schema. No client, no clock, no environment.
//!
//! `cargo xtask gen` writes [`crd()`] to `crds/`, and the reference in `docs/` from the same schema
//! and [`on_change()`].

#![expect(
    unreachable_pub,
    clippy::struct_field_names,
    reason = "the KubeSchema derive makes a private copy of each type, without its attributes"
)]

mod effects;
pub mod embedded;
mod on_change;
mod schema;
pub mod syntax;
pub mod v1alpha1;

pub use effects::on_change;
pub use on_change::OnChange;
pub use schema::crd;

#[cfg(test)]
mod tests;
