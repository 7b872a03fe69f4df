//! Fairness of the sampling schedule, in simulated time.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;
use proptest::prelude::*;

use super::*;

const HEALTHY: Duration = Duration::from_millis(5);
const HUNG: Duration = Duration::from_secs(2);
const UNREACHABLE: Duration = Duration::from_millis(300);

fn target(name: &str) -> SampleTarget {
    let meta = ObjectMeta {
        name: Some(name.to_owned()),
        uid: Some(format!("uid-{name}")),
        ..ObjectMeta::default()
    };
    SampleTarget {
        uid: Uid::of(&meta).unwrap(),
        name: PodName::of(&meta).unwrap(),
        ip: [10, 0, 0, 1].into(),
        component: Component::Server,
        ready: true,
        node_ready: true,
    }
}

/// An older sample is stale for the core.
fn fresh(interval: Interval) -> Duration {
    Duration::try_from(interval.fresh_for()).unwrap()
}

fn pods(cluster: &str, number: usize) -> Vec<SampleTarget> {
    (0..number)
        .map(|pod| target(&format!("{cluster}-{pod}")))
        .collect()
}

/// Pods that answer after a while, or do not, and what the schedule makes of it.
struct Network {
    schedule: Schedule,
    start: Instant,
    now: Instant,
    /// By the end of each request.
    under_way: BTreeMap<(Instant, TargetId), Question>,
    /// The latency of pods that do not answer.
    silent: HashMap<String, Duration>,
    /// When each pod was asked.
    asked: BTreeMap<String, Vec<Duration>>,
    /// When each pod answered.
    answered: BTreeMap<String, Vec<Duration>>,
    most_under_way: usize,
}

