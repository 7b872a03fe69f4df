//! The decisions of the operator: values in, values out.
//!
//! Of the steps of a reconcile (`docs/architecture.md`) this crate validates and decides. It has no
//! client, no clock, no environment and no random source; `now` is an argument.

pub mod common;
pub mod drift;
pub mod failures;
pub mod live;
pub mod memory;
pub mod nodes;
pub mod observed;
pub mod pins;
pub mod plan;
pub mod resources;
pub mod revision;
pub mod samples;
pub mod sampling;
pub mod serials;
pub mod status;
pub mod validate;

mod assess;
mod backends;
mod budget;
mod capacity;
mod children;
mod conditions;
mod control;
mod crashes;
mod decide;
mod draft;
mod drain;
mod expectations;
mod goal;
mod hash;
mod hold;
mod moves;
mod numbers;
mod outdated;
mod outlook;
mod pace;
mod pod_metadata;
mod pool;
mod quantity;
mod rates;
mod reach;
mod rollout;
mod scale;
#[cfg(test)]
mod simulation;
mod starts;
mod startup;
#[cfg(test)]
mod testing;
mod victim;

pub use decide::decide;
pub use outlook::{Outlook, outlook};
