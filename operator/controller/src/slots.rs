//! Limits the passes under way, so that a fleet that is created at once becomes ready one cluster after the other, and no call
//! waits for longer than its deadline in the API server. No namespace can use up what all share.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::identity::Namespace;

/// With the passes of 1,000 new clusters at once, five of six creates of a Service exceeded the deadline of a call; with this
/// limit one of 28 (`cargo xtask bench operator`).
const ALL: usize = 64;
const OF_NAMESPACE: usize = 16;

#[derive(Debug)]
pub(crate) struct Slots {
    all: Arc<Semaphore>,
    by_namespace: Mutex<HashMap<Namespace, Weak<Semaphore>>>,
}

/// The queue of one worker for slots.
#[derive(Debug)]
pub(crate) struct Queue {
    all: Arc<Semaphore>,
    of_namespace: Arc<Semaphore>,
}

/// Permission for one pass, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(#[expect(dead_code, reason = "held")] [Option<OwnedSemaphorePermit>; 2]);

impl Default for Slots {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(ALL)),
            by_namespace: Mutex::default(),
        }
    }
}

impl Slots {
    /// For the worker of a resource in this namespace.
    pub(crate) fn queue(&self, namespace: &Namespace) -> Queue {
        let mut by_namespace = self.by_namespace.lock();
        let known = by_namespace.get(namespace).and_then(Weak::upgrade);
        let of_namespace = known.unwrap_or_else(|| {
            by_namespace.retain(|_, semaphore| semaphore.strong_count() > 0);
            let semaphore = Arc::new(Semaphore::new(OF_NAMESPACE));
            by_namespace.insert(namespace.clone(), Arc::downgrade(&semaphore));
            semaphore
        });
        Queue {
            all: self.all.clone(),
            of_namespace,
        }
    }
}

impl Queue {
    /// Waits in turn.
    pub(crate) async fn slot(&self) -> Slot {
        // The semaphores are never closed.
        let of_namespace = self.of_namespace.clone().acquire_owned().await.ok();
        Slot([of_namespace, self.all.clone().acquire_owned().await.ok()])
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn take(queue: &Queue, count: usize) -> Vec<Slot> {
        (0..count).map_while(|_| queue.slot().now_or_never()).collect()
    }

    #[test]
    fn busy_namespace_leaves_slots_for_others() {
        let slots = Slots::default();
        let queue = |namespace: &str| slots.queue(&namespace.to_owned().into());
        let (busy, other) = (queue("busy"), queue("other"));
        let mut taken = take(&busy, ALL);
        assert_eq!(taken.len(), OF_NAMESPACE);
        assert!(
            queue("busy").slot().now_or_never().is_none(),
            "another worker of it"
        );
        assert_eq!(take(&other, 1).len(), 1);
        taken.pop();
        assert_eq!(take(&busy, 1).len(), 1, "the end of a pass frees its slot");
    }

    #[test]
    fn all_namespaces_share_the_limit() {
        let slots = Slots::default();
        let queues: Vec<Queue> = (0..10).map(|i| slots.queue(&format!("ns-{i}").into())).collect();
        let taken: Vec<Slot> = queues.iter().flat_map(|queue| take(queue, ALL)).collect();
        assert_eq!(taken.len(), ALL);
    }

    #[test]
    fn namespace_without_workers_is_dropped() {
        let slots = Slots::default();
        drop(slots.queue(&"a".to_owned().into()));
        let _kept = slots.queue(&"b".to_owned().into());
        assert_eq!(slots.by_namespace.lock().len(), 1);
    }
}
