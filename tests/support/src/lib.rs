//! Test support: a recording client, a pool of them with one record and one checker, real HAProxy,
//! Redis and server processes on free ports, access to the local Kubernetes, reports of stand-in
//! pods, and a fault proxy to put in front of any of them.

pub mod arrivals;
pub mod autobahn;
pub mod client;
pub mod clients;
pub mod cluster;
pub mod cpu;
#[cfg(target_os = "linux")]
pub mod epoll;
pub mod faults;
pub mod frames;
pub mod haproxy;
pub mod http1;
pub mod output;
pub mod ports;
pub mod redis;
pub mod server;
pub mod sockets;
pub mod stand_in;
pub mod svg;