impl Network {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            schedule: Schedule::new(SLOTS, seed),
            start: now,
            now,
            under_way: BTreeMap::new(),
            silent: HashMap::new(),
            asked: BTreeMap::new(),
            answered: BTreeMap::new(),
            most_under_way: 0,
        }
    }

    fn cluster(&mut self, targets: Vec<SampleTarget>) -> ClusterId {
        let id = self.schedule.add_cluster(self.now);
        self.schedule.set_targets(id, targets, self.now);
        id
    }

    /// A cluster that has been quiet for a while.
    fn quiet_cluster(&mut self, targets: Vec<SampleTarget>) -> ClusterId {
        let id = self.cluster(targets);
        self.schedule.set_interval(id, Interval::Quiet, self.now);
        self.run(Duration::from_mins(1));
        self.answered.clear();
        self.asked.clear();
        self.start = self.now;
        id
    }

    fn silence(&mut self, pods: impl IntoIterator<Item = SampleTarget>, latency: Duration) {
        self.silent
            .extend(pods.into_iter().map(|pod| (pod.name.to_string(), latency)));
    }

    fn run(&mut self, lasts: Duration) {
        let end = self.now + lasts;
        while self.now < end {
            while let Some(question) = self.schedule.next(self.now) {
                let name = question.target.name.to_string();
                let latency = self.silent.get(&name).copied().unwrap_or(HEALTHY);
                self.asked.entry(name).or_default().push(self.now - self.start);
                self.under_way.insert((self.now + latency, question.id), question);
            }
            self.most_under_way = self.most_under_way.max(self.under_way.len());
            let ends = self.under_way.keys().next().map(|(at, _)| *at);
            self.now = ends
                .into_iter()
                .chain(self.schedule.wakes_at())
                .min()
                .unwrap_or(end)
                .min(end);
            while let Some(request) = self
                .under_way
                .first_entry()
                .filter(|request| request.key().0 <= self.now)
            {
                let question = request.remove();
                let name = question.target.name.to_string();
                let answers = !self.silent.contains_key(&name);
                if answers {
                    self.answered.entry(name).or_default().push(self.now - self.start);
                }
                self.schedule.finished(&question, answers, self.now);
            }
        }
    }

    /// The longest time without an answer of any of these pods, from the start on.
    fn longest_gap<'a>(&self, pods: impl IntoIterator<Item = &'a SampleTarget>) -> Duration {
        let end = self.now - self.start;
        let gap = |pod: &SampleTarget| {
            let answers = self.answered.get(&*pod.name).into_iter().flatten().copied();
            let times: Vec<_> = [Duration::ZERO].into_iter().chain(answers).chain([end]).collect();
            times
                .windows(2)
                .map(|pair| pair[1].saturating_sub(pair[0]))
                .max()
                .unwrap()
        };
        pods.into_iter().map(gap).max().unwrap()
    }

    fn pauses(&self, pod: &str) -> Vec<u64> {
        let asked = &self.asked[pod];
        asked
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]).as_secs())
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn lost_third_leaves_the_rest_fresh(
        seed: u64,
        lost in 0_usize..=667,
        at in 0_u64..10_000,
        hung: bool,
    ) {
        let mut network = Network::new(seed);
        let all = pods("chat", 2_000);
        network.cluster(all.clone());
        network.run(Duration::from_secs(10) + Duration::from_millis(at));
        let latency = if hung { HUNG } else { UNREACHABLE };
        network.silence(all.iter().take(lost).cloned(), latency);
        network.run(Duration::from_mins(2));
        let gap = network.longest_gap(&all[lost..]);
        prop_assert!(gap <= fresh(Interval::Active), "{lost} of 2,000 pods lost: another one has no sample for {gap:?}");
    }

    #[test]
    fn hung_cluster_delays_others_at_most_twice(seed: u64, small in 1_usize..=4, clusters in 1_usize..=50) {
        let mut gaps = Vec::new();
        for neighbour in [0, 2_000] {
            let mut network = Network::new(seed);
            network.silence(pods("hung", neighbour), HUNG);
            network.cluster(pods("hung", neighbour));
            let others: Vec<_> = (0..clusters).flat_map(|number| pods(&format!("chat-{number}"), small)).collect();
            for cluster in others.chunks(small) {
                network.cluster(cluster.to_vec());
            }
            network.run(Duration::from_mins(2));
            prop_assert!(network.most_under_way <= SLOTS);
            gaps.push(network.longest_gap(&others));
        }
        prop_assert!(gaps[1] <= gaps[0] * 2, "{gaps:?}");
    }

    #[test]
    fn slots_are_never_exceeded(seed: u64, clusters in 1_usize..=600) {
        let mut network = Network::new(seed);
        for number in 0..clusters {
            let all = pods(&format!("hung-{number}"), 20);
            network.silence(all.clone(), HUNG);
            network.cluster(all);
        }
        network.run(Duration::from_secs(20));
        prop_assert!(network.most_under_way <= SLOTS, "{}", network.most_under_way);
        let asked = (0..clusters).filter(|number| network.asked.contains_key(&format!("hung-{number}-0")));
        prop_assert_eq!(asked.count(), clusters, "a cluster is left out");
    }
}

#[test]
fn lost_zone_leaves_other_samples_fresh() {
    let mut network = Network::new(1);
    let clusters: Vec<_> = (0..1_000)
        .map(|number| pods(&format!("chat-{number}"), 4))
        .collect();
    for cluster in &clusters {
        network.cluster(cluster.clone());
    }
    network.run(Duration::from_secs(20));
    // Requests on kept connections into the zone hang.
    for (number, cluster) in clusters.iter().enumerate() {
        network.silence(cluster.iter().skip(number % 4).step_by(3).take(1).cloned(), HUNG);
    }
    network.run(Duration::from_mins(2));
    let silent = network.silent.clone();
    let rest = clusters
        .iter()
        .flatten()
        .filter(|pod| !silent.contains_key(&*pod.name));
    let gap = network.longest_gap(rest);
    assert!(gap <= fresh(Interval::Active), "{gap:?}");
}

