//! End to end: the shipped images and the chart on a real Kubernetes, with clients that record
//! every close.
//!
//! Each test has a namespace of its own with an operator of its own that serves only this
//! namespace, so that it may kill, upgrade and uninstall it. Run by
//! `cargo xtask test e2e [FILTER]`.

mod changes;
mod chart;
mod environment;
mod failures;
mod images;
mod memory;
mod outage;
mod redis;
mod rollout;
mod scaling;
