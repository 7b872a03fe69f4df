//! Which pod leaves first.

use std::cmp::Reverse;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::numbers::since;
use crate::pool::{Member, Pool, Role};

/// A younger pod never leaves by scale-down: it would have been started for nothing.
const YOUNG: SignedDuration = SignedDuration::from_secs(120);

/// Serving pods that may be drained to shrink the pool, best first: old revision, fewest connections, crowded zone, crowded node,
/// newest. Pods that a person protects are not in it, and it ends before the first young one: a fuller pod does not go instead of an
/// emptier one that is only too young, since fewer clients have to move a moment later.
pub(crate) fn for_scale_down<'a, 'b>(pool: &'b Pool<'a>, now: Timestamp) -> Vec<&'b Member<'a>> {
    let mut victims: Vec<_> = pool
        .of(Role::Serving)
        .filter(|member| !member.view.protected)
        .collect();
    victims.sort_by_key(|member| order(pool, member));
    victims
        .into_iter()
        .take_while(|member| !is_young(member, now))
        .collect()
}

pub(crate) fn is_young(member: &Member<'_>, now: Timestamp) -> bool {
    since(member.view.created, now) < YOUNG
}

/// Serving pods of old revisions that may be drained, best first.
pub(crate) fn for_rollout<'a, 'b>(pool: &'b Pool<'a>) -> Vec<&'b Member<'a>> {
    let mut victims: Vec<_> = pool
        .of(Role::Serving)
        .filter(|member| !member.view.protected && !member.current)
        .collect();
    victims.sort_by_key(|member| order(pool, member));
    victims
}

fn order(pool: &Pool<'_>, member: &Member<'_>) -> impl Ord + use<> {
    let crowd = |same: &dyn Fn(&Member<'_>) -> bool| pool.of(Role::Serving).filter(|m| same(m)).count();
    let view = member.view;
    let zone = crowd(&|other| view.zone.is_some() && other.view.zone == view.zone);
    let node = crowd(&|other| view.node.is_some() && other.view.node == view.node);
    (
        member.current,
        member.connections(),
        Reverse(zone),
        Reverse(node),
        Reverse(view.created),
        Reverse(view.serial),
    )
}
