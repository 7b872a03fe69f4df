//! A cluster by its files, and commands in its namespaces.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::processes::{self, Tree};
use crate::cache::Cache;
use crate::machine;

/// Variables that would send the cluster's clients to a proxy outside of it.
pub(super) const PROXY_VARIABLES: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];

/// Where the cluster's process 1 keeps the API server.
pub(super) const API_SERVER: &str = "10.89.0.1:6443";

/// A cluster that was started, alive or not.
pub struct Cluster {
    pub(super) state: PathBuf,
    pub(super) programs: PathBuf,
}

impl Cluster {
    /// The machine's cluster, as its files describe it.
    pub(super) fn at(cache: &Cache) -> Self {
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
    pub(super) fn init(&self) -> Option<i32> {
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

    /// Process 1's id on the machine, for tests that kill processes of the cluster.
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
    pub(super) fn forwarded_kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    pub fn nodes(&self) -> u8 {
        fs::read_to_string(self.state.join("nodes"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// A command in the `client` network namespace, where Services and pods can be reached and
    /// nothing else, and where names such as `chat.default.svc` mean what they mean in a pod.
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

    /// Process 1 of node `i`, seen from the machine: the script itself, not the `unshare` that
    /// started it.
    pub(super) fn node_pid(&self, i: u8) -> Option<i32> {
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
}
