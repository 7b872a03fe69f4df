//! The agent beside HAProxy. It makes the running HAProxy equal to what the operator published:
//! servers by the runtime socket, the structure by a reload that HAProxy accepted in a check
//! before.
//!
//! The path of a change: `source` reads it, `reconciler` compares it with what `observe` sees,
//! `sync` and `settings` send commands, `reload` replaces the structure, `folder` keeps what
//! HAProxy would start with, `admin` reports to the operator.

mod admin;
pub mod args;
pub mod check;
mod folder;
pub mod init;
mod metrics;
mod observe;
mod reconciler;
mod reload;
pub mod run;
mod settings;
mod socket;
mod source;
mod status;
mod sync;

/// A scrape with every metric and label, for the generated reference.
pub fn example_metrics() -> String {
    let metrics = metrics::Metrics::default();
    metrics.update(&wsc_contract::agent::AgentStatus::example());
    wsc_runtime::admin::metrics_text(metrics.registry())
}
