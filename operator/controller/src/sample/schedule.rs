//! Which pod is sampled next, over all clusters: pure decisions. A pod that does not respond is
//! sampled less often, and no cluster can use up the slots that all share.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wsc_contract::labels::Component;

use crate::identity::{PodName, Uid};

/// Requests that are under way at the same time.
pub(super) const SLOTS: usize = 512;
/// Interval of samples, with 10 % of jitter, so that clusters are not sampled at the same time.
const TICK: Duration = Duration::from_secs(5);
/// A pod that does not respond is sampled after 5, 10, 20, 40 and then 60 s.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Pods whose connection is kept between two samples. Each costs a file and some KiB.
const KEPT_ALIVE: usize = 1_024;

/// One pod to sample.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SampleTarget {
    pub(crate) uid: Uid,
    pub(crate) name: PodName,
    pub(crate) ip: IpAddr,
    pub(crate) component: Component,
    pub(crate) ready: bool,
    pub(crate) node_ready: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ClusterId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TargetId(u64);

/// A request to send now.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) id: TargetId,
    pub(super) cluster: ClusterId,
    pub(super) target: SampleTarget,
    pub(super) keep_alive: bool,
}

#[derive(Debug)]
pub(super) struct Schedule {
    clusters: HashMap<ClusterId, Cluster>,
    targets: HashMap<TargetId, Entry>,
    /// Targets that wait, by the time of their next sample.
    due: BTreeSet<(Instant, TargetId)>,
    /// Clusters with queued targets: those with the fewest requests first, then in turn.
    queued: BTreeSet<(usize, u64, ClusterId)>,
    asked: usize,
    kept_alive: usize,
    slots: usize,
    last_id: u64,
    last_turn: u64,
    random: StdRng,
}

#[derive(Debug)]
struct Cluster {
    by_uid: HashMap<Uid, TargetId>,
    /// Of healthy targets: they are sampled together, so that one reconcile sees all of them.
    next_round: Instant,
    /// By urgency and age.
    queue: BTreeSet<(Urgency, Instant, TargetId)>,
    /// Requests under way.
    asked: usize,
    /// When it last sent a request, so that equal clusters take turns.
    turn: u64,
    /// Healthy targets of this round without a response.
    awaited: HashSet<TargetId>,
}

#[derive(Debug)]
struct Entry {
    cluster: ClusterId,
    target: SampleTarget,
    /// In a row.
    failures: u32,
    phase: Phase,
    keep_alive: bool,
    /// It was removed while a request was under way.
    removed: bool,
    /// It changed while a request was under way: it is sampled again at once.
    changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting(Instant),
    Queued(Urgency, Instant),
    Asked,
}

/// Which target of a cluster is sampled first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Healthy,
    Failing,
    /// Its node is not ready, so a response is unlikely.
    NodeLost,
}

impl Entry {
    fn urgency(&self) -> Urgency {
        match (self.target.node_ready, self.failures) {
            (false, _) => Urgency::NodeLost,
            (true, 0) => Urgency::Healthy,
            (true, _) => Urgency::Failing,
        }
    }
}

impl Schedule {
    pub(super) fn new(slots: usize, seed: u64) -> Self {
        Self {
            clusters: HashMap::new(),
            targets: HashMap::new(),
            due: BTreeSet::new(),
            queued: BTreeSet::new(),
            asked: 0,
            kept_alive: 0,
            slots,
            last_id: 0,
            last_turn: 0,
            random: StdRng::seed_from_u64(seed),
        }
    }

    pub(super) fn add_cluster(&mut self, now: Instant) -> ClusterId {
        let id = ClusterId(self.next_id());
        let cluster = Cluster {
            by_uid: HashMap::new(),
            // Clusters that are all new after a start are spread over two intervals.
            next_round: now + TICK.mul_f64(self.random.random_range(0.5..1.5)),
            queue: BTreeSet::new(),
            asked: 0,
            turn: 0,
            awaited: HashSet::new(),
        };
        self.clusters.insert(id, cluster);
        id
    }

