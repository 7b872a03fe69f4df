//! The agent beside HAProxy. It makes the running HAProxy equal to what the operator published: servers by the runtime socket,
//! the structure by a reload that HAProxy itself found good before.
//!
//! The way of a change: [`source`] reads it, [`keeper`] compares it with what [`observe`] sees, `sync` sends commands, [`reload`]
//! replaces the structure, [`folder`] holds what HAProxy would start with, [`admin`] tells the operator.

pub mod admin;
pub mod args;
pub mod check;
pub mod folder;
pub mod init;
pub mod keeper;
pub mod log;
pub mod metrics;
pub mod observe;
pub mod reload;
pub mod run;
pub mod socket;
pub mod source;
pub mod status;
mod sync;
