//! Which pod drains first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::numbers::since;
use crate::pool::{Member, Pool, Role};

/// A younger pod is never drained to shrink the pool: it would have been started for nothing.
pub(crate) const YOUNG: SignedDuration = SignedDuration::from_secs(120);

/// Pods whose connections differ by less than this share of the target are equal: zones and nodes
/// decide between them.
const STEP_PERCENT: i64 = 10;

/// Why no serving pod is drained although the pool has too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The next pod to drain is too young; from this time on none is.
    Young(Timestamp),
    /// Every serving pod has the annotation that protects it.
    Protected,
}

/// Serving pods that may be drained to shrink the pool, best first: old revision, fewest
/// connections in steps of a tenth of the target, crowded zone, crowded node, newest. It ends
/// before the first young one: waiting for an emptier pod moves fewer clients than a fuller one.
pub(crate) fn for_scale_down<'a, 'b>(pool: &'b Pool<'a>, target: i64, now: Timestamp) -> Vec<&'b Member<'a>> {
    let known = |member: &&Member<'_>| !member.view.protected && member.sample.is_some();
    let order = Order::new(pool, target);
    let mut victims: Vec<_> = pool.of(Role::Serving).filter(known).collect();
    victims.sort_by_cached_key(|member| order.of(member));
    victims
        .into_iter()
        .take_while(|member| !is_young(member, now))
        .collect()
}

/// What keeps every serving pod from a drain that would shrink the pool.
pub(crate) fn obstacle(pool: &Pool<'_>, target: i64, now: Timestamp) -> Option<Obstacle> {
    let candidates = pool.of(Role::Serving).filter(|member| !member.view.protected);
    let order = Order::new(pool, target);
    let next = candidates.clone().min_by_key(|member| order.of(member));
    if next.is_some_and(|member| !is_young(member, now)) {
        return None;
    }
    // Not the age of the next pod to drain: which one it is changes with the connections.
    let newest = candidates.map(|member| member.first_seen).max();
    Some(newest.map_or(Obstacle::Protected, |created| Obstacle::Young(created + YOUNG)))
}

pub(crate) fn is_young(member: &Member<'_>, now: Timestamp) -> bool {
    since(member.first_seen, now) < YOUNG
}

/// Serving pods of old revisions that may be drained, best first.
pub(crate) fn for_rollout<'a, 'b>(pool: &'b Pool<'a>, target: i64) -> Vec<&'b Member<'a>> {
    let order = Order::new(pool, target);
    let mut victims: Vec<_> = pool
        .of(Role::Serving)
        .filter(|member| is_outdated(member))
        .collect();
    victims.sort_by_cached_key(|member| order.of(member));
    victims
}

/// A serving pod of an old revision that may be drained.
pub(crate) fn is_outdated(member: &Member<'_>) -> bool {
    !member.view.protected && !member.current
}

/// The order in which pods leave.
struct Order<'a> {
    zones: BTreeMap<&'a str, usize>,
    nodes: BTreeMap<&'a str, usize>,
    step: i64,
}

impl<'a> Order<'a> {
    fn new(pool: &Pool<'a>, target: i64) -> Self {
        let (mut zones, mut nodes) = (BTreeMap::new(), BTreeMap::new());
        for member in pool.of(Role::Serving) {
            let view = member.view;
            for (name, counts) in [(&view.zone, &mut zones), (&view.node, &mut nodes)] {
                if let Some(name) = name {
                    *counts.entry(name.as_str()).or_default() += 1;
                }
            }
        }
        Self {
            zones,
            nodes,
            step: (target * STEP_PERCENT / 100).max(1),
        }
    }

    fn of(&self, member: &Member<'_>) -> impl Ord + use<> {
        let crowd = |counts: &BTreeMap<&str, usize>, name: &Option<String>| {
            let name = name.as_deref();
            name.and_then(|name| counts.get(name).copied()).unwrap_or(0)
        };
        let view = member.view;
        (
            // Another pod instead could be one drain too many.
            !member.may_drain,
            member.current,
            member.connections() / self.step,
            Reverse(crowd(&self.zones, &view.zone)),
            Reverse(crowd(&self.nodes, &view.node)),
            Reverse(view.created),
            Reverse(view.serial),
        )
    }
}
