//! The order of reconciles that wait for a slot. A free slot is for the namespace with the fewest
//! slots in use, so that one with slow calls, which keeps its slots for long, delays the others by
//! one release at most.

use std::collections::{BTreeMap, HashMap};

use crate::identity::Namespace;

/// Place in the order of arrival.
pub(super) type Ticket = u64;

#[derive(Debug)]
pub(super) struct FairQueue<G> {
    namespaces: HashMap<Namespace, Line<G>>,
    next_ticket: Ticket,
    in_use: usize,
    waiting: usize,
}

/// The reconciles of one namespace.
#[derive(Debug)]
struct Line<G> {
    in_use: usize,
    waiting: BTreeMap<Ticket, G>,
}

impl<G> Default for FairQueue<G> {
    fn default() -> Self {
        Self {
            namespaces: HashMap::new(),
            next_ticket: 0,
            in_use: 0,
            waiting: 0,
        }
    }
}

impl<G> FairQueue<G> {
    pub(super) fn all_in_use(&self) -> usize {
        self.in_use
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// One more reconcile waits; `grant` is returned when it gets a slot.
    pub(super) fn wait(&mut self, namespace: Namespace, grant: G) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        let line = self.namespaces.entry(namespace).or_insert_with(|| Line {
            in_use: 0,
            waiting: BTreeMap::new(),
        });
        line.waiting.insert(ticket, grant);
        ticket
    }

    /// The reconcile with this ticket ended, or does not wait any more.
    pub(super) fn leave(&mut self, namespace: &Namespace, ticket: Ticket) {
        let Some(line) = self.namespaces.get_mut(namespace) else {
            return;
        };
        if line.waiting.remove(&ticket).is_some() {
            self.waiting -= 1;
        } else {
            line.in_use -= 1;
            self.in_use -= 1;
        }
        if line.in_use == 0 && line.waiting.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// Gives away one of `limit` slots, if one is free. A fourth of them is neither for a single
    /// namespace nor for all slow ones together: calls that take long leave some for the others.
    pub(super) fn next(&mut self, limit: usize, is_slow: impl Fn(&Namespace) -> bool) -> Option<G> {
        if self.in_use >= limit || self.waiting == 0 {
            return None;
        }
        let share = limit - limit / 4;
        let users = self.namespaces.iter().filter(|(_, line)| line.in_use > 0);
        let of_slow: usize = users
            .filter(|(name, _)| is_slow(name))
            .map(|(_, line)| line.in_use)
            .sum();
        let eligible = self.namespaces.iter().filter_map(|(name, line)| {
            let (first, _) = line.waiting.first_key_value()?;
            Some((line.in_use, *first, name))
        });
        let eligible =
            eligible.filter(|(in_use, _, name)| *in_use < share && (of_slow < share || !is_slow(name)));
        let (_, _, name) = eligible.min_by_key(|(in_use, first, _)| (*in_use, *first))?;
        let name = name.clone();
        let line = self.namespaces.get_mut(&name)?;
        let (_, grant) = line.waiting.pop_first()?;
        line.in_use += 1;
        self.in_use += 1;
        self.waiting -= 1;
        Some(grant)
    }
}