    pub(super) fn remove_cluster(&mut self, id: ClusterId) {
        let Some(cluster) = self.clusters.get(&id) else {
            return;
        };
        for target in cluster.by_uid.values().copied().collect::<Vec<_>>() {
            self.remove(target);
        }
        self.clusters.remove(&id);
    }

    /// The pods of a cluster from now on. New ones, and those that became ready or have another
    /// address, are due at once.
    pub(super) fn set_targets(&mut self, id: ClusterId, targets: Vec<SampleTarget>, now: Instant) {
        let Some(cluster) = self.clusters.get(&id) else {
            return;
        };
        let wanted: HashSet<&Uid> = targets.iter().map(|target| &target.uid).collect();
        let known = cluster.by_uid.iter();
        let gone = known
            .filter(|(uid, _)| !wanted.contains(*uid))
            .map(|(_, target)| *target);
        for target in gone.collect::<Vec<_>>() {
            self.remove(target);
        }
        for target in targets {
            self.set_target(id, target, now);
        }
    }

    fn set_target(&mut self, id: ClusterId, target: SampleTarget, now: Instant) {
        let known = self
            .clusters
            .get(&id)
            .and_then(|cluster| cluster.by_uid.get(&target.uid));
        let Some(known) = known.copied() else {
            self.add(id, target, now);
            return;
        };
        let Some(entry) = self
            .targets
            .get_mut(&known)
            .filter(|entry| entry.target != target)
        else {
            return;
        };
        let before = std::mem::replace(&mut entry.target, target);
        let is_news = before.ip != entry.target.ip || (entry.target.ready && !before.ready);
        if !is_news {
            return;
        }
        entry.failures = 0;
        match entry.phase {
            Phase::Asked => entry.changed = true,
            Phase::Waiting(_) | Phase::Queued(..) => {
                self.unschedule(known);
                self.wait_until(known, now);
            }
        }
    }

    fn add(&mut self, cluster: ClusterId, target: SampleTarget, now: Instant) {
        let id = TargetId(self.next_id());
        let keep_alive = self.kept_alive < KEPT_ALIVE;
        self.kept_alive += usize::from(keep_alive);
        if let Some(cluster) = self.clusters.get_mut(&cluster) {
            cluster.by_uid.insert(target.uid.clone(), id);
        }
        let entry = Entry {
            cluster,
            target,
            failures: 0,
            phase: Phase::Asked,
            keep_alive,
            removed: false,
            changed: false,
        };
        self.targets.insert(id, entry);
        self.wait_until(id, now);
    }

