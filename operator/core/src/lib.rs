//! The decisions of the operator: values in, values out.
//!
//! `observe (I/O) -> validate -> plan -> apply (I/O) -> report (I/O)`: this crate is the middle. It has no client, no clock, no
//! environment and no random source; `now` is an argument. See `docs/architecture.md`.

pub mod observed;
pub mod plan;
pub mod resources;
pub mod validate;

mod backends;
mod budget;
mod children;
mod conditions;
mod drain;
mod expected;
mod numbers;
mod pool;
mod rollout;
mod scale;
mod serials;
#[cfg(test)]
mod simulation;
mod starts;
mod status;
#[cfg(test)]
mod testing;
mod victim;
