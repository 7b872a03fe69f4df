//! Order of the queue and size of the limit; with calls: `api/latency.rs`.

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Duration, advance};

use super::limit::Bounds;
use super::*;

fn namespace(name: &str) -> Namespace {
    name.to_owned().into()
}

/// Reconciles that wait, or have a slot.
fn waiting(slots: &Arc<Slots>, name: &str, count: usize) -> Vec<BoxFuture<'static, Slot>> {
    let namespace = namespace(name);
    let wait = || {
        let (slots, namespace) = (slots.clone(), namespace.clone());
        let mut slot = async move { slots.slot(&namespace).await }.boxed();
        match (&mut slot).now_or_never() {
            Some(slot) => std::future::ready(slot).boxed(),
            None => slot,
        }
    };
    (0..count).map(|_| wait()).collect()
}

fn granted(waiting: Vec<BoxFuture<'static, Slot>>) -> Vec<Slot> {
    waiting.into_iter().filter_map(FutureExt::now_or_never).collect()
}

fn call(name: &str, speed: Speed) -> WriteCall {
    WriteCall {
        namespace: namespace(name),
        began: Instant::now(),
        speed,
    }
}

#[tokio::test(start_paused = true)]
async fn freed_slot_is_for_fewest_slots() {
    let slots = Slots::fixed(64);
    let busy: Vec<_> = ["a", "b", "c", "d"]
        .repeat(64)
        .into_iter()
        .flat_map(|name| waiting(&slots, name, 1))
        .collect();
    let mut other = waiting(&slots, "other", 2);
    let (mut held, mut queued) = (Vec::new(), Vec::new());
    for mut wait in busy {
        match (&mut wait).now_or_never() {
            Some(slot) => held.push(slot),
            None => queued.push(wait),
        }
    }
    assert_eq!(held.len(), 64);
    assert!((&mut other[0]).now_or_never().is_none());
    held.pop();
    let first = (&mut other[0]).now_or_never();
    assert!(first.is_some(), "one release is enough, whoever waits longer");
    assert!((&mut other[1]).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn equal_namespaces_take_turns_by_arrival() {
    let slots = Slots::fixed(4);
    let mut held = granted(waiting(&slots, "a", 3));
    held.extend(granted(waiting(&slots, "b", 1)));
    let mut late = waiting(&slots, "c", 1);
    let mut later = waiting(&slots, "d", 1);
    held.remove(0);
    assert!((&mut later[0]).now_or_never().is_none());
    assert!((&mut late[0]).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn namespace_leaves_slots_for_others() {
    let slots = Slots::fixed(64);
    let held = granted(waiting(&slots, "a", 100));
    assert_eq!(held.len(), 48);
    assert_eq!(granted(waiting(&slots, "b", 1)).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn slow_namespaces_together_leave_slots_for_others() {
    let slots = Slots::fixed(64);
    let names = ["a", "b", "c", "d"];
    for name in names {
        slots.called(&call(name, Speed::Slow));
    }
    let busy: Vec<_> = names
        .into_iter()
        .flat_map(|name| waiting(&slots, name, 64))
        .collect();
    assert_eq!(
        granted(waiting(&slots, "other", 64)).len(),
        16,
        "no release is needed"
    );
    assert_eq!(granted(busy).len(), 48);
    advance(Duration::from_mins(1)).await;
    let busy: Vec<_> = ["a", "b"]
        .into_iter()
        .flat_map(|name| waiting(&slots, name, 40))
        .collect();
    assert_eq!(granted(busy).len(), 64, "slowness is forgotten");
}

#[tokio::test(start_paused = true)]
async fn abandoned_reconcile_leaves_the_queue() {
    let slots = Slots::fixed(4);
    let held = granted(waiting(&slots, "a", 3));
    let last = granted(waiting(&slots, "b", 1));
    let abandoned = waiting(&slots, "c", 3);
    let mut next = waiting(&slots, "d", 1);
    drop(abandoned);
    drop(last);
    assert!((&mut next[0]).now_or_never().is_some());
    drop((held, next));
    let shared = slots.shared.lock();
    assert_eq!((shared.queue.all_in_use(), shared.queue.waiting()), (0, 0));
}

const BOUNDS: Bounds = RECONCILES;

fn limit() -> Limit {
    Limit::new(BOUNDS, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn slow_majority_halves_once_per_effect() {
    let mut limit = limit();
    let old = call("a", Speed::Slow);
    advance(Duration::from_secs(3)).await;
    let now = Instant::now();
    limit.called(&call("a", Speed::Slow), true, now);
    assert_eq!(limit.value(), 8);
    limit.called(&call("b", Speed::Slow), true, now);
    limit.settle(16, now);
    limit.called(&call("b", Speed::Slow), true, now);
    assert_eq!(limit.value(), 8, "16 reconciles still run");
    limit.settle(8, now);
    limit.called(&old, true, now);
    assert_eq!(limit.value(), 8, "that call began among 16 reconciles");
    limit.called(&call("b", Speed::Slow), true, now);
    limit.settle(4, now);
    limit.called(&call("b", Speed::Slow), true, now);
    assert_eq!(limit.value(), BOUNDS.least);
}

#[tokio::test(start_paused = true)]
async fn slow_minority_keeps_the_limit() {
    let mut limit = limit();
    let now = Instant::now();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        limit.called(&call(name, Speed::Fast), true, now);
    }
    for name in ["a", "b", "c", "d"] {
        limit.called(&call(name, Speed::Slow), true, now);
    }
    assert_eq!(limit.value(), BOUNDS.start);
    limit.called(&call("e", Speed::Slow), true, now);
    assert_eq!(limit.value(), BOUNDS.start / 2, "most namespaces are slow");
}

#[tokio::test(start_paused = true)]
async fn rejection_for_too_many_requests_halves() {
    let mut limit = limit();
    let now = Instant::now();
    limit.called(&call("a", Speed::Fast), true, now);
    limit.called(&call("b", Speed::Throttled), true, now);
    assert_eq!(limit.value(), BOUNDS.start / 2);
}

#[tokio::test(start_paused = true)]
async fn fast_windows_raise_a_limit_in_use() {
    let mut limit = limit();
    let now = Instant::now();
    let window = |limit: &mut Limit, is_waiting| {
        for _ in 0..limit.value() {
            limit.called(&call("a", Speed::Fast), is_waiting, now);
        }
    };
    window(&mut limit, false);
    assert_eq!(limit.value(), BOUNDS.start, "no reconcile waits");
    window(&mut limit, true);
    assert_eq!(limit.value(), BOUNDS.start + 1);
    for _ in 0..100 {
        window(&mut limit, true);
    }
    assert_eq!(limit.value(), BOUNDS.most);
}
