//! The operator's shell: API calls around [`wsc_core::decide`]. The steps of a reconcile are in
//! `docs/architecture.md`.

pub mod args;
pub mod run;

mod admin;
mod api;
mod apply;
mod clock;
mod context;
mod control;
mod controller;
mod error;
mod identity;
mod observe;
mod quiet;
mod report;
mod sample;
mod slots;
mod state;
mod status;
mod watch;
mod worker;

pub use report::metrics::example as example_metrics;

#[cfg(test)]
mod testing;
