//! Connection slots, and when the pod leaves the proxy's rotation.

use std::sync::Arc;

use parking_lot::Mutex;

/// Open files that are not for clients: control connections, Redis, listeners, health checks, logs.
pub(crate) const RESERVED_FILES: u64 = 256;
/// A pod that was full comes back into rotation at this share of its capacity, so that it does not
/// flap at the edge.
const RETURN_PERCENT: u64 = 97;

/// Counts slots. A slot is taken at the handshake, so that two handshakes cannot share the last
/// one.
#[derive(Debug)]
pub(crate) struct Capacity {
    max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: u64,
    full: bool,
}

/// One connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Capacity>);

impl Capacity {
    /// Room for `max` connections.
    pub(crate) fn new(max: u64) -> Arc<Self> {
        Arc::new(Self {
            max,
            state: Mutex::default(),
        })
    }

    /// A place, or `None` if all are taken.
    pub(crate) fn reserve(self: &Arc<Self>) -> Option<Slot> {
        let mut state = self.state.lock();
        if state.taken >= self.max {
            return None;
        }
        state.taken += 1;
        state.full |= state.taken >= self.max;
        Some(Slot(Arc::clone(self)))
    }

    /// Places that are taken.
    pub(crate) fn taken(&self) -> u64 {
        self.state.lock().taken
    }

    /// All places.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// Whether the proxy should send no new connections: from full until 97 % and less.
    pub(crate) fn is_out_of_rotation(&self) -> bool {
        self.state.lock().full
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.taken -= 1;
        if state.taken <= self.0.max * RETURN_PERCENT / 100 {
            state.full = false;
        }
    }
}

/// What the open-file limit leaves of the wanted capacity; `None` if nothing is left.
pub(crate) fn within_files(wanted: u64, nofile: u64) -> Option<u64> {
    let possible = nofile.checked_sub(RESERVED_FILES).filter(|n| *n > 0)?;
    Some(wanted.min(possible))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn full_at_limit_free_at_97_percent() {
        let capacity = Capacity::new(100);
        let mut slots: Vec<_> = (0..100).map(|_| capacity.reserve().expect("room")).collect();
        assert!(capacity.is_out_of_rotation() && capacity.reserve().is_none());
        slots.truncate(98);
        assert!(capacity.is_out_of_rotation());
        slots.truncate(97);
        assert!(!capacity.is_out_of_rotation());
        slots.push(capacity.reserve().expect("room"));
        assert!(!capacity.is_out_of_rotation(), "98 on the way up is in rotation");
    }

    #[test]
    fn files_bound_the_capacity() {
        assert_eq!(within_files(10_000, 20_000), Some(10_000));
        assert_eq!(within_files(60_000, 20_000), Some(19_744));
        assert_eq!(within_files(10, 256), None);
        assert_eq!(within_files(10, 3), None);
    }

    proptest! {
        #[test]
        fn a_slot_never_leaks(max in 1_u64..20, steps in prop::collection::vec(any::<bool>(), 0..200)) {
            let capacity = Capacity::new(max);
            let mut slots = Vec::new();
            for take in steps {
                if take {
                    let slot = capacity.reserve();
                    prop_assert_eq!(slot.is_some(), (slots.len() as u64) < max);
                    slots.extend(slot);
                } else {
                    slots.pop();
                }
                prop_assert_eq!(capacity.taken(), slots.len() as u64);
                prop_assert!(capacity.taken() < max || capacity.is_out_of_rotation());
                prop_assert!(capacity.taken() > max * 97 / 100 || !capacity.is_out_of_rotation());
            }
            drop(slots);
            prop_assert_eq!(capacity.taken(), 0);
        }
    }
}
