//! What the tests, the demo and the benches run on: a local Kubernetes, HAProxy and Redis of Debian
//! 13, the shipped images, the Autobahn suite and peers. Each is built once per machine and kept in
//! a cache. `cargo xtask` provides them.
#![expect(clippy::print_stdout, reason = "steps are printed for people at a terminal")]

pub mod autobahn;
mod buildah;
pub mod cache;
pub mod cargo;
pub mod cluster;
pub mod debian;
mod go;
pub mod helm;
pub mod images;
pub mod interrupt;
pub mod kubernetes;
pub mod machine;
mod pause;
pub mod peers;
pub mod plan;
pub mod process;
pub mod repository;
pub mod steps;
pub mod variables;
