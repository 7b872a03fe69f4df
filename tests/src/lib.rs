//! What the tests of this project stand on: clients that record everything that happens to them, real HAProxy, Redis and server
//! processes on free ports, a real local Kubernetes, and a fault proxy to put in front of any of them.

pub mod autobahn;
pub mod bench;
pub mod client;
pub mod cluster;
pub mod demo;
pub mod faults;
pub mod haproxy;
pub mod http1;
pub mod ports;
pub mod redis;
pub mod server;
pub mod sockets;