#[test]
fn silent_pod_is_asked_less_often() {
    let mut network = Network::new(3);
    network.silence([target("chat-0")], UNREACHABLE);
    network.cluster(pods("chat", 2));
    network.run(Duration::from_mins(6));
    let pauses = network.pauses("chat-0");
    for (pause, expected) in pauses.iter().zip([5, 10, 20, 40, 60, 60]) {
        let least = expected * 9 / 10 - 1;
        // The first one waits for the next round.
        assert!(
            (least.min(2)..=expected * 11 / 10 + 3).contains(pause),
            "{pauses:?}"
        );
        assert!(expected == 5 || *pause >= least, "{pauses:?}");
    }
    network.silent.clear();
    network.run(Duration::from_mins(2));
    let last = network.pauses("chat-0").pop().unwrap();
    assert!(last <= 5, "asked every 5 s again after its answer: {last} s");
}

#[test]
fn only_news_is_asked_at_once() {
    let mut network = Network::new(5);
    let mut unready = target("chat-1");
    unready.ready = false;
    let before = vec![target("chat-0"), unready];
    let id = network.cluster(before.clone());
    network.run(Duration::from_millis(100));
    let asked = |network: &Network| {
        network
            .asked
            .iter()
            .map(|(pod, times)| (pod.clone(), times.len()))
            .collect::<Vec<_>>()
    };
    let known = |pods: [(&str, usize); 3]| pods.map(|(pod, times)| (pod.to_owned(), times)).to_vec();
    network.schedule.set_targets(id, before, network.now);
    network.run(Duration::from_millis(100));
    assert_eq!(
        asked(&network),
        known([("chat-0", 1), ("chat-1", 1), ("", 0)])[..2],
        "nothing changed"
    );
    let after = pods("chat", 3);
    network.schedule.set_targets(id, after, network.now);
    network.run(Duration::from_millis(100));
    assert_eq!(
        asked(&network),
        known([("chat-0", 1), ("chat-1", 2), ("chat-2", 1)]),
        "chat-1 became ready and chat-2 is new"
    );
}

#[test]
fn pods_of_lost_nodes_are_asked_last() {
    let mut schedule = Schedule::new(2, 0);
    let now = Instant::now();
    let id = schedule.add_cluster(now);
    let mut lost = target("a-lost");
    lost.node_ready = false;
    schedule.set_targets(id, vec![lost, target("b")], now);
    let first = schedule.next(now).unwrap();
    assert_eq!(&*first.target.name, "b");
    assert!(
        schedule.next(now).is_none(),
        "one slot stays free for another cluster"
    );
    let finished = schedule.finished(&first, true, now);
    assert!(
        finished.is_some_and(|finished| finished.is_news),
        "all healthy pods have answered"
    );
    assert_eq!(&*schedule.next(now).unwrap().target.name, "a-lost");
}

#[test]
fn removed_pods_return_their_slots() {
    let mut schedule = Schedule::new(2, 0);
    let now = Instant::now();
    let id = schedule.add_cluster(now);
    schedule.set_targets(id, pods("chat", 3), now);
    let question = schedule.next(now).unwrap();
    schedule.set_targets(id, Vec::new(), now);
    assert_eq!(schedule.finished(&question, true, now), None);
    assert!(schedule.targets.is_empty() && schedule.kept_alive == 0 && schedule.asked == 0);
    schedule.set_targets(id, pods("chat", 3), now);
    let question = schedule.next(now).unwrap();
    schedule.remove_cluster(id);
    schedule.finished(&question, true, now);
    assert!(schedule.targets.is_empty() && schedule.clusters.is_empty() && schedule.queued.is_empty());
    assert_eq!(schedule.wakes_at(), None);
}

#[test]
fn kept_connections_are_bounded() {
    let mut network = Network::new(7);
    network.cluster(pods("chat", KEPT_ALIVE + 10));
    let kept = network.schedule.targets.values().filter(|entry| entry.keep_alive);
    assert_eq!(kept.count(), KEPT_ALIVE);
}

