//! The WebSocket server: rooms, broadcast through Redis, graceful drain.
//!
//! A message of a client is published to its room through the `broker` and comes back from it to
//! every member, the sender included: one path, and so one order for all. `hub`, `outbox`,
//! `protocol` and the codec in `websocket` know no HTTP; `session` works on any stream and sink of
//! frames.

mod admin;
pub mod args;
mod broker;
pub mod config;
pub mod handshake;
mod hub;
mod lifecycle;
mod listener;
pub mod metrics;
mod outbox;
pub mod protocol;
pub mod run;
mod server;
mod session;
pub mod websocket;
