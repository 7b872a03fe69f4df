//! The state of the operator's process.

use std::collections::BTreeMap;

use super::api::{Api, Event, Resource};
use crate::Outlook;
use crate::memory::Memory;
use crate::observed::PodView;
use crate::samples::ServerSamples;
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
    pub(super) next_tick: i64,
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
            next_tick: clock,
            poked: true,
            ..Self::default()
        }
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
