//! A proxy pod without Kubernetes: a real HAProxy and the real agent as processes, on free ports in
//! a temporary folder.
//!
//! HAProxy runs as in the image, master and worker, and is started again when it ends, as the
//! kubelet does with a container. The mounted `ConfigMap` is a folder that changes as the kubelet
//! changes it. Everything is killed on drop.

mod master;
mod mounted;
mod options;
mod pod;
mod question;

pub use options::{PodOptions, Source};
pub use pod::{ProxyPod, Signal, program};
pub use question::ask;
