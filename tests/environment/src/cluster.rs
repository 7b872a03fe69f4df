//! The local Kubernetes: one per machine, shared by all checkouts, in namespaces of its own.
//!
//! One process tree is the cluster (`tests/environment/kubernetes/cluster-init.sh` is its process 1), and each node is a tree nested in it. So it cannot
//! leave anything behind: killing process 1 ends all processes, mounts, networks and firewall rules at once; cgroups are removed after.

pub mod api_tier;
mod cgroups;
pub mod checks;
pub mod forward;
mod health;
mod processes;
mod start;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::process::eventually;
use crate::steps::Steps;
use crate::{kubernetes, machine};

pub(crate) use processes::Tree;
pub use start::up;

/// Where the cluster's process 1 keeps the API server.
const API_SERVER: &str = "10.89.0.1:6443";

/// Variables that would send the cluster's clients to a proxy outside of it.
const PROXY_VARIABLES: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];

/// A cluster that was started, alive or not.
pub struct Cluster {
    state: PathBuf,
    programs: PathBuf,
}

impl Cluster {
    /// The machine's cluster, as its files describe it.
    fn at(cache: &Cache) -> Self {
        let state = cache.path("cluster");
        let programs = fs::read_to_string(state.join("programs")).unwrap_or_default();
        Self {
            state,
            programs: PathBuf::from(programs),
        }
    }

    /// The running cluster, or what to type to have one.
    pub fn running(cache: &Cache) -> Result<Self> {
        machine::need_root("the local Kubernetes")?;
        let cluster = Self::at(cache);
        if cluster.init().is_none() {
            bail!("no local Kubernetes runs: start it by `cargo xtask cluster up`");
        }
        Ok(cluster)
    }

    /// Process 1 of the cluster, seen from the machine, when it lives.
    fn init(&self) -> Option<i32> {
        let pid = fs::read_to_string(self.state.join("init.pid"))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let script = self.script("cluster-init.sh");
        processes::arguments(pid)
            .iter()
            .any(|arg| Path::new(arg) == script)
            .then_some(pid)
    }

    fn script(&self, name: &str) -> PathBuf {
        self.state.join("scripts").join(name)
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Process 1's id on the machine, for tests that kill what runs in the cluster.
    pub fn pid(&self) -> Result<i32> {
        self.init().context("the cluster ended")
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The administrator's kubeconfig, good in the `client` namespace and in the control plane's.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("pki/admin.kubeconfig")
    }

    /// The same for the machine's own namespace, through the forwarded port.
    fn forwarded_kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    pub fn nodes(&self) -> u8 {
        fs::read_to_string(self.state.join("nodes"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// A command in the `client` network namespace, where Services and pods can be reached and nothing else, and where names such as
    /// `chat.default.svc` mean what they mean in a pod.
    pub fn client(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let pid = self.pid()?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{pid}/root/run/netns/client"));
        // A mount namespace of its own: the machine keeps its resolver.
        command.args(["unshare", "--mount", "--propagation", "slave", "sh", "-c"]);
        command.arg(r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#);
        command.arg(self.state.join("resolv.conf")).arg(program);
        Ok(self.clean(&command))
    }

    /// kubectl, in the control plane's network namespace.
    pub fn kubectl(&self) -> Result<Command> {
        let pid = self.pid()?;
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{pid}/ns/net"))
            .arg(self.program("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig());
        Ok(self.clean(&command))
    }

    /// A command in the namespaces of node `i`; paths that it is given have to be absolute.
    pub fn node(&self, i: u8, program: &str) -> Result<Command> {
        let pid = self
            .node_pid(i)
            .with_context(|| format!("node{i} does not run"))?;
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &pid.to_string(), "-m", "-n", "-p", "-u", "--"])
            .arg(self.program(program));
        Ok(self.clean(&command))
    }

    /// Process 1 of node `i`, seen from the machine: the script itself, not the `unshare` that started it.
    fn node_pid(&self, i: u8) -> Option<i32> {
        let script = self.script("node-init.sh");
        let (script, number) = (script.to_string_lossy(), i.to_string());
        Tree::read().below(self.init()?).into_iter().find(|&pid| {
            let arguments = processes::arguments(pid);
            arguments.len() == 3
                && arguments[1] == script
                && arguments[2] == number
                && processes::is_first_of_namespace(pid)
        })
    }

    fn clean(&self, command: &Command) -> Command {
        let mut clean = Command::new(command.get_program());
        clean.args(command.get_args());
        for variable in PROXY_VARIABLES {
            clean.env_remove(variable);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        clean.env(
            "PATH",
            format!("{}:/usr/sbin:/sbin:{path}", self.programs.display()),
        );
        clean
    }

    /// Ends everything that belongs to the cluster and removes its files.
    fn stop(&self) -> Result<()> {
        if let Some(pid) = self.init() {
            processes::kill(pid);
            eventually(start::END, "the end of the cluster's processes", || {
                (!processes::alive(pid)).then_some(())
            })?;
        }
        forward::stop(&self.state)?;
        cgroups::remove()?;
        if self.state.exists() {
            fs::remove_dir_all(&self.state).with_context(|| format!("removing {}", self.state.display()))?;
        }
        Ok(())
    }
}

/// `cluster down`.
pub fn down(cache: &Cache, steps: &Steps) -> Result<()> {
    machine::need_root("the local Kubernetes")?;
    let _lock = cache.lock()?;
    let _unused = cache.unused()?;
    steps.run("cluster down", || Cluster::at(cache).stop())
}

/// `cluster status`: what runs, in a person's words; an error when it is not healthy.
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
    if let Err(why) = health::check(&cluster) {
        bail!("not healthy: {why} (`cargo xtask cluster up` repairs it)");
    }
    crate::process::shown(cluster.kubectl()?.args(["get", "nodes,pods", "-A", "-o", "wide"]))
}
