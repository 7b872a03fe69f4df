//! The agent against a real HAProxy, with real servers behind it.

mod api_server;
mod configurations;
mod conformance;
mod failures;
mod headers;
mod origins;
mod pool;
mod refused;
mod servers;
mod settings;
mod start;
mod structure;
mod traffic;
