//! Looking at processes by /proc, and ending them.

use std::collections::HashMap;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// Who is whose child, at one moment.
pub(crate) struct Tree {
    children: HashMap<i32, Vec<i32>>,
}

impl Tree {
    pub(crate) fn read() -> Self {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            // The name of the program is in parentheses and may hold blanks: the parent is the
            // second word after them.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.split_whitespace().nth(1))
                .and_then(|word| word.parse().ok());
            if let Some(parent) = parent {
                children.entry(parent).or_default().push(pid);
            }
        }
        Self { children }
    }

    /// All processes below this one.
    pub(crate) fn below(&self, pid: i32) -> Vec<i32> {
        let mut found = Vec::new();
        let mut left = vec![pid];
        while let Some(next) = left.pop() {
            for &child in self.children.get(&next).into_iter().flatten() {
                found.push(child);
                left.push(child);
            }
        }
        found
    }
}

/// The command line, empty for a process that ended.
pub(crate) fn arguments(pid: i32) -> Vec<String> {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    raw.split(|&byte| byte == 0)
        .filter(|arg| !arg.is_empty())
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect()
}

/// The name of the program, at most 15 characters (the kernel keeps no more).
pub(crate) fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Is this process 1 of a pid namespace?
pub(crate) fn is_first_of_namespace(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_default()
        .lines()
        .any(|line| line.starts_with("NSpid:") && line.split_whitespace().last() == Some("1"))
}

/// A process that ended and was not waited for yet is not alive.
pub(crate) fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// SIGKILL; a process that is gone already is fine.
pub(crate) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_is_found_until_it_ends() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let (mine, pid) = (
            i32::try_from(std::process::id()).unwrap(),
            i32::try_from(child.id()).unwrap(),
        );
        assert!(Tree::read().below(mine).contains(&pid));
        assert!(!is_first_of_namespace(pid));
        kill(pid);
        child.wait().unwrap();
        assert!(!alive(pid));
    }
}
