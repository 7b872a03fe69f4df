//! Checks whether the cluster is complete; cheap enough for every use.

use std::collections::HashSet;

use anyhow::{Result, bail};

use super::handle::Cluster;
use super::processes::{self, Tree};
use crate::cache::Cache;
use crate::kubernetes;
use crate::process::{output, shown};

/// The control plane's programs, by the 15 characters that the kernel keeps of a name.
const CONTROL_PLANE: [&str; 5] = [
    "etcd",
    "kube-apiserver",
    "kube-controller",
    "kube-scheduler",
    "coredns",
];

/// The programs of a node.
const NODE: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];

/// `cluster status`: prints the state of the cluster; an error when it is not healthy.
pub fn status(cache: &Cache) -> Result<()> {
    let cluster = Cluster::running(cache)?;
    println!("state       {}", cluster.state.display());
    println!(
        "programs    {} ({})",
        cluster.programs.display(),
        kubernetes::kubernetes_version()?
    );
    println!("process 1   {}", cluster.pid()?);
    println!("audit log   {}", cluster.state.join("audit.log").display());
    println!("KUBECONFIG  {}", cluster.forwarded_kubeconfig().display());
    if let Err(why) = check(&cluster) {
        bail!("not healthy: {why} (`cargo xtask cluster up` repairs it)");
    }
    shown(cluster.kubectl()?.args(["get", "nodes,pods", "-A", "-o", "wide"]))
}

/// An error names what is missing.
pub(super) fn check(cluster: &Cluster) -> Result<()> {
    let Some(init) = cluster.init() else {
        bail!("its process 1 has ended")
    };
    let tree = Tree::read();
    let names = |pid| {
        tree.below(pid)
            .into_iter()
            .map(processes::name)
            .collect::<HashSet<_>>()
    };
    let running = names(init);
    if let Some(program) = CONTROL_PLANE.iter().find(|program| !running.contains(**program)) {
        bail!("{program} does not run");
    }
    for i in 1..=cluster.nodes() {
        let Some(node) = cluster.node_pid(i) else {
            bail!("node{i} does not run")
        };
        let running = names(node);
        if let Some(program) = NODE.iter().find(|program| !running.contains(**program)) {
            bail!("{program} of node{i} does not run");
        }
    }
    let Ok(ready) = output(
        cluster
            .kubectl()?
            .args(["get", "nodes", "--request-timeout=5s", "-o", READY]),
    ) else {
        bail!("the API server does not respond");
    };
    let count = ready.split_whitespace().filter(|word| *word == "True").count();
    if count != usize::from(cluster.nodes()) {
        bail!("{count} of {} nodes are Ready", cluster.nodes());
    }
    Ok(())
}

/// One word per node: the status of its condition Ready.
const READY: &str = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{" "}{end}"#;
