//! Breaks the cluster and looks whether its own commands mend it: what a person sees of them, so it
//! needs the machine's one cluster.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::handle::Cluster;
use super::processes::{self, Tree};
use super::start::up;
use super::stop::down;
use super::{cgroups, health};
use crate::cache::Cache;
use crate::process::eventually;
use crate::steps::Steps;

/// The kernel ends a tree of processes at once, and the health check sees it.
const NOTICED: Duration = Duration::from_secs(10);

/// A name and what is looked at.
pub type Check = (&'static str, fn(&Cache, &Steps) -> Result<()>);

/// In this order: each begins with what the one before has left.
pub const CHECKS: [Check; 4] = [
    ("a dead node is repaired", repairs_a_node),
    ("a dead cluster is built anew", builds_anew),
    ("down leaves nothing", leaves_nothing),
    ("two ups wait for each other", waits),
];

/// The rest of the cluster goes on: it is the same process 1 afterwards.
fn repairs_a_node(cache: &Cache, steps: &Steps) -> Result<()> {
    let cluster = up(cache, steps, None)?;
    let (init, node) = (cluster.pid()?, cluster.node_pid(1).context("no node1")?);
    processes::kill(node);
    eventually(NOTICED, "node1 to be missed", || health::check(&cluster).err())?;
    let repaired = up(cache, steps, None)?;
    health::check(&repaired)?;
    ensure!(
        repaired.pid()? == init,
        "it was built anew instead of being repaired"
    );
    ensure!(
        repaired.node_pid(1) != Some(node),
        "the node that was killed lives"
    );
    Ok(())
}

fn builds_anew(cache: &Cache, steps: &Steps) -> Result<()> {
    processes::kill(Cluster::running(cache)?.pid()?);
    let cluster = up(cache, steps, Some(3))?;
    health::check(&cluster)?;
    ensure!(cluster.nodes() == 3, "it has {} nodes", cluster.nodes());
    Ok(())
}

fn leaves_nothing(cache: &Cache, steps: &Steps) -> Result<()> {
    let cluster = Cluster::running(cache)?;
    let mut before = Tree::read().below(cluster.pid()?);
    before.push(cluster.pid()?);
    let state = cluster.state().to_owned();
    down(cache, steps)?;
    let alive = before.into_iter().find(|&pid| processes::alive(pid));
    ensure!(
        alive.is_none(),
        "process {alive:?} ({:?}) lives",
        alive.map(processes::name)
    );
    ensure!(!state.exists(), "{} is there", state.display());
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts
        .lines()
        .find(|line| line.contains(&*state.to_string_lossy()));
    ensure!(mount.is_none(), "a mount is left: {mount:?}");
    // A network namespace lives as long as a process in it, or a mount of it.
    ensure!(
        !mounts.lines().any(|line| line.contains("/run/netns/")),
        "a network namespace is left"
    );
    let groups = cgroups::parents();
    ensure!(groups.is_empty(), "cgroups are left: {groups:?}");
    Ok(())
}

fn waits(cache: &Cache, steps: &Steps) -> Result<()> {
    let start = || {
        // By this name and not by the path: cargo may have replaced the file meanwhile.
        Command::new(Path::new("/proc/self/exe"))
            .args(["cluster", "up"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting `cluster up`")
    };
    let mut both = [start()?, start()?];
    for child in &mut both {
        let status = child.wait()?;
        ensure!(status.success(), "one of two `cluster up` ended with {status}");
    }
    health::check(&Cluster::running(cache)?)?;
    down(cache, steps)
}
