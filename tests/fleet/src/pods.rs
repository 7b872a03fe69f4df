//! The stand-in pods, by address: what each responds, and when it was sampled.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use wsc_contract::control::{Broker, Shed, Stats};
use wsc_contract::labels::Component;

/// Connections that a server pod accepts at most: `server.maxConnections` of every cluster here.
pub(crate) const CAPACITY: u64 = 10_000;

/// Namespace and name of a `WebSocketCluster`.
pub(crate) type Key = (String, String);

/// All pods.
#[derive(Debug, Default)]
pub(crate) struct Pods(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    by_address: HashMap<IpAddr, Pod>,
    by_uid: HashMap<String, IpAddr>,
    last: u16,
}

/// One pod.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) cluster: Key,
    pub(crate) component: Component,
    /// Its process accepts connections and never responds, as after a crash of its node.
    pub(crate) hangs: bool,
    /// When its creation was observed.
    pub(crate) created: Instant,
    pub(crate) connections: u64,
    boot_id: String,
    cordoned: bool,
    shed_total: u64,
    sampled: Instant,
    longest_gap: Duration,
}

impl Pod {
    fn stats(&self) -> Stats {
        Stats {
            boot_id: self.boot_id.clone(),
            pod: Some(self.name.clone()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: 1,
            connections: self.connections,
            capacity: CAPACITY,
            cordoned: self.cordoned,
            shed_total: self.shed_total,
            shed_target: self.shed_total,
            broker: Broker {
                kind: "memory".to_owned(),
                up: true,
            },
            ..Stats::default()
        }
    }

    fn is_server_of(&self, cluster: &Key) -> bool {
        self.component == Component::Server && self.cluster == *cluster
    }
}

impl Pods {
    /// The address of a new pod; none if the pod is known.
    pub(crate) fn add(&self, uid: &str, name: &str, cluster: Key, component: Component) -> Option<IpAddr> {
        let mut content = self.0.lock();
        if content.by_uid.contains_key(uid) {
            return None;
        }
        content.last += 1;
        let [third, fourth] = content.last.to_be_bytes();
        let address = IpAddr::from(Ipv4Addr::new(10, 244, third, fourth));
        let now = Instant::now();
        let pod = Pod {
            name: name.to_owned(),
            cluster,
            component,
            hangs: false,
            created: now,
            connections: 0,
            boot_id: format!("{:016x}", rand::random::<u64>()),
            cordoned: false,
            shed_total: 0,
            sampled: now,
            longest_gap: Duration::ZERO,
        };
        content.by_uid.insert(uid.to_owned(), address);
        content.by_address.insert(address, pod);
        Some(address)
    }

    pub(crate) fn remove(&self, uid: &str) {
        let mut content = self.0.lock();
        if let Some(address) = content.by_uid.remove(uid) {
            content.by_address.remove(&address);
        }
    }

    pub(crate) fn at(&self, address: IpAddr) -> Option<Pod> {
        self.0.lock().by_address.get(&address).cloned()
    }

    /// Changes every pod.
    pub(crate) fn each(&self, mut change: impl FnMut(&mut Pod)) {
        self.0.lock().by_address.values_mut().for_each(&mut change);
    }

    /// Connections by name of the server pod.
    pub(crate) fn connections(&self, cluster: &Key) -> HashMap<String, u64> {
        let content = self.0.lock();
        let servers = content
            .by_address
            .values()
            .filter(|pod| pod.is_server_of(cluster));
        servers.map(|pod| (pod.name.clone(), pod.connections)).collect()
    }

    /// `GET /stats`.
    pub(crate) fn stats(&self, address: IpAddr) -> Option<Stats> {
        let mut content = self.0.lock();
        let pod = content.by_address.get_mut(&address)?;
        let now = Instant::now();
        pod.longest_gap = pod.longest_gap.max(now - pod.sampled);
        pod.sampled = now;
        Some(pod.stats())
    }

    /// `PUT /cordon` and `DELETE /cordon`.
    pub(crate) fn cordon(&self, address: IpAddr, cordoned: bool) -> Option<Stats> {
        let mut content = self.0.lock();
        let pod = content.by_address.get_mut(&address)?;
        pod.cordoned = cordoned;
        Some(pod.stats())
    }

    /// `PUT /shed`: all clients disconnect at once.
    pub(crate) fn shed(&self, address: IpAddr, body: &[u8]) -> Result<Stats> {
        let shed: Shed = serde_json::from_slice(body)?;
        shed.check()?;
        let mut content = self.0.lock();
        let pod = content.by_address.get_mut(&address).context("no such pod")?;
        let more = shed.total.saturating_sub(pod.shed_total);
        pod.connections = pod.connections.saturating_sub(more);
        pod.shed_total = pod.shed_total.max(shed.total);
        Ok(pod.stats())
    }

    /// From now on the intervals between samples are recorded.
    pub(crate) fn watch_gaps(&self) {
        let now = Instant::now();
        self.each(|pod| (pod.sampled, pod.longest_gap) = (now, Duration::ZERO));
    }

    /// The longest interval without a sample of each server pod that responds.
    pub(crate) fn gaps(&self) -> Vec<Duration> {
        let now = Instant::now();
        let content = self.0.lock();
        let servers = content.by_address.values();
        let servers = servers.filter(|pod| pod.component == Component::Server && !pod.hangs);
        servers
            .map(|pod| pod.longest_gap.max(now - pod.sampled))
            .collect()
    }

    /// When the first server pod of the cluster since then was created.
    pub(crate) fn created_since(&self, cluster: &Key, since: Instant) -> Option<Instant> {
        let content = self.0.lock();
        let servers = content
            .by_address
            .values()
            .filter(|pod| pod.is_server_of(cluster));
        servers
            .map(|pod| pod.created)
            .filter(|created| *created > since)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> (Pods, Key, IpAddr) {
        let pods = Pods::default();
        let key = ("ns".to_owned(), "chat".to_owned());
        let address = pods.add("a", "chat-0", key.clone(), Component::Server).unwrap();
        (pods, key, address)
    }

    #[test]
    fn pod_is_added_once_and_removed() {
        let (pods, key, address) = pods();
        assert_eq!(pods.add("a", "chat-0", key.clone(), Component::Server), None);
        let other = pods.add("b", "chat-1", key, Component::Server).unwrap();
        assert_ne!(address, other);
        pods.remove("a");
        assert!(pods.at(address).is_none() && pods.at(other).is_some());
        assert!(pods.stats(address).is_none());
    }

    #[test]
    fn gap_lasts_until_the_next_sample() {
        let (pods, ..) = pods();
        let past = Instant::now().checked_sub(Duration::from_secs(20)).unwrap();
        pods.each(|pod| pod.sampled = past);
        assert!(pods.gaps()[0] >= Duration::from_secs(20));
        pods.watch_gaps();
        assert!(pods.gaps()[0] < Duration::from_secs(20));
        pods.each(|pod| pod.hangs = true);
        assert!(pods.gaps().is_empty());
    }

    #[test]
    fn first_new_server_pod_ends_the_wait() {
        let (pods, key, address) = pods();
        let created = pods.at(address).unwrap().created;
        assert_eq!(pods.created_since(&key, created), None);
        pods.add("b", "chat-proxy", key.clone(), Component::Proxy)
            .unwrap();
        assert_eq!(pods.created_since(&key, created), None);
        pods.add("c", "chat-1", key.clone(), Component::Server).unwrap();
        assert!(pods.created_since(&key, created).is_some());
    }
}
