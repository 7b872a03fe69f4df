//! Slots for reconciles: their number follows the latency of the API server, so that calls end
//! within their deadline however many clusters change at once, and namespaces share them fairly.
//! Time in the queue is part of no deadline.

mod limit;
mod queue;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::identity::Namespace;
use crate::report::metrics::Metrics;
use limit::{Limit, RECONCILES};
pub(crate) use limit::{Speed, WriteCall};
use queue::{FairQueue, Ticket};

/// All slots of the process.
#[derive(Debug)]
pub(crate) struct Slots {
    shared: Mutex<Shared>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Shared {
    limit: Limit,
    queue: FairQueue<oneshot::Sender<()>>,
}

/// A place in the queue, and then permission for one reconcile, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    namespace: Namespace,
    ticket: Ticket,
}

impl Slots {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Self::with(Limit::new(RECONCILES, Instant::now()), metrics)
    }

    fn with(limit: Limit, metrics: Arc<Metrics>) -> Arc<Self> {
        let queue = FairQueue::default();
        let slots = Self {
            shared: Mutex::new(Shared { limit, queue }),
            metrics,
        };
        slots.change(|_, _| ());
        Arc::new(slots)
    }

    /// As many, whatever calls do.
    #[cfg(test)]
    pub(crate) fn fixed(slots: usize) -> Arc<Self> {
        let bounds = limit::Bounds {
            least: slots,
            start: slots,
            most: slots,
        };
        Self::with(Limit::new(bounds, Instant::now()), Arc::default())
    }

    #[cfg(test)]
    pub(crate) fn limit(&self) -> usize {
        self.shared.lock().limit.value()
    }

    /// Waits in turn.
    pub(crate) async fn slot(self: &Arc<Self>, namespace: &Namespace) -> Slot {
        let (grant, granted) = oneshot::channel();
        let slot = Slot {
            ticket: self.change(|shared, _| shared.queue.wait(namespace.clone(), grant)),
            slots: self.clone(),
            namespace: namespace.clone(),
        };
        // The queue keeps the sender until it grants the slot.
        let _ = granted.await;
        slot
    }

    /// A call to the API server ended, or was given up.
    pub(crate) fn called(&self, call: &WriteCall) {
        self.change(|shared, now| {
            let is_waiting = shared.queue.waiting() > 0;
            shared.limit.called(call, is_waiting, now);
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Shared, Instant) -> T) -> T {
        let now = Instant::now();
        let mut shared = self.shared.lock();
        let result = change(&mut shared, now);
        shared.grant(now);
        self.metrics.reconcile_slots(
            shared.limit.value(),
            shared.queue.all_in_use(),
            shared.queue.waiting(),
        );
        result
    }
}

impl Shared {
    /// Grants the free slots.
    fn grant(&mut self, now: Instant) {
        self.limit.settle(self.queue.all_in_use(), now);
        let limit = &self.limit;
        let is_slow = |namespace: &Namespace| limit.is_slow(namespace, now);
        while let Some(grant) = self.queue.next(limit.value(), is_slow) {
            // Without a receiver the slot is dropped, which frees it.
            let _ = grant.send(());
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots
            .change(|shared, _| shared.queue.leave(&self.namespace, self.ticket));
    }
}

#[cfg(test)]
mod tests;
