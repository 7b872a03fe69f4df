//! The observed state of the pool: from the API server, server pods and agents. Plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use k8s_openapi::api::core::v1 as core;
use wsc_api::v1alpha1::WebSocketClusterStatus;
use wsc_contract::agent::AgentStatus;
use wsc_contract::control::Stats;
use wsc_contract::labels;
use wsc_haproxy::{BackendSet, BackendSetError};

/// A pool as it was last seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    /// Server pods by name.
    pub(crate) pods: BTreeMap<String, ServerPod>,
    /// HAProxy pods by uid, also deleted ones.
    pub(crate) proxies: BTreeMap<String, Proxy>,
    /// The status of the resource.
    pub(crate) status: WebSocketClusterStatus,
    /// When a pod was first seen Ready, by name.
    pub(crate) ready_at: BTreeMap<String, Instant>,
    /// The pod of each cookie, also of deleted pods.
    pub(crate) cookies: BTreeMap<String, String>,
    /// The most Active pods at any time.
    pub(crate) peak: usize,
    /// Granted moves, by the operator's metric.
    pub(crate) granted: u64,
    sheds: BTreeMap<(String, String), u64>,
}

/// One server pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerPod {
    /// Its uid.
    pub(crate) uid: String,
    /// Its address, once it has one.
    pub(crate) ip: Option<String>,
    /// Its drain state.
    pub(crate) state: String,
    /// Its condition Ready.
    pub(crate) ready: bool,
    /// Its last answer.
    pub(crate) stats: Option<Stats>,
}

/// One HAProxy pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxy {
    /// Its address, as long as it is there.
    pub(crate) ip: Option<String>,
    /// Restarts of its containers.
    pub(crate) restarts: u64,
    /// The last answer of its agent.
    pub(crate) status: Option<AgentStatus>,
    /// All processes that its agent has named.
    pub(crate) pids: BTreeSet<u32>,
}

