//! What the tasks of the Redis broker share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};
use wsc_contract::room::RoomName;

use super::interest::Interest;
use super::publisher::Link;
use crate::hub::Hub;
use crate::metrics::Metrics;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: redis::Client,
    pub(super) prefix: String,
    pub(super) probe_channel: String,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) interest: Interest,
    /// Notified when `interest` has changes.
    pub(super) dirty: Notify,
    /// Counts up when a subscription is confirmed or the broker goes up or down.
    pub(super) progress: watch::Sender<u64>,
    /// The connection to publish on.
    pub(super) link: watch::Sender<Option<Link>>,
    up: AtomicBool,
    was_up: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        client: redis::Client,
        prefix: String,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
        link: watch::Sender<Option<Link>>,
    ) -> Self {
        Self {
            client,
            probe_channel: format!("{prefix}probe:{:016x}", rand::random::<u64>()),
            prefix,
            hub,
            metrics,
            interest: Interest::default(),
            dirty: Notify::new(),
            progress: watch::channel(0).0,
            link,
            up: AtomicBool::new(false),
            was_up: AtomicBool::new(false),
        }
    }

    pub(super) fn channel(&self, room: &RoomName) -> String {
        format!("{}room:{room}", self.prefix)
    }

    /// The room of a channel, if it is one of ours.
    pub(super) fn room(&self, channel: &str) -> Option<RoomName> {
        RoomName::parse(channel.strip_prefix(&self.prefix)?.strip_prefix("room:")?).ok()
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether it was ever up.
    pub(super) fn was_up(&self) -> bool {
        self.was_up.load(Ordering::Relaxed)
    }

    pub(super) fn set_up(&self, up: bool) {
        let before = self.up.swap(up, Ordering::Relaxed);
        if up {
            self.was_up.store(true, Ordering::Relaxed);
        }
        self.metrics.broker_up.set(i64::from(up));
        if before != up {
            tracing::info!(connected = up, "broker state changed");
        }
        self.progress.send_modify(|n| *n += 1);
    }
}
