//! Faults between a program and what it talks to: on streams of bytes ([`StreamProxy`]) and on
//! single requests ([`HttpProxy`]).
//!
//! Both listen on loopback, are without effect until a test says otherwise, and are gone with all
//! their connections when dropped.

mod gate;
mod http;
mod stream;

pub use gate::Gate;
pub use http::{Call, HttpProxy, Upstream, Verdict};
pub use stream::{Address, Direction, StreamProxy};
