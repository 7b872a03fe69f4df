//! The suites against a real API server without nodes: what it accepts and refuses, what the
//! operator may do, and what the real operator does with stand-ins for kubelets and pods.
//! `cargo xtask test api` runs them.

#[cfg(test)]
mod chart;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod rbac;
#[cfg(test)]
mod resource;
#[cfg(test)]
mod support;
