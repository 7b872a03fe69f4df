//! Serials make the names of server pods, and are never used again: not by a twin, not by a later pod.

use wsc_api::names;

use crate::observed::Observed;

/// The first serial that nobody has ever had.
pub(crate) fn next(observed: &Observed) -> i64 {
    let seen = observed.pods.values().map(|pod| pod.serial);
    let reserved = observed.reserved_serials.iter().copied();
    let highest = seen.chain(reserved).max().map_or(0, |serial| serial + 1);
    observed.status.next_serial.max(highest)
}

/// Serials to give to this many pods: those whose names are free of strangers.
pub(crate) fn take(observed: &Observed, cluster: &str, first: i64, pods: usize) -> Vec<i64> {
    let taken = |serial: &i64| {
        let name = names::server_pod(cluster, *serial);
        observed
            .conflicts
            .iter()
            .any(|conflict| conflict.kind == "Pod" && conflict.name == name)
    };
    (first..).filter(|serial| !taken(serial)).take(pods).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::ChildConflict;

    #[test]
    fn a_serial_is_above_everything_that_was_ever_seen() {
        let mut observed = Observed::default();
        assert_eq!(next(&observed), 0);
        observed.status.next_serial = 4;
        assert_eq!(next(&observed), 4);
        observed.reserved_serials = vec![7];
        assert_eq!(next(&observed), 8);
    }

    #[test]
    fn names_of_strangers_are_skipped() {
        let mut observed = Observed::default();
        for (kind, name) in [("Pod", "chat-5"), ("Service", "chat-4")] {
            observed.conflicts.push(ChildConflict {
                kind: kind.to_owned(),
                name: name.to_owned(),
                terminating: false,
            });
        }
        assert_eq!(take(&observed, "chat", 4, 3), [4, 6, 7]);
    }
}
