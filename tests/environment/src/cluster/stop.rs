//! `cluster down`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::handle::Cluster;
use super::{cgroups, forward, processes};
use crate::cache::Cache;
use crate::machine;
use crate::process::eventually;
use crate::steps::Steps;

/// How long ending a cluster may take.
pub(super) const END: Duration = Duration::from_secs(30);

/// `cluster down`.
pub fn down(cache: &Cache, steps: &Steps) -> Result<()> {
    machine::need_root("the local Kubernetes")?;
    let _lock = cache.lock()?;
    let _unused = cache.unused()?;
    steps.run("cluster down", || stop(&Cluster::at(cache)))
}

/// Ends everything that belongs to the cluster and removes its files.
pub(super) fn stop(cluster: &Cluster) -> Result<()> {
    if let Some(pid) = cluster.init() {
        processes::kill(pid);
        eventually(END, "the end of the cluster's processes", || {
            (!processes::alive(pid)).then_some(())
        })?;
    }
    forward::stop(&cluster.state)?;
    cgroups::remove()?;
    if cluster.state.exists() {
        fs::remove_dir_all(&cluster.state)
            .with_context(|| format!("removing {}", cluster.state.display()))?;
    }
    Ok(())
}
