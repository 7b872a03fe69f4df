//! Clients and the server pods that hold their connections, one second after the other. What the
//! rules may do here: create pods, put them into rotation, move clients, remove pods.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::day::{Day, WARM_UP};
use crate::numbers::{real, whole};

/// `server.maxConnections`.
pub(crate) const CAPACITY: i64 = 10_000;
/// From the creation of a pod to its first Ready.
const START_SECONDS: i64 = 30;
/// Mean length of a session; the distribution is exponential.
const SESSION_SECONDS: i64 = 30 * 60;
/// A moved client reconnects within this time; the default of `drain.notice.jitterSeconds`.
const JITTER_SECONDS: i64 = 30;

/// One server pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    pub(crate) ready_at: i64,
    /// New clients are sent to it.
    pub(crate) in_rotation: bool,
    pub(crate) connections: i64,
}

#[derive(Debug)]
pub(crate) struct World {
    /// Second of the day.
    pub(crate) clock: i64,
    pub(crate) day: Day,
    /// By serial.
    pub(crate) servers: BTreeMap<i64, Server>,
    pub(crate) random: StdRng,
    /// Moved clients by the second at which they reconnect.
    reconnects: BTreeMap<i64, i64>,
    /// Clients without a connection, by the second of their first handshake.
    waiting: VecDeque<(i64, i64)>,
    /// Clients that were moved in this second.
    pub(crate) moved: i64,
    /// Of these, the ones whose pod was deleted under them.
    pub(crate) cut: i64,
}

impl World {
    pub(crate) fn new(day: Day, seed: u64) -> Self {
        Self {
            clock: day.begins - WARM_UP,
            day,
            servers: BTreeMap::new(),
            random: StdRng::seed_from_u64(seed),
            reconnects: BTreeMap::new(),
            waiting: VecDeque::new(),
            moved: 0,
            cut: 0,
        }
    }

    pub(crate) fn connected(&self) -> i64 {
        self.servers.values().map(|server| server.connections).sum()
    }

    /// How long the oldest client has found no room.
    pub(crate) fn longest_wait(&self) -> i64 {
        self.waiting.front().map_or(0, |(since, _)| self.clock - since)
    }

    fn clients(&self) -> i64 {
        let waiting: i64 = self.waiting.iter().map(|(_, clients)| clients).sum();
        self.connected() + waiting + self.reconnects.values().sum::<i64>()
    }

    pub(crate) fn is_ready(&self, serial: i64) -> bool {
        self.servers
            .get(&serial)
            .is_some_and(|server| server.ready_at <= self.clock)
    }

    /// One second: sessions end, clients arrive, clients without a connection are placed.
    pub(crate) fn step(&mut self) {
        self.clock += 1;
        (self.moved, self.cut) = (0, 0);
        self.end_sessions();
        let missing = self.day.wanted(self.clock) - self.clients();
        if missing < 0 {
            self.disconnect(-missing);
        }
        let back = self.reconnects.remove(&self.clock).unwrap_or(0);
        self.waiting.push_back((self.clock, missing.max(0) + back));
        self.place();
    }

    fn end_sessions(&mut self) {
        for server in self.servers.values_mut() {
            let expected = real(server.connections) / real(SESSION_SECONDS);
            let more = self.random.random::<f64>() < expected.fract();
            server.connections -= (whole(expected) + i64::from(more)).min(server.connections);
        }
    }

    /// More clients leave than sessions end by themselves: an equal share of every pod.
    fn disconnect(&mut self, clients: i64) {
        let mut left = clients.min(self.connected());
        let mut connected = self.connected();
        for server in self.servers.values_mut() {
            let share = if connected > 0 {
                left * server.connections / connected
            } else {
                0
            };
            connected -= server.connections;
            server.connections -= share;
            left -= share;
        }
    }

    /// Least connections, the oldest client first.
    fn place(&mut self) {
        let clock = self.clock;
        let open = self.servers.iter().filter(|(_, server)| {
            server.in_rotation && server.ready_at <= clock && server.connections < CAPACITY
        });
        let mut emptiest: BinaryHeap<_> = open
            .map(|(serial, server)| Reverse((server.connections, *serial)))
            .collect();
        while let Some((since, clients)) = self.waiting.pop_front() {
            for placed in 0..clients {
                let Some(Reverse((connections, serial))) = emptiest.pop() else {
                    self.waiting.push_front((since, clients - placed));
                    return;
                };
                if let Some(server) = self.servers.get_mut(&serial) {
                    server.connections += 1;
                }
                if connections + 1 < CAPACITY {
                    emptiest.push(Reverse((connections + 1, serial)));
                }
            }
        }
    }

    pub(crate) fn create(&mut self, serial: i64) {
        let server = Server {
            ready_at: self.clock + START_SECONDS,
            in_rotation: false,
            connections: 0,
        };
        self.servers.insert(serial, server);
    }

    pub(crate) fn set_rotation(&mut self, serial: i64, in_rotation: bool) {
        if let Some(server) = self.servers.get_mut(&serial) {
            server.in_rotation = in_rotation;
        }
    }

    /// Closes connections of a pod; their clients reconnect within the jitter. Returns how many
    /// there were.
    pub(crate) fn move_clients(&mut self, serial: i64, most: i64) -> i64 {
        let Some(server) = self.servers.get_mut(&serial) else {
            return 0;
        };
        let clients = most.min(server.connections);
        server.connections -= clients;
        for _ in 0..clients {
            let at = self.clock + self.random.random_range(1..=JITTER_SECONDS);
            *self.reconnects.entry(at).or_default() += 1;
        }
        self.moved += clients;
        clients
    }

    /// Deletes the pod, which cuts its connections.
    pub(crate) fn remove(&mut self, serial: i64) {
        self.cut += self.move_clients(serial, i64::MAX);
        self.servers.remove(&serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A world with two pods in rotation, 30 s after their creation.
    fn world() -> World {
        let mut world = World::new(Day::whole(10_000), 1);
        for serial in 0..2 {
            world.create(serial);
            world.set_rotation(serial, true);
        }
        for _ in 0..3_700 {
            world.step();
        }
        world
    }

    #[test]
    fn every_client_is_connected_waits_or_reconnects() {
        let mut world = world();
        for second in 0..2_000 {
            if second == 100 {
                world.remove(0);
            }
            world.step();
            assert_eq!(world.clients(), world.day.wanted(world.clock), "second {second}");
        }
        assert_eq!((world.connected(), world.longest_wait()), (world.clients(), 0));
    }

    #[test]
    fn connections_are_spread_evenly() {
        let world = world();
        let (one, other) = (&world.servers[&0], &world.servers[&1]);
        assert!(
            (one.connections - other.connections).abs() < 10,
            "{one:?} {other:?}"
        );
    }

    #[test]
    fn half_the_sessions_last_21_minutes() {
        let mut world = world();
        world.set_rotation(0, false);
        let before = world.servers[&0].connections;
        for _ in 0..(30 * 60) * 693 / 1_000 {
            world.step();
        }
        let left = real(world.servers[&0].connections) / real(before);
        assert!((left - 0.5).abs() < 0.03, "{left} of {before}");
    }

    #[test]
    fn full_pods_let_clients_wait() {
        let mut world = World::new(Day::whole(100_000), 1);
        world.create(0);
        world.set_rotation(0, true);
        for _ in 0..WARM_UP {
            world.step();
        }
        assert_eq!(world.connected(), CAPACITY);
        assert!(world.longest_wait() > 60, "{}", world.longest_wait());
    }
}
