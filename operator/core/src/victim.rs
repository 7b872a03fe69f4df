//! Which pod leaves first.

use std::cmp::Reverse;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::numbers::since;
use crate::pool::{Member, Pool, Role};

/// A younger pod is never drained to shrink the pool: it would have been started for nothing.
pub(crate) const YOUNG: SignedDuration = SignedDuration::from_secs(120);

/// Why no serving pod is drained although the pool has too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The next pod to drain is too young; from this time on none is.
    Young(Timestamp),
    /// Every serving pod has the annotation that protects it.
    Protected,
}

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

/// What keeps every serving pod from a drain that would shrink the pool.
pub(crate) fn obstacle(pool: &Pool<'_>, now: Timestamp) -> Option<Obstacle> {
    let candidates = pool.of(Role::Serving).filter(|member| !member.view.protected);
    let next = candidates.clone().min_by_key(|member| order(pool, member));
    if next.is_some_and(|member| !is_young(member, now)) {
        return None;
    }
    // Not the age of the next pod to drain: which one it is changes with the connections.
    let newest = candidates.map(|member| member.view.created).max();
    Some(newest.map_or(Obstacle::Protected, |created| Obstacle::Young(created + YOUNG)))
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
