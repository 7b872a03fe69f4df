//! The operator's shell: what it sees it hands to `wsc_core::plan`, and what that says it does.
//!
//! `observe (I/O) -> validate -> plan (pure) -> apply (I/O) -> report (I/O)`, once per cluster and event; see [`controller`].

pub mod admin;
pub mod api;
pub mod apply;
pub mod args;
pub mod context;
pub mod control;
pub mod controller;
pub mod error;
pub mod observe;
pub mod report;
pub mod run;
pub mod sample;
pub mod state;
pub mod status;
pub mod watch;

#[cfg(test)]
mod testing;
