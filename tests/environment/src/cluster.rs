//! The local Kubernetes: one per machine, shared by all checkouts, in namespaces of its own.
//!
//! One process tree is the cluster (`tests/environment/kubernetes/cluster-init.sh` is its process
//! 1), and each node is a tree nested in it. So it cannot leave anything behind: killing process 1
//! ends all processes, mounts, networks and firewall rules at once; cgroups are removed after.

pub mod api_tier;
mod cgroups;
pub mod checks;
pub mod forward;
mod handle;
mod health;
mod processes;
mod start;
mod stop;

pub use handle::Cluster;
pub use health::status;
pub use start::up;
pub use stop::down;
