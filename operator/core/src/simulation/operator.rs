//! The state of the operator's process.

use std::collections::BTreeMap;

use super::api::{Api, Event, Resource};
use crate::Outlook;
use crate::memory::Memory;
use crate::observed::PodView;
use crate::samples::ServerSamples;
use crate::sampling::Interval;
use crate::serials::Serials;

/// State of an operator process, lost when it ends.
#[derive(Debug, Default)]
pub(super) struct Operator {
    pub(super) memory: Memory,
    pub(super) pods: BTreeMap<String, PodView>,
    pub(super) resource: Resource,
    pub(super) samples: ServerSamples,
    pub(super) serials: Serials,
    pub(super) started_at: i64,
    /// When the last round of samples began, the jitter of the next one, and its interval then.
    round: Option<(i64, i64, Interval)>,
    /// Of samples, by the last outlook.
    pub(super) interval: Interval,
    /// A pod or an agent did not answer the last sample.
    pub(super) is_missing: bool,
    pub(super) poked: bool,
    /// What the last pass saw, while nothing is under way.
    pub(super) quiet: Option<Outlook>,
    /// It crashes at this write from now: before it, or after it.
    pub(super) dies_in: Option<(u64, bool)>,
}

impl Operator {
    /// A process that starts lists everything first.
    pub(super) fn start(api: &Api, clock: i64) -> Self {
        Self {
            pods: api.pods.clone(),
            resource: api.resource.clone(),
            started_at: clock,
            poked: true,
            ..Self::default()
        }
    }

    /// The one that the schedule uses: a missing answer shortens it at once.
    pub(super) fn interval(&self) -> Interval {
        if self.is_missing {
            Interval::Active
        } else {
            self.interval
        }
    }

    /// A shorter interval moves the next round, a longer one only those after it.
    pub(super) fn is_round_due(&self, clock: i64) -> bool {
        self.round.is_none_or(|(began, jitter, interval)| {
            let shorter = interval.duration().min(self.interval().duration());
            began + i64::try_from(shorter.as_secs()).unwrap() + jitter <= clock
        })
    }

    pub(super) fn begin_round(&mut self, clock: i64, jitter: i64) {
        self.round = Some((clock, jitter, self.interval()));
    }

    pub(super) fn deliver(&mut self, event: Event) {
        self.poked = true;
        match event {
            Event::Pod(pod) => {
                self.pods.insert(pod.name.clone(), *pod);
            }
            Event::Gone(name) => {
                self.pods.remove(&name);
            }
            Event::Resource(resource) if resource.version > self.resource.version => {
                self.resource = *resource;
            }
            Event::Resource(_) => {}
        }
    }
}
