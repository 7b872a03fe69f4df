//! CPU time of a process, and what else a CPU did.

#[cfg(target_os = "linux")]
use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// This process, and what it starts, runs on these CPUs from now on.
///
/// # Errors
/// When there is none of them.
#[cfg(target_os = "linux")]
pub fn stay_on(cpus: &[u32]) -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(usize::try_from(*cpu)?);
    }
    sched_setaffinity(None, &set).with_context(|| format!("CPUs {cpus:?}: the bench needs two"))
}

/// All threads of the process that live, since its start: `schedstat` counts nanoseconds where
/// `stat` counts ticks.
///
/// # Errors
/// When there is no such process.
pub fn of_process(pid: u32) -> Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
        // A thread may end meanwhile.
        let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        sum += stat
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

/// Every process that may run on one of these CPUs, but these processes and the kernel's own, since
/// its start.
///
/// # Errors
/// When there is no `/proc`.
#[cfg(target_os = "linux")]
pub fn of_others(cpus: &[u32], pids: &[u32]) -> Result<HashMap<u32, Duration>> {
    let all = fs::read_dir("/proc")?.flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = all.filter(|pid| !pids.contains(pid) && may_run(*pid, cpus));
    // The kernel's have no command line, and one may end meanwhile.
    let others =
        others.filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()));
    Ok(others
        .filter_map(|pid| Some((pid, of_process(pid).ok()?)))
        .collect())
}

#[cfg(target_os = "linux")]
fn may_run(pid: u32, cpus: &[u32]) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let set = pid.and_then(|pid| sched_getaffinity(Some(pid)).ok());
    // Who has ended does not run.
    set.is_some_and(|set| cpus.iter().any(|cpu| set.is_set(*cpu as usize)))
}

/// The kernel thread that does a CPU's network work when there is too much of it: it works for the
/// one who sends.
///
/// # Errors
/// When it cannot be found.
pub fn of_softirq(cpu: u32) -> Result<Duration> {
    let name = format!("ksoftirqd/{cpu}");
    let pid = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name));
    of_process(pid.with_context(|| format!("no {name}"))?)
}

/// Time that the CPU had nothing to do, since the machine's start, in ticks of 10 ms. The kernel
/// takes it from the clock whenever a CPU goes idle and comes back, while it only guesses the time
/// of what runs, by who is there when its timer ticks.
///
/// # Errors
/// When the kernel does not say.
pub fn idle(cpu: u32) -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{cpu} ");
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .with_context(|| format!("no {name}in /proc/stat"))?;
    // user nice system idle iowait
    let of_idle = line.split_whitespace().skip(3).take(2).map(str::parse::<u64>);
    let ticks: u64 = of_idle.sum::<Result<_, _>>().with_context(|| line.to_owned())?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Resident memory of the process, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Rss:"))
        .context("no Rss")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_some() {
        let pid = std::process::id();
        let before = of_process(pid).unwrap();
        let mut sum = 0_u64;
        while of_process(pid).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(idle(0).unwrap() > Duration::ZERO && idle(u32::MAX).is_err());
        let others = |cpus: &[u32], pids: &[u32]| of_others(cpus, pids).unwrap();
        assert!(others(&[0, 1], &[])[&pid] >= before);
        assert!(!others(&[0, 1], &[pid]).contains_key(&pid) && others(&[], &[]).is_empty());
        assert!(resident(pid).unwrap() > 1 << 20);
        assert!(of_process(u32::MAX).is_err());
    }
}
