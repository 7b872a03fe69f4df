//! Removes the cgroups that the cluster's containers were in. (Namespaces end with their processes;
//! cgroups do not.)

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::processes;
use crate::process::eventually;

/// The parent of all of the cluster's cgroups, as in `tests/environment/kubernetes/env.sh`.
const PARENT: &str = "wsc-test";

/// How long the kernel may need to let go of ended processes.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn remove() -> Result<()> {
    eventually(LIMIT, "removing the cluster's cgroups", || {
        let parents = parents();
        for parent in &parents {
            remove_tree(parent);
        }
        parents.is_empty().then_some(())
    })
}

/// One per controller (version 1), or the one (version 2).
pub(super) fn parents() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    controllers
        .chain([root.to_path_buf()])
        .map(|controller| controller.join(PARENT))
        .filter(|parent| parent.is_dir())
        .collect()
}

/// Deepest first; processes that are left in one are killed, so that the next look can remove it.
fn remove_tree(group: &Path) {
    for child in fs::read_dir(group)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        remove_tree(&child);
    }
    if fs::remove_dir(group).is_err() {
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        members
            .lines()
            .filter_map(|pid| pid.parse().ok())
            .for_each(processes::kill);
    }
}
