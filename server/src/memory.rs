//! The memory that this process may use, by the word of its cgroup.

use std::fs;

/// Where the limit is: cgroups version 2, then 1.
const FILES: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];
/// Version 1 says "no limit" by a number of this kind.
const NO_LIMIT: u64 = 1 << 60;
/// Of a limit, this part is for what waits to be written to clients.
const OUTBOXES_PART: u64 = 4;
/// The same where there is no limit.
const OUTBOXES_WITHOUT_LIMIT: u64 = 1 << 30;

/// What all outboxes together may hold when nobody says it: a quarter of the memory limit, or 1 GiB.
pub fn default_outboxes() -> u64 {
    let said = FILES.iter().find_map(|file| fs::read_to_string(file).ok());
    outboxes(said.as_deref().and_then(limit))
}

fn outboxes(limit: Option<u64>) -> u64 {
    limit.map_or(OUTBOXES_WITHOUT_LIMIT, |limit| limit / OUTBOXES_PART)
}

fn limit(said: &str) -> Option<u64> {
    said.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_limit_if_there_is_one() {
        for (said, bytes) in [
            ("max\n", OUTBOXES_WITHOUT_LIMIT),
            ("9223372036854771712\n", OUTBOXES_WITHOUT_LIMIT),
            ("", OUTBOXES_WITHOUT_LIMIT),
            ("536870912\n", 128 << 20),
        ] {
            assert_eq!(outboxes(limit(said)), bytes, "{said:?}");
        }
    }
}
