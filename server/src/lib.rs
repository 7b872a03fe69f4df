//! The WebSocket server: rooms, broadcast through Redis, gentle drain.
//!
//! What a client sends goes to its room through the [`broker`], and comes back from it to every member, the sender included:
//! one road, and so one order for all. `hub`, `outbox`, `protocol`, `frame`, `capacity` and the pacing in
//! `drain` know no socket and no HTTP; `session` works on any stream and sink of frames, and its `lane` on any stream of bytes.

pub mod admin;
pub mod app;
pub mod args;
pub mod broker;
pub mod capacity;
pub mod clients;
pub mod config;
pub mod drain;
pub mod frame;
pub mod handshake;
pub mod hub;
pub mod listen;
pub mod memory;
pub mod metrics;
pub mod outbox;
pub mod protocol;
pub mod run;
pub mod session;
pub mod shards;
pub mod shed;
pub mod wheel;
