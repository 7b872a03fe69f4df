//! The processes of a pod, seen from the machine, so that a test can kill one as an accident would.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Where the containers of the local Kubernetes are: cgroups version 1, then 2.
const PARENTS: [&str; 2] = ["/sys/fs/cgroup/pids/wsc-test", "/sys/fs/cgroup/wsc-test"];

/// One process in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// On the machine.
    pub pid: i32,
    /// The process that started it, on the machine: a HAProxy worker's is its master.
    pub parent: i32,
    /// When it started, in clock ticks since the boot of the machine: process ids wrap around.
    started: u64,
    /// Of its program, at most 15 characters.
    pub name: String,
}

/// Name of a process of the container runtime that has not executed the program of a container or
/// of a probe yet.
const RUNTIME: &str = "runc:[";

impl Process {
    fn age(&self) -> (u64, i32) {
        (self.started, self.pid)
    }
}

/// All processes of the pod with this uid, those of probes included, without its pause container,
/// the oldest first.
pub fn of_pod(uid: &str) -> Vec<Process> {
    let mut found = of_pod_and_sandbox(uid);
    found.retain(|process| process.name != "pause");
    found
}

/// The same with its pause container: without that one the kubelet starts the whole pod anew, as
/// after a restart of its node.
pub fn of_pod_and_sandbox(uid: &str) -> Vec<Process> {
    let mut found = Vec::new();
    for group in PARENTS
        .iter()
        .flat_map(|parent| groups_of(Path::new(parent), uid))
    {
        collect(&group, &mut found);
    }
    programs(found)
}

/// The oldest first, without the container runtime.
fn programs(mut found: Vec<Process>) -> Vec<Process> {
    found.retain(|process| !process.name.starts_with(RUNTIME));
    found.sort_by_key(Process::age);
    found
}

/// The program with this name (its first 15 characters) among all that this process and its
/// children have started.
///
/// # Errors
/// When there is none.
pub fn below(ancestor: i32, name: &str) -> Result<Process> {
    let mut left = children(ancestor);
    while let Some(process) = left.pop() {
        if process.name == name {
            return Ok(process);
        }
        left.extend(children(process.pid));
    }
    bail!("no {name} below process {ancestor}")
}

/// All processes that this one has started and that have not ended, the oldest first.
pub fn children(parent: i32) -> Vec<Process> {
    let mut found: Vec<Process> = folders(Path::new("/proc"))
        .filter_map(|path| read(path.file_name()?.to_str()?.parse().ok()?))
        .filter(|process| process.parent == parent)
        .collect();
    found.sort_by_key(Process::age);
    found
}

/// Sends the signal.
///
/// # Errors
/// When there is no such process.
pub fn signal(process: &Process, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(process.pid).context("a process id is positive")?;
    kill_process(pid, signal).with_context(|| format!("signal for {} ({})", process.name, process.pid))
}

/// SIGKILL.
///
/// # Errors
/// When there is no such process.
pub fn kill(process: &Process) -> Result<()> {
    signal(process, Signal::KILL)
}

/// The cgroups of the pod, however deep: `kubepods/besteffort/pod<uid>`.
fn groups_of(parent: &Path, uid: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for group in folders(parent) {
        if group
            .file_name()
            .is_some_and(|name| name.to_string_lossy() == format!("pod{uid}"))
        {
            found.push(group);
        } else {
            found.extend(groups_of(&group, uid));
        }
    }
    found
}

fn collect(group: &Path, found: &mut Vec<Process>) {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(members.lines().filter_map(|pid| read(pid.parse().ok()?)));
    for child in folders(group) {
        collect(&child, found);
    }
}

fn folders(path: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
}

fn read(pid: i32) -> Option<Process> {
    // `1234 (name of program) S 1 …`: the name may hold blanks and parentheses.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split_whitespace();
    Some(Process {
        pid,
        parent: fields.nth(1)?.parse().ok()?,
        started: fields.nth(17)?.parse().ok()?,
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_read_and_signalled() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = read(i32::try_from(child.id()).unwrap()).unwrap();
        let this = read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(this.started > 0 && this.started <= process.started);
        assert_eq!(process.parent, i32::try_from(std::process::id()).unwrap());
        assert!(children(process.parent).contains(&process));
        assert_eq!(below(process.parent, "sleep").unwrap().name, "sleep");
        assert!(below(process.parent, "no-such-program").is_err());
        kill(&process).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(kill(&process).is_err());
    }

    #[test]
    fn programs_are_in_start_order() {
        let process = |pid, started, name: &str| Process {
            pid,
            parent: 1,
            started,
            name: name.to_owned(),
        };
        let found = vec![
            process(300, 20, "redis-cli"),
            process(301, 21, "runc:[2:INIT]"),
            process(32_000, 10, "redis-server"),
        ];
        let pids: Vec<_> = programs(found).iter().map(|process| process.pid).collect();
        assert_eq!(
            pids,
            [32_000, 300],
            "ids have wrapped around since the first start"
        );
    }

    #[test]
    fn pod_cgroups_are_found_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("node1/kubepods/burstable/podabc");
        fs::create_dir_all(group.join("container")).unwrap();
        fs::create_dir_all(folder.path().join("node1/kubepods/podabcd")).unwrap();
        assert_eq!(groups_of(folder.path(), "abc"), [group]);
    }
}
