//! The holds in force.

use crate::draft::Draft;
use crate::hold::{Hold, Holds, Reason};
use crate::numbers::{signed, since};
use crate::scale::Scale;
use crate::validate::Mode;

/// Share of the pods without a recent sample that does not hold the others; one pod never does.
const TOLERATED_PERCENT: usize = 5;
/// Health is halved by the samples that report Redis as down.
const SICK_HEALTH: f64 = 0.5;

/// The holds in force now.
pub(super) fn all(draft: &Draft<'_>, scale: &Scale) -> Holds {
    let holds = [
        stale_watch(draft),
        conflict(draft),
        redis(draft),
        scale.blind.then(|| {
            Hold::new(
                Reason::StatsUnavailable,
                "most server pods do not respond on their control port",
            )
        }),
        samples(scale),
        rejections(scale),
        panic(scale),
        window(draft),
    ];
    holds.into_iter().flatten().collect()
}

fn stale_watch(draft: &Draft<'_>) -> Option<Hold> {
    (!draft.observed.watches_fresh)
        .then(|| Hold::new(Reason::StaleWatch, "the watches of the API server are stale"))
}

fn conflict(draft: &Draft<'_>) -> Option<Hold> {
    let conflict = draft.observed.conflicts.iter().find(|c| c.kind != "Pod")?;
    Some(Hold::new(
        Reason::ChildConflict,
        format!(
            "the {} {} is not controlled by this resource",
            conflict.kind, conflict.name
        ),
    ))
}

fn redis(draft: &Draft<'_>) -> Option<Hold> {
    // The samples that report Redis as down halve the budget: its first value is a half.
    (draft.memory.budget.health <= SICK_HEALTH).then(|| {
        Hold::new(
            Reason::RedisUnreachable,
            "server pods are not connected to Redis, or were not until recently",
        )
    })
}

fn samples(scale: &Scale) -> Option<Hold> {
    let tolerated = tolerated(scale.load.sampled);
    (scale.load.unknown > tolerated).then(|| {
        Hold::new(
            Reason::SamplesMissing,
            "several server pods have no recent sample",
        )
    })
}

fn rejections(scale: &Scale) -> Option<Hold> {
    scale.rejected.then(|| {
        Hold::new(
            Reason::ConnectionsRejected,
            "clients were refused, or server pods accepted no more connections, within the stabilization window",
        )
    })
}

/// Pods without a sample that do not hold a pool of this size.
pub(super) fn tolerated(pods: usize) -> usize {
    (pods * TOLERATED_PERCENT / 100).max(1)
}

fn panic(scale: &Scale) -> Option<Hold> {
    scale.panic.then(|| {
        Hold::new(
            Reason::Panic,
            "panic mode: within the last minute the connections needed twice the pods, or handshakes were rejected while the pool was full",
        )
    })
}

fn window(draft: &Draft<'_>) -> Option<Hold> {
    let scaling = &draft.cluster.scaling;
    if scaling.mode != Mode::Connections {
        return None;
    }
    let window = signed(scaling.stabilization_window);
    let fresh_since = draft.memory.fresh_since;
    let complete = fresh_since.is_some_and(|at| since(at, draft.now) >= window);
    (!complete).then(|| {
        Hold::new(
            Reason::WindowIncomplete,
            "no complete stabilization window of recent samples yet",
        )
    })
}