#[test]
fn long_intervals_keep_no_connection() {
    let mut schedule = Schedule::new(SLOTS, 0);
    let mut now = Instant::now();
    let id = schedule.add_cluster(now);
    schedule.set_targets(id, pods("chat", 1), now);
    let question = schedule.next(now).unwrap();
    assert!(question.keep_alive);
    schedule.set_interval(id, Interval::Quiet, now);
    let finished = schedule.finished(&question, true, now).unwrap();
    assert_eq!(finished.interval, Interval::Quiet);
    now = schedule.wakes_at().unwrap();
    assert!(!schedule.next(now).unwrap().keep_alive);
}

#[test]
fn quiet_cluster_is_asked_every_15_s() {
    let mut network = Network::new(11);
    let all = pods("chat", 4);
    let id = network.quiet_cluster(all.clone());
    network.run(Duration::from_mins(10));
    for pod in &all {
        let pauses = network.pauses(&pod.name);
        assert!((35..=45).contains(&pauses.len()), "{pauses:?}");
        assert!(pauses.iter().all(|pause| (13..=16).contains(pause)), "{pauses:?}");
    }
    network.asked.clear();
    network.schedule.set_interval(id, Interval::Active, network.now);
    network.run(Duration::from_millis(5_600));
    assert_eq!(network.asked.len(), 4, "the next round is not later than 5 s");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_failed_request_makes_no_sample_stale(seed: u64, number in 1_usize..=20, at in 0_u64..15_000, hung: bool) {
        let mut network = Network::new(seed);
        let all = pods("chat", number);
        network.quiet_cluster(all.clone());
        network.run(Duration::from_millis(at));
        network.silence([all[0].clone()], if hung { HUNG } else { UNREACHABLE });
        let asked = |network: &Network| network.asked.get("chat-0").map_or(0, Vec::len);
        let before = asked(&network);
        while asked(&network) == before {
            network.run(Duration::from_millis(100));
        }
        network.run(HUNG);
        network.silent.clear();
        network.run(Duration::from_mins(1));
        prop_assert_eq!(network.schedule.clusters.values().map(|cluster| cluster.failing).sum::<usize>(), 0);
        let gap = network.longest_gap(&all);
        prop_assert!(gap <= fresh(Interval::Quiet), "{gap:?}");
    }

    #[test]
    fn failed_request_shortens_the_interval_of_all(seed: u64, number in 2_usize..=20, at in 0_u64..15_000) {
        let mut network = Network::new(seed);
        let all = pods("chat", number);
        network.quiet_cluster(all.clone());
        network.run(Duration::from_millis(at));
        network.silence([all[0].clone()], HUNG);
        // The request fails after 16.5 s of the interval and 2 s at most.
        network.run(Duration::from_millis(18_600));
        let failed = network.now - network.start;
        network.run(Duration::from_mins(2));
        for pod in &all[1..] {
            let late: Vec<_> = network.answered[&*pod.name].iter().filter(|at| **at >= failed).collect();
            let first = late[0].saturating_sub(failed);
            let gap = late.windows(2).map(|pair| pair[1].saturating_sub(*pair[0])).max().unwrap();
            prop_assert!(first.max(gap) <= Duration::from_millis(5_600), "{first:?} and then {gap:?}");
        }
    }

    #[test]
    fn lost_zone_leaves_quiet_clusters_fresh(seed: u64, clusters in 1_usize..=300) {
        let mut network = Network::new(seed);
        let all: Vec<_> = (0..clusters).map(|number| pods(&format!("chat-{number}"), 4)).collect();
        for cluster in &all {
            let id = network.cluster(cluster.clone());
            network.schedule.set_interval(id, Interval::Quiet, network.now);
        }
        network.run(Duration::from_mins(1));
        network.silence(all.iter().map(|cluster| cluster[0].clone()), HUNG);
        network.run(Duration::from_mins(2));
        let gap = network.longest_gap(all.iter().flat_map(|cluster| &cluster[1..]));
        prop_assert!(gap <= fresh(Interval::Quiet), "{gap:?}");
    }
}
