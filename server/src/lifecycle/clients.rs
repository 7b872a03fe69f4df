//! The open connections that can still be drained, oldest first, and the number per proxy.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::outbox::Outbox;

/// Counts connections without a valid `X-Wsc-Via`.
pub(crate) const DIRECT: &str = "direct";
/// Proxies that are counted by name; a cluster has far fewer, and a name is not verified.
const MAX_VIAS: usize = 256;
const OTHER: &str = "other";

/// Open connections by number; a lower number is an older connection.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: BTreeMap<u64, Client>,
    vias: HashMap<Arc<str>, u64>,
}

#[derive(Debug)]
struct Client {
    outbox: Arc<Outbox>,
    via: Arc<str>,
}

/// A connection's entry; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Registration {
    clients: Arc<Clients>,
    number: u64,
    via: Arc<str>,
}

impl Clients {
    /// Adds a connection.
    pub(crate) fn register(
        self: &Arc<Self>,
        number: u64,
        via: Option<&str>,
        outbox: Arc<Outbox>,
    ) -> Registration {
        let mut inner = self.inner.lock();
        let name = via.unwrap_or(DIRECT);
        let known = inner.vias.contains_key(name) || inner.vias.len() < MAX_VIAS;
        let name = if known { name } else { OTHER };
        let via: Arc<str> = match inner.vias.get_key_value(name) {
            Some((via, _)) => Arc::clone(via),
            None => name.into(),
        };
        *inner.vias.entry(Arc::clone(&via)).or_default() += 1;
        inner.open.insert(
            number,
            Client {
                outbox,
                via: Arc::clone(&via),
            },
        );
        Registration {
            clients: Arc::clone(self),
            number,
            via,
        }
    }

    /// The oldest connection that was not taken yet, of one proxy or of all. It is not handed out
    /// again.
    pub(crate) fn take_oldest(&self, via: Option<&str>) -> Option<Arc<Outbox>> {
        let mut inner = self.inner.lock();
        let number = match via {
            None => *inner.open.keys().next()?,
            Some(via) => *inner.open.iter().find(|(_, c)| &*c.via == via)?.0,
        };
        inner.open.remove(&number).map(|client| client.outbox)
    }

    /// Closes those with the longest queues as slow until this number of bytes is free; returns how
    /// many.
    pub(crate) fn give_up(&self, excess: usize) -> u64 {
        let inner = self.inner.lock();
        let mut queues: Vec<_> = inner
            .open
            .values()
            .map(|client| (client.outbox.bytes(), &client.outbox))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        queues.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let (mut freed, mut given_up) = (0, 0);
        for (bytes, outbox) in queues {
            if freed >= excess {
                break;
            }
            if outbox.give_up() {
                freed += bytes;
                given_up += 1;
            }
        }
        given_up
    }

    /// Connections that can still be taken.
    pub(crate) fn open(&self) -> u64 {
        self.inner.lock().open.len() as u64
    }

    /// Connections by proxy, those that are closing included.
    pub(crate) fn vias(&self) -> BTreeMap<String, u64> {
        self.inner
            .lock()
            .vias
            .iter()
            .map(|(via, n)| (via.to_string(), *n))
            .collect()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut inner = self.clients.inner.lock();
        inner.open.remove(&self.number);
        if let Some(count) = inner.vias.get_mut(&self.via) {
            *count -= 1;
            if *count == 0 {
                inner.vias.remove(&self.via);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Budget;

    fn outbox() -> Outbox {
        Outbox::new(100, Arc::new(Budget::new(usize::MAX)))
    }

    #[test]
    fn oldest_first_once_and_by_proxy() {
        let clients = Arc::new(Clients::default());
        let outboxes: Vec<_> = (0..4).map(|_| Arc::new(outbox())).collect();
        let vias = [Some("p-a"), Some("p-b"), None, Some("p-a")];
        let mut registrations: Vec<_> = (0..4)
            .map(|i| clients.register(i as u64, vias[i], Arc::clone(&outboxes[i])))
            .collect();
        let index =
            |taken: Option<Arc<Outbox>>| taken.and_then(|t| outboxes.iter().position(|o| Arc::ptr_eq(o, &t)));
        assert_eq!(
            clients.vias(),
            [("direct".into(), 1), ("p-a".into(), 2), ("p-b".into(), 1)].into()
        );
        assert_eq!(index(clients.take_oldest(Some("p-b"))), Some(1));
        assert_eq!(index(clients.take_oldest(Some("p-b"))), None);
        assert_eq!(index(clients.take_oldest(None)), Some(0));
        registrations.remove(2);
        assert_eq!(index(clients.take_oldest(None)), Some(3));
        assert_eq!((index(clients.take_oldest(None)), clients.open()), (None, 0));
        assert_eq!(
            clients.vias().values().sum::<u64>(),
            3,
            "closing ones still count"
        );
        drop(registrations);
        assert!(clients.vias().is_empty());
    }

    #[test]
    fn the_longest_queues_are_given_up_first() {
        let clients = Arc::new(Clients::default());
        let new = || Arc::new(Outbox::new(1 << 20, Arc::new(Budget::new(usize::MAX))));
        let boxes: Vec<_> = (0..4).map(|_| new()).collect();
        let _held: Vec<_> = (0..4)
            .zip(&boxes)
            .map(|(n, outbox)| clients.register(n, None, Arc::clone(outbox)))
            .collect();
        for (outbox, length) in boxes.iter().zip([0, 100, 300, 200]) {
            if length > 0 {
                outbox.push(&vec![0; length].into());
            }
        }
        let all = boxes.iter().map(|outbox| outbox.bytes()).sum::<usize>();
        assert_eq!(clients.give_up(400), 2);
        let slow: Vec<_> = boxes.iter().map(|outbox| outbox.asked_close()).collect();
        assert_eq!(slow, [None, None, Some("slow"), Some("slow")]);
        assert_eq!((clients.give_up(all), clients.give_up(all)), (1, 0));
    }

    #[test]
    fn proxy_names_are_bounded() {
        let clients = Arc::new(Clients::default());
        let held: Vec<_> = (0..1000)
            .map(|n| clients.register(n, Some(&format!("p-{n}")), Arc::new(outbox())))
            .collect();
        assert!(clients.vias().len() <= MAX_VIAS + 1);
        assert_eq!(clients.vias().values().sum::<u64>(), 1000);
        drop(held);
        assert!(clients.vias().is_empty());
    }
}
