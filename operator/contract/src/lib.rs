//! What the programs of this project exchange, each thing once: documents, names, ports, headers,
//! origins, close codes, rooms. Types and pure rules only; no client, no clock, no environment.

mod described;

pub mod agent;
pub mod close;
pub mod control;
pub mod cookie;
pub mod env;
pub mod files;
pub mod handshake;
pub mod headers;
pub mod image;
pub mod labels;
pub mod names;
pub mod origin;
pub mod paths;
pub mod ports;
pub mod redis;
pub mod room;

pub use described::Described;
