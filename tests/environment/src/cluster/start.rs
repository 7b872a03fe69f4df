//! `cluster up`: reuses what is healthy, repairs a node that died, builds anew what cannot be
//! repaired.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::handle::Cluster;
use super::processes::{self, Tree};
use super::stop::stop;
use super::{forward, health};
use crate::cache::{Cache, Key};
use crate::kubernetes::{self, Programs};
use crate::process::{eventually, output, tail};
use crate::steps::Steps;
use crate::{machine, pause, repository};

/// How long one step of a start may take on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_mins(2);

/// How long a repair may take before the cluster is built anew.
const REPAIR: Duration = Duration::from_secs(30);

/// What runs in the cluster's namespaces; copied into its state, so that it does not depend on the
/// checkout that started it.
const SCRIPTS: [&str; 5] = [
    "env.sh",
    "pki.sh",
    "cluster-init.sh",
    "node-init.sh",
    "audit-policy.yaml",
];

/// The cluster, running, with `nodes` nodes (whatever it has, else one, when that is `None`).
pub fn up(cache: &Cache, steps: &Steps, nodes: Option<u8>) -> Result<Cluster> {
    machine::packages(steps)?;
    machine::need_root("the local Kubernetes")?;
    let _lock = cache.lock()?;
    let programs = kubernetes::build(cache, steps)?;
    let key = key(&programs)?;
    let old = Cluster::at(cache);
    let same = fs::read_to_string(old.state.join("key")).is_ok_and(|theirs| theirs == key);
    let nodes = nodes.unwrap_or(if old.nodes() == 0 { 1 } else { old.nodes() });
    let usable = same && old.nodes() == nodes && old.init().is_some();
    if usable && repaired(&old, steps) {
        forward::start(&old)?;
        return Ok(old);
    }
    if old.state.exists() {
        let _unused = cache.unused()?;
        steps.run("ending the old cluster", || stop(&old))?;
    }
    create(cache, steps, &programs, &key, nodes)
}

/// What a cluster was started from.
fn key(programs: &Programs) -> Result<String> {
    let scripts = repository::path("tests/environment/kubernetes");
    let key = SCRIPTS
        .iter()
        .try_fold(Key::default().text(&programs.key), |key, name| {
            key.file(&scripts.join(name))
        })?;
    Ok(key.finish())
}

/// Is the cluster whole, now or after its dead nodes were started again?
fn repaired(cluster: &Cluster, steps: &Steps) -> bool {
    let Err(why) = health::check(cluster) else {
        steps.note("the cluster runs and is healthy");
        return true;
    };
    let repair = || {
        for i in (1..=cluster.nodes()).filter(|&i| cluster.node_pid(i).is_none()) {
            File::create(cluster.state.join(format!("node{i}/start")))?;
        }
        eventually(REPAIR, "a healthy cluster", || health::check(cluster).ok())
    };
    steps.run(&format!("repairing: {why}"), repair).is_ok()
}

fn create(cache: &Cache, steps: &Steps, programs: &Programs, key: &str, nodes: u8) -> Result<Cluster> {
    let pause = pause::provide(cache, steps)?;
    let state = cache.path("cluster");
    prepare(&state, programs, &pause, nodes)?;
    let cluster = Cluster::at(cache);
    let names: Vec<String> = (1..=nodes).map(|i| format!("node{i}")).collect();
    steps.run("certificates", || {
        output(scripted(&state, programs, "pki.sh").args(&names))
    })?;
    steps.run("network", || {
        let pid = spawn(&state, programs, nodes)?;
        fs::write(state.join("init.pid"), pid.to_string())?;
        wait(&cluster, "the network", || state.join("net.ready").exists())
    })?;
    steps.run("API server", || {
        wait(&cluster, "the API server", || {
            asks(&cluster, &["get", "--raw", "/readyz"]).is_some()
        })
    })?;
    steps.run(&format!("{nodes} node(s) Ready"), || {
        wait(&cluster, "nodes", || health::check(&cluster).is_ok())
    })?;
    steps.run("default ServiceAccount", || {
        wait(&cluster, "the default ServiceAccount", || {
            asks(&cluster, &["get", "serviceaccount", "default"]).is_some()
        })
    })?;
    // Written last: a start that broke off leaves a cluster that the next one does not reuse.
    fs::write(state.join("key"), key)?;
    forward::start(&cluster)?;
    Ok(cluster)
}

fn prepare(state: &Path, programs: &Programs, pause: &Path, nodes: u8) -> Result<()> {
    for folder in ["log", "scripts"] {
        fs::create_dir_all(state.join(folder))?;
    }
    for name in SCRIPTS {
        let from = repository::path("tests/environment/kubernetes").join(name);
        fs::copy(&from, state.join("scripts").join(name))
            .with_context(|| format!("copying {}", from.display()))?;
    }
    fs::copy(pause, state.join("pause.tar"))?;
    fs::write(
        state.join("programs"),
        programs.folder.as_os_str().as_encoded_bytes(),
    )?;
    fs::write(state.join("nodes"), nodes.to_string())?;
    Ok(())
}

fn scripted(state: &Path, programs: &Programs, script: &str) -> Command {
    let mut command = Command::new(state.join("scripts").join(script));
    command.env("STATE", state).env("BIN", &programs.folder);
    command
}

/// Starts the process tree in a session and namespaces of its own; the answer is its process 1.
fn spawn(state: &Path, programs: &Programs, nodes: u8) -> Result<i32> {
    let script: PathBuf = state.join("scripts/cluster-init.sh");
    let log = File::create(state.join("log/init"))?;
    let mut command = Command::new("setsid");
    command.args([
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
    ]);
    command
        .arg(&script)
        .arg(nodes.to_string())
        .env("STATE", state)
        .env("BIN", &programs.folder);
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting unshare")?;
    let parent = i32::try_from(child.id())?;
    eventually(LIMIT, "process 1 of the cluster", || {
        Tree::read().below(parent).into_iter().find(|&pid| {
            processes::is_first_of_namespace(pid)
                && processes::arguments(pid)
                    .iter()
                    .any(|arg| Path::new(arg) == script)
        })
    })
}

/// Waits as long as process 1 lives; what it said is in the error.
fn wait(cluster: &Cluster, what: &str, mut reached: impl FnMut() -> bool) -> Result<()> {
    let outcome = eventually(LIMIT, what, || {
        (reached() || cluster.init().is_none()).then_some(())
    });
    if let Err(err) = outcome {
        bail!(
            "{err}; logs in {}: {}",
            cluster.state.join("log").display(),
            health::check(cluster)
                .err()
                .map_or(String::new(), |err| err.to_string())
        );
    }
    if cluster.init().is_none() {
        bail!(
            "the cluster ended while waiting for {what}:\n{}",
            tail(&cluster.state.join("log/init"))
        );
    }
    Ok(())
}

fn asks(cluster: &Cluster, args: &[&str]) -> Option<String> {
    output(cluster.kubectl().ok()?.args(args).arg("--request-timeout=5s")).ok()
}