impl Pool {
    /// A server pod is there, as the API server says at `now`.
    pub(crate) fn server(&mut self, pod: &core::Pod, now: Instant) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let known = self.pods.entry(name.clone()).or_default();
        known.uid = pod.metadata.uid.clone().unwrap_or_default();
        known.ip = ip(pod);
        known.state = pod
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(labels::STATE))
            .cloned()
            .unwrap_or_default();
        known.ready = is_ready(pod);
        if known.ready {
            self.ready_at.entry(name).or_insert(now);
        }
        self.peak = self.peak.max(self.active());
    }

    /// A HAProxy pod is there.
    pub(crate) fn proxy(&mut self, pod: &core::Pod) {
        let proxy = self
            .proxies
            .entry(pod.metadata.uid.clone().unwrap_or_default())
            .or_default();
        proxy.ip = ip(pod);
        let containers = pod
            .status
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten());
        proxy.restarts = containers
            .map(|container| u64::try_from(container.restart_count).unwrap_or(0))
            .sum();
    }

    /// A pod of either kind was deleted.
    pub(crate) fn gone(&mut self, pod: &core::Pod) {
        if let Some(name) = &pod.metadata.name {
            self.pods.remove(name);
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if let Some(proxy) = self.proxies.get_mut(uid) {
            proxy.ip = None;
        }
    }

    /// The published servers.
    ///
    /// # Errors
    /// When the text is not what the operator writes.
    pub(crate) fn published(&mut self, backends: &str) -> Result<(), BackendSetError> {
        let backends = BackendSet::from_json(backends)?;
        self.cookies.extend(
            backends
                .servers
                .into_iter()
                .map(|server| (server.cookie, server.name)),
        );
        Ok(())
    }

    /// The answer of a server pod.
    pub(crate) fn answered(&mut self, name: &str, uid: &str, stats: Stats) {
        self.sheds
            .insert((uid.to_owned(), stats.boot_id.clone()), stats.shed_total);
        if let Some(pod) = self.pods.get_mut(name).filter(|pod| pod.uid == uid) {
            pod.stats = Some(stats);
        }
    }

    /// The answer of the agent in a HAProxy pod.
    pub(crate) fn agent_answered(&mut self, uid: &str, status: AgentStatus) {
        if let Some(proxy) = self.proxies.get_mut(uid) {
            // 0 before the first answer of HAProxy.
            if status.pid != 0 {
                proxy.pids.insert(status.pid);
            }
            proxy.status = Some(status);
        }
    }

    /// Server pods in rotation.
    pub(crate) fn active(&self) -> usize {
        self.pods.values().filter(|pod| pod.state == "Active").count()
    }

    /// Sheds of all processes, also of deleted pods.
    pub(crate) fn sheds(&self) -> u64 {
        self.sheds.values().sum()
    }

    /// The cookie of a pod.
    pub(crate) fn cookie_of(&self, name: &str) -> Option<&str> {
        self.cookies
            .iter()
            .find(|(_, pod)| *pod == name)
            .map(|(cookie, _)| cookie.as_str())
    }

    /// Reloads of HAProxy, in all proxies.
    pub(crate) fn reloads(&self) -> u64 {
        let statuses = self.proxies.values().filter_map(|proxy| proxy.status.as_ref());
        statuses.map(|status| status.reloads).sum()
    }

    /// Changes of HAProxy's process, in all proxies; another proxy than the `wanted` first ones is
    /// one as well.
    pub(crate) fn pid_changes(&self, wanted: usize) -> u64 {
        let seen = self.proxies.values().map(|proxy| {
            let said = proxy.status.as_ref().map_or(0, |status| status.pid_changes);
            let named = (proxy.pids.len() as u64).saturating_sub(1);
            said.max(named).max(proxy.restarts)
        });
        seen.sum::<u64>() + (self.proxies.len() as u64).saturating_sub(wanted as u64)
    }

    /// Version of the running HAProxy, by the agents.
    pub(crate) fn haproxy_version(&self) -> Option<&str> {
        let mut statuses = self.proxies.values().filter_map(|proxy| proxy.status.as_ref());
        statuses.next().map(|status| status.haproxy_version.as_str())
    }

    /// The `Ready` condition, with its reason.
    pub(crate) fn ready(&self) -> (bool, String) {
        let ready = self
            .status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        ready.map_or((false, "no operator has seen it".to_owned()), |ready| {
            (
                ready.status == "True",
                format!("{}: {}", ready.reason, ready.message),
            )
        })
    }
}

fn ip(pod: &core::Pod) -> Option<String> {
    pod.status.as_ref()?.pod_ip.clone()
}

