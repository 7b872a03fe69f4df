//! A port on the machine's loopback that leads to the API server in the cluster's network
//! namespace, for a person's own kubectl.
//!
//! A small process of its own: it outlives the `cargo xtask` that started it and ends with the
//! cluster.

#[cfg(target_os = "linux")]
mod serve;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::handle::{API_SERVER, Cluster};
use super::processes;
use crate::process::eventually;

#[cfg(target_os = "linux")]
pub use serve::run;

/// Elsewhere no cluster runs.
#[cfg(not(target_os = "linux"))]
pub fn run(_: &Path, _: i32) -> Result<()> {
    crate::machine::need_linux("the forwarder")
}

/// How long the forwarder may take to listen.
const LISTEN: Duration = Duration::from_secs(10);

/// Starts the forwarder unless it runs, and writes the kubeconfig that leads to it.
pub(super) fn start(cluster: &Cluster) -> Result<()> {
    let state = &cluster.state;
    if !running(state) {
        let port = state.join("forward.port");
        if port.exists() {
            fs::remove_file(&port)?;
        }
        // By this name and not by the path: cargo may have replaced the file meanwhile.
        let child = Command::new("/proc/self/exe")
            .arg("forward")
            .arg(state)
            .arg(cluster.pid()?.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(state.join("log/forward"))?)
            .spawn();
        child.context("starting the forwarder")?;
        let number = eventually(LISTEN, "the forwarded port", || {
            fs::read_to_string(&port).ok().filter(|text| text.ends_with('\n'))
        })?;
        let kubeconfig = fs::read_to_string(cluster.kubeconfig())?;
        let kubeconfig = kubeconfig.replace(API_SERVER, &format!("127.0.0.1:{}", number.trim()));
        fs::write(cluster.forwarded_kubeconfig(), kubeconfig)?;
    }
    println!("export KUBECONFIG={}", cluster.forwarded_kubeconfig().display());
    Ok(())
}

/// Ends the forwarder.
pub(super) fn stop(state: &Path) -> Result<()> {
    let Some(pid) = pid(state) else { return Ok(()) };
    processes::kill(pid);
    eventually(LISTEN, "the end of the forwarder", || {
        (!processes::alive(pid)).then_some(())
    })
}

fn pid(state: &Path) -> Option<i32> {
    let pid = fs::read_to_string(state.join("forward.pid"))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let arguments = processes::arguments(pid);
    (arguments.iter().any(|arg| arg == "forward") && arguments.iter().any(|arg| Path::new(arg) == state))
        .then_some(pid)
}

fn running(state: &Path) -> bool {
    pid(state).is_some()
}
