//! Server pods of an outdated template.

use crate::observed::DrainReason;
use crate::pool::{Pool, Role};
use crate::victim;

/// There are pods of an old template that may be replaced, or one of them is draining.
pub(crate) fn rollout_in_progress(pool: &Pool<'_>) -> bool {
    let old_starting = pool.of(Role::Starting).any(|member| !member.current);
    let draining = pool.draining_for(DrainReason::Rollout).next().is_some();
    let old = pool.of(Role::Serving).any(victim::is_outdated);
    old || old_starting || draining
}

/// All that remain of an old template are protected.
pub(crate) fn rollout_waits(pool: &Pool<'_>) -> bool {
    !rollout_in_progress(pool) && pool.of(Role::Serving).any(|member| !member.current)
}
