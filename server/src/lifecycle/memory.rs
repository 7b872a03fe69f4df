//! The memory limit of this process, from its cgroup or its settings, and whether some is left for
//! new clients.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::param::page_size;

/// Of a limit, this part is for what waits to be written to clients.
const OUTBOXES_PART: u64 = 4;
/// The same where there is no limit.
const OUTBOXES_WITHOUT_LIMIT: u64 = 1 << 30;
/// Above the first share of the limit new clients are rejected, so that connected ones can stay;
/// below the second one they are accepted.
const CLOSED_PERCENT: u64 = 85;
const OPEN_PERCENT: u64 = 82;
/// What a new client may take until it is seen; once it is connected it is about 6 KiB with the
/// kernel's part.
const CLIENT_BYTES: u64 = 16 << 10;

/// The files of a cgroup: its limit, its use, and the reclaimable part of it.
struct Files {
    limit: &'static str,
    used: &'static str,
    stat: &'static str,
    cache: &'static str,
}

/// cgroups version 2, then 1.
const CGROUPS: [Files; 2] = [
    Files {
        limit: "/sys/fs/cgroup/memory.max",
        used: "/sys/fs/cgroup/memory.current",
        stat: "/sys/fs/cgroup/memory.stat",
        cache: "inactive_file",
    },
    Files {
        limit: "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        used: "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        stat: "/sys/fs/cgroup/memory/memory.stat",
        cache: "total_inactive_file",
    },
];
/// Version 1 reports "no limit" as a number of this kind.
const NO_LIMIT: u64 = 1 << 60;

/// The limit of the cgroup, in bytes.
pub(crate) fn cgroup_limit() -> Option<u64> {
    let said = CGROUPS
        .iter()
        .find_map(|files| fs::read_to_string(files.limit).ok());
    limit(&said?)
}

/// The default limit of all outbound queues together: a quarter of the memory limit, or 1 GiB.
pub(crate) fn default_outboxes(limit: Option<u64>) -> u64 {
    limit.map_or(OUTBOXES_WITHOUT_LIMIT, |limit| limit / OUTBOXES_PART)
}

fn limit(said: &str) -> Option<u64> {
    said.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

/// The use of the cgroup without its reclaimable part.
fn cgroup_used() -> Option<u64> {
    CGROUPS.iter().find_map(|files| {
        let used: u64 = fs::read_to_string(files.used).ok()?.trim().parse().ok()?;
        let stat = fs::read_to_string(files.stat).ok()?;
        Some(used.saturating_sub(field(&stat, files.cache)?))
    })
}

/// A number of `memory.stat`.
fn field(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.parse().ok())?
    })
}

/// Resident memory of this process.
fn resident() -> Option<u64> {
    let statm = fs::read_to_string(Path::new("/proc/self/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

/// The source of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// There is none.
    None,
    /// Of everything in the cgroup.
    Cgroup(u64),
    /// Of what is resident of this process.
    Said(u64),
}

impl Limit {
    /// In bytes.
    pub(crate) fn bytes(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Cgroup(bytes) | Self::Said(bytes) => Some(bytes),
        }
    }

    fn used(self) -> Option<u64> {
        match self {
            Self::Cgroup(_) => cgroup_used(),
            Self::None | Self::Said(_) => resident(),
        }
    }
}

fn share(limit: u64, percent: u64) -> u64 {
    limit / 100 * percent
}

/// Reads the memory in use periodically, and when many clients connect.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: Limit,
    used: AtomicU64,
    /// Of the clients that were accepted since the last look.
    expected: AtomicU64,
    full: AtomicBool,
}

impl Memory {
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// Reads the memory in use; a failed read changes nothing.
    pub(crate) fn look(&self) {
        if let Some(used) = self.limit.used() {
            self.is_used(used);
        }
    }

    fn is_used(&self, used: u64) {
        self.used.store(used, Ordering::Relaxed);
        self.expected.store(0, Ordering::Relaxed);
        let Some(limit) = self.limit.bytes() else {
            return;
        };
        let was_full = self.is_full();
        let percent = if was_full { OPEN_PERCENT } else { CLOSED_PERCENT };
        let full = used > share(limit, percent);
        self.full.store(full, Ordering::Relaxed);
        if full != was_full {
            tracing::warn!(
                used_bytes = used,
                limit_bytes = limit,
                rejecting = full,
                "memory admission changed"
            );
        }
    }

    /// Whether there is memory for one more. In a second thousands may come: when those since the
    /// last look might be too many, it looks again.
    pub(crate) fn has_room(&self) -> bool {
        let Some(limit) = self.limit.bytes() else {
            return true;
        };
        if !self.is_full() {
            let expected = self.expected.fetch_add(CLIENT_BYTES, Ordering::Relaxed) + CLIENT_BYTES;
            if self.used() + expected > share(limit, CLOSED_PERCENT) {
                self.look();
            }
        }
        !self.is_full()
    }

    /// Whether there is no memory for new clients.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Bytes in use, at the last look.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_a_quarter_of_the_limit() {
        for (said, bytes) in [
            ("max\n", OUTBOXES_WITHOUT_LIMIT),
            ("9223372036854771712\n", OUTBOXES_WITHOUT_LIMIT),
            ("", OUTBOXES_WITHOUT_LIMIT),
            ("536870912\n", 128 << 20),
        ] {
            assert_eq!(default_outboxes(limit(said)), bytes, "{said:?}");
        }
    }

    #[test]
    fn full_above_85_percent_until_82() {
        let memory = Memory::new(Limit::Said(1000));
        let full = |used| {
            memory.is_used(used);
            memory.is_full()
        };
        assert_eq!(
            [850, 851, 840, 821, 820, 850].map(full),
            [false, true, true, true, false, false]
        );
        assert_eq!(memory.used(), 850);
        let memory = Memory::new(Limit::None);
        memory.is_used(u64::MAX);
        assert!(!memory.is_full());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_comes_between_two_looks_counts() {
        let limit = 1 << 40;
        let memory = Memory::new(Limit::Said(limit));
        let fit = share(limit, CLOSED_PERCENT) / CLIENT_BYTES;
        memory.expected.store((fit - 1) * CLIENT_BYTES, Ordering::Relaxed);
        assert!(memory.has_room());
        assert_eq!(memory.used(), 0, "nobody had to look");
        assert!(memory.has_room());
        assert!(memory.used() > 0, "somebody did");
        assert_eq!(memory.expected.load(Ordering::Relaxed), 0);
        // Less than this process has.
        let memory = Memory::new(Limit::Said(1 << 10));
        assert!(!memory.has_room() && !memory.has_room());
        assert!(Memory::new(Limit::None).has_room());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_use_is_what_kernel_reports() {
        assert_eq!(
            field("anon 5\ninactive_file 77\nx 1\n", "inactive_file"),
            Some(77)
        );
        assert_eq!(field("anon 5\n", "inactive_file"), None);
        let memory = Memory::new(Limit::None);
        memory.look();
        assert!((1 << 20..1 << 36).contains(&memory.used()), "{}", memory.used());
    }
}