    fn remove(&mut self, id: TargetId) {
        self.unschedule(id);
        let Some(entry) = self.targets.get_mut(&id) else {
            return;
        };
        if let Some(cluster) = self.clusters.get_mut(&entry.cluster) {
            cluster.by_uid.remove(&entry.target.uid);
            cluster.awaited.remove(&id);
        }
        if entry.phase == Phase::Asked {
            entry.removed = true;
        } else {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: TargetId) {
        if let Some(entry) = self.targets.remove(&id) {
            self.kept_alive -= usize::from(entry.keep_alive);
        }
    }

    /// The next request, if a target is due and a slot is free for its cluster.
    pub(super) fn next(&mut self, now: Instant) -> Option<Question> {
        self.enqueue_due(now);
        let (asked, _, id) = *self.queued.first()?;
        // Each cluster may use as many slots as remain free: many large ones share them, and one
        // slot stays for the others.
        if asked >= self.slots.saturating_sub(self.asked) {
            return None;
        }
        let cluster = self.clusters.get(&id)?;
        let (_, _, target) = *cluster.queue.first()?;
        self.unschedule(target);
        self.last_turn += 1;
        let turn = self.last_turn;
        self.change_cluster(id, |cluster| {
            cluster.asked += 1;
            cluster.turn = turn;
        });
        self.asked += 1;
        let entry = self.targets.get_mut(&target)?;
        entry.phase = Phase::Asked;
        Some(Question {
            id: target,
            cluster: id,
            target: entry.target.clone(),
            keep_alive: entry.keep_alive,
        })
    }

    /// A request ended. Returns true if the cluster has news: all healthy pods of the round have
    /// responded, or one recovered.
    pub(super) fn finished(&mut self, question: &Question, answered: bool, now: Instant) -> bool {
        self.asked -= 1;
        self.change_cluster(question.cluster, |cluster| cluster.asked -= 1);
        let id = question.id;
        let Some(entry) = self.targets.get_mut(&id) else {
            return false;
        };
        if entry.removed {
            self.forget(id);
            return false;
        }
        let recovered = answered && entry.failures > 0;
        entry.failures = if answered {
            0
        } else {
            entry.failures.saturating_add(1)
        };
        let (changed, failures) = (std::mem::take(&mut entry.changed), entry.failures);
        let cluster = self.clusters.get_mut(&question.cluster);
        let complete =
            cluster.is_some_and(|cluster| cluster.awaited.remove(&id) && cluster.awaited.is_empty());
        let next = match (changed, failures) {
            (true, _) => now,
            (false, 0 | 1) => self.next_round(question.cluster, now),
            (false, more) => now + self.pause(more),
        };
        self.wait_until(id, next);
        complete || recovered
    }

    /// When a target is due that is not due now. Queued targets wait for the end of a request.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn pause(&mut self, failures: u32) -> Duration {
        let factor = 1_u32 << failures.saturating_sub(1).min(4);
        (TICK * factor)
            .min(LONGEST_PAUSE)
            .mul_f64(self.random.random_range(0.9..1.1))
    }

    fn next_round(&mut self, id: ClusterId, now: Instant) -> Instant {
        let Some(cluster) = self.clusters.get_mut(&id) else {
            return now + TICK;
        };
        while cluster.next_round <= now {
            cluster.next_round += TICK.mul_f64(self.random.random_range(0.9..1.1));
        }
        cluster.next_round
    }

    fn wait_until(&mut self, id: TargetId, at: Instant) {
        if let Some(entry) = self.targets.get_mut(&id) {
            entry.phase = Phase::Waiting(at);
            self.due.insert((at, id));
        }
    }

    fn enqueue_due(&mut self, now: Instant) {
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            let Some(entry) = self.targets.get_mut(&id) else {
                continue;
            };
            let (cluster, urgency) = (entry.cluster, entry.urgency());
            entry.phase = Phase::Queued(urgency, at);
            self.change_cluster(cluster, |cluster| {
                cluster.queue.insert((urgency, at, id));
                if urgency == Urgency::Healthy {
                    cluster.awaited.insert(id);
                }
            });
        }
    }

    /// Takes a target out of the heap and the queue.
    fn unschedule(&mut self, id: TargetId) {
        let Some(entry) = self.targets.get(&id) else {
            return;
        };
        match entry.phase {
            Phase::Waiting(at) => {
                self.due.remove(&(at, id));
            }
            Phase::Queued(urgency, at) => self.change_cluster(entry.cluster, |cluster| {
                cluster.queue.remove(&(urgency, at, id));
            }),
            Phase::Asked => {}
        }
    }

    /// Changes a cluster, and keeps its place among the queued ones.
    fn change_cluster(&mut self, id: ClusterId, change: impl FnOnce(&mut Cluster)) {
        let Some(cluster) = self.clusters.get_mut(&id) else {
            return;
        };
        self.queued.remove(&(cluster.asked, cluster.turn, id));
        change(cluster);
        if !cluster.queue.is_empty() {
            self.queued.insert((cluster.asked, cluster.turn, id));
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}