fn is_ready(pod: &core::Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The operator's `wsc_operator_moves_granted_total` of one resource, in a scrape.
pub(crate) fn granted(scrape: &str, namespace: &str, name: &str) -> Option<u64> {
    let labels = [
        format!("namespace=\"{namespace}\""),
        format!("cluster=\"{name}\""),
    ];
    let line = scrape.lines().find(|line| {
        line.strip_prefix("wsc_operator_moves_granted_total{")
            .is_some_and(|rest| labels.iter().all(|label| rest.contains(label.as_str())))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::json;
    use wsc_contract::agent::ServerState;
    use wsc_haproxy::{Server, ServerOptions};

    use super::*;

    fn pod(name: &str, state: &str, ready: &str) -> core::Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {labels::STATE: state}},
            "status": {
                "podIP": "10.0.0.7",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [
                    {"name": "x", "image": "i", "imageID": "", "ready": true, "restartCount": 1},
                ],
            },
        }))
        .unwrap()
    }

    fn stats(boot_id: &str, shed_total: u64) -> Stats {
        Stats {
            boot_id: boot_id.to_owned(),
            shed_total,
            ..Stats::default()
        }
    }

    #[test]
    fn first_ready_and_peak_are_kept() {
        let (mut pool, first) = (Pool::default(), Instant::now());
        let later = first + std::time::Duration::from_secs(1);
        pool.server(&pod("chat-0", "Starting", "False"), first);
        assert!(pool.ready_at.is_empty());
        pool.server(&pod("chat-0", "Starting", "True"), first);
        pool.server(&pod("chat-0", "Active", "True"), later);
        pool.server(&pod("chat-1", "Active", "True"), later);
        assert_eq!((pool.active(), pool.peak), (2, 2));
        pool.server(&pod("chat-1", "Cordoned", "True"), later);
        pool.gone(&pod("chat-1", "Removing", "True"));
        assert_eq!((pool.active(), pool.peak, pool.pods.len()), (1, 2, 1));
        assert_eq!(pool.ready_at["chat-0"], first);
        assert_eq!(pool.ready_at["chat-1"], later);
    }

    #[test]
    fn sheds_of_deleted_pods_count_once() {
        let mut pool = Pool::default();
        pool.server(&pod("chat-0", "Active", "True"), Instant::now());
        for total in [1, 3, 3] {
            pool.answered("chat-0", "uid-chat-0", stats("a", total));
        }
        pool.answered("chat-0", "uid-chat-0", stats("b", 2));
        pool.gone(&pod("chat-0", "Removing", "True"));
        pool.answered("chat-1", "uid-chat-1", stats("c", 4));
        assert_eq!(pool.sheds(), 9);
    }

    #[test]
    fn process_change_is_detected_by_each_sign() {
        let mut quiet = pod("p", "", "True");
        quiet.status.as_mut().unwrap().container_statuses = None;
        let said = |pid, pid_changes, reloads| AgentStatus {
            haproxy_version: "3.0.11".to_owned(),
            pid,
            reloads,
            pid_changes,
            ..AgentStatus::default()
        };
        let mut pool = Pool::default();
        pool.proxy(&quiet);
        pool.agent_answered("uid-p", said(0, 0, 0));
        pool.agent_answered("uid-p", said(7, 0, 0));
        assert_eq!(
            (pool.pid_changes(1), pool.reloads(), pool.haproxy_version()),
            (0, 0, Some("3.0.11"))
        );
        pool.agent_answered("uid-p", said(9, 0, 0));
        assert_eq!(pool.pid_changes(1), 1);
        pool.agent_answered("uid-p", said(9, 2, 1));
        assert_eq!((pool.pid_changes(1), pool.reloads()), (2, 1));
        let mut restarted = Pool::default();
        restarted.proxy(&pod("p", "", "True"));
        assert_eq!((restarted.pid_changes(1), restarted.pid_changes(0)), (1, 2));
    }

    #[test]
    fn cookies_are_remembered() {
        let mut pool = Pool::default();
        let backends = |name: &str, cookie: &str| {
            let server = Server {
                name: name.to_owned(),
                address: Ipv4Addr::LOCALHOST.into(),
                port: 8080,
                cookie: cookie.to_owned(),
                state: ServerState::Ready,
            };
            BackendSet::new(String::new(), ServerOptions::default(), vec![server]).to_json()
        };
        pool.published(&backends("chat-0", "aa")).unwrap();
        pool.published(&backends("chat-1", "bb")).unwrap();
        assert_eq!(
            (pool.cookie_of("chat-0"), pool.cookie_of("chat-1")),
            (Some("aa"), Some("bb"))
        );
        assert!(pool.published("{}").is_err());
    }

    #[test]
    fn granted_moves_are_those_of_the_resource() {
        let scrape = "# TYPE wsc_operator_moves_granted counter\n\
            wsc_operator_moves_granted_total{namespace=\"other\",cluster=\"chat\"} 5\n\
            wsc_operator_moves_granted_total{namespace=\"demo\",cluster=\"chat\"} 38\n";
        assert_eq!(granted(scrape, "demo", "chat"), Some(38));
        assert_eq!(granted(scrape, "demo", "chat2"), None);
        assert_eq!(granted("", "demo", "chat"), None);
    }
}
