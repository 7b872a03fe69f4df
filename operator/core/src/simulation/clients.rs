//! Clients and the proxies that they come through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wsc_contract::agent::{ServerState, WorkerCounters};
use wsc_haproxy::BackendSet;

use super::random::Random;
use super::server::Server;
use super::settings::at;
use crate::observed::{AgentServer, AgentView, PodView, ProxyView};
use crate::sampling::Interval;

/// Between two checks of HAProxy.
const CHECK_SECONDS: i64 = 2;

/// One client that wants to be connected.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    pub(super) home: Option<Home>,
    /// Number of requests to reconnect that it received.
    pub(super) moves: u32,
    retry_at: i64,
}

/// Where a client is connected.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) uid: String,
    proxy: usize,
    /// It was asked to leave, and will be gone then.
    pub(super) closes_at: Option<i64>,
}

/// HAProxy with its agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxy {
    applied: Option<BackendSet>,
    /// Hash of the settings.
    settings: String,
    /// The agent does nothing and answers nobody; HAProxy goes on.
    pub(super) stuck_until: i64,
    /// Uids of pods that answered the last check with 404: they get no new clients.
    rejects: BTreeSet<String>,
    /// Clients that HAProxy refused.
    refused: u64,
    /// The newest answer that the operator has got, and the interval of the next one.
    heard: Option<(Interval, Arc<AgentView>)>,
}

/// Why a client got no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rejection {
    /// No server in rotation is reachable and accepts clients.
    NoServer,
    /// Each that does is full.
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Crowd {
    pub(super) clients: Vec<Client>,
    /// Attempts to connect that met no server in rotation.
    pub(super) unserved: usize,
    pub(super) proxies: Vec<Proxy>,
}

impl Crowd {
    pub(super) fn arrive(&mut self, clients: usize) {
        let more = std::iter::repeat_n(Client::default(), clients);
        self.clients.extend(more);
    }

    pub(super) fn leave(&mut self, clients: usize, random: &mut Random) {
        for _ in 0..clients.min(self.clients.len()) {
            let index = random.below(self.clients.len());
            self.clients.swap_remove(index);
        }
    }

    /// Connected to this pod: all, and those that were not asked to leave.
    pub(super) fn on(&self, uid: &str) -> (i64, i64) {
        let homes = self.clients.iter().filter_map(|client| client.home.as_ref());
        homes
            .filter(|home| home.uid == uid)
            .fold((0, 0), |(all, unasked), home| {
                (all + 1, unasked + i64::from(home.closes_at.is_none()))
            })
    }

    pub(super) fn connected(&self) -> i64 {
        let connected = self.clients.iter().filter(|client| client.home.is_some());
        i64::try_from(connected.count()).unwrap()
    }

    /// Asks the client that has been there longest. False if there is none.
    pub(super) fn ask_one(&mut self, uid: &str, clock: i64, random: &mut Random) -> bool {
        let asked = self.clients.iter_mut().find_map(|client| {
            let home = client.home.as_mut()?;
            (home.uid == uid && home.closes_at.is_none()).then_some((home, &mut client.moves))
        });
        let Some((home, moves)) = asked else {
            return false;
        };
        home.closes_at = Some(clock + random.seconds(4));
        *moves += 1;
        true
    }

    /// The process is gone, and with it all connections: so many.
    pub(super) fn cut(&mut self, uid: &str, clock: i64, random: &mut Random) -> usize {
        let mut cut = 0;
        for client in &mut self.clients {
            if client.home.as_ref().is_some_and(|home| home.uid == uid) {
                client.home = None;
                client.retry_at = clock + random.seconds(3);
                cut += 1;
            }
        }
        cut
    }

    /// Agents take over what is published; who was asked goes; who is not connected tries.
    pub(super) fn step(
        &mut self,
        clock: i64,
        published: Option<&(BackendSet, String)>,
        servers: &mut BTreeMap<String, Server>,
        uids: &BTreeMap<String, String>,
        random: &mut Random,
    ) -> Vec<String> {
        for proxy in &mut self.proxies {
            if proxy.stuck_until <= clock {
                let (set, settings) = published.cloned().unzip();
                (proxy.applied, proxy.settings) = (set, settings.unwrap_or_default());
            }
        }
        let mut arrivals = Vec::new();
        let mut loads = self.loads();
        if clock % CHECK_SECONDS == 0 {
            self.check(clock, &loads, servers);
        }
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            let closed = client.home.as_ref().and_then(|home| home.closes_at);
            if closed.is_some_and(|closes_at| closes_at <= clock) {
                let home = client.home.take();
                home.map(|home| loads.entry(home.uid).and_modify(|load| *load -= 1));
                client.retry_at = clock + random.seconds(6);
            }
            if client.home.is_some() || client.retry_at > clock {
                continue;
            }
            let home = self.route(clock, &loads, servers, uids, random);
            self.unserved += usize::from(home.as_ref().err() == Some(&Rejection::NoServer));
            let home = home.ok();
            if let Some(home) = &home {
                *loads.entry(home.uid.clone()).or_default() += 1;
                arrivals.push(home.uid.clone());
            }
            let client = &mut self.clients[index];
            (client.home, client.retry_at) = (home, clock + 1);
        }
        arrivals
    }

    /// Connections by pod uid.
    fn loads(&self) -> BTreeMap<String, i64> {
        let mut loads = BTreeMap::new();
        for home in self.clients.iter().filter_map(|client| client.home.as_ref()) {
            *loads.entry(home.uid.clone()).or_default() += 1;
        }
        loads
    }

    /// HAProxy checks the servers: one that accepts no more connections answers with 404.
    fn check(&mut self, clock: i64, loads: &BTreeMap<String, i64>, servers: &BTreeMap<String, Server>) {
        let rejects = servers.iter().filter(|(uid, server)| {
            let is_full = loads.get(*uid).is_some_and(|load| *load >= server.limit());
            let closed = is_full || server.cordoned || server.leaving_since.is_some();
            server.serves(clock) && closed
        });
        let rejects: BTreeSet<String> = rejects.map(|(uid, _)| uid.clone()).collect();
        for proxy in &mut self.proxies {
            proxy.rejects.clone_from(&rejects);
        }
    }

    /// Fewest connections first, and the next one if it refuses.
    fn route(
        &mut self,
        clock: i64,
        loads: &BTreeMap<String, i64>,
        servers: &mut BTreeMap<String, Server>,
        uids: &BTreeMap<String, String>,
        random: &mut Random,
    ) -> Result<Home, Rejection> {
        let proxy = random.below(self.proxies.len());
        let Proxy { applied, rejects, .. } = &self.proxies[proxy];
        let Some(applied) = applied else {
            self.proxies[proxy].refused += 1;
            return Err(Rejection::NoServer);
        };
        let ready = applied
            .servers
            .iter()
            .filter(|server| server.state == ServerState::Ready);
        let mut ready: Vec<_> = ready
            .filter_map(|server| Some((uids.get(&server.name)?, server.port)))
            .collect();
        let load = |uid: &String| loads.get(uid).copied().unwrap_or(0);
        ready.sort_by_key(|(uid, _)| load(uid));
        let mut any = false;
        for (uid, port) in ready {
            let on = load(uid);
            let reachable = |server: &&mut Server| server.serves(clock) && server.made.port == port;
            let Some(server) = servers.get_mut(uid).filter(reachable) else {
                continue;
            };
            if server.cordoned || server.leaving_since.is_some() {
                continue;
            }
            any = true;
            if rejects.contains(uid) {
                continue;
            }
            if on >= server.limit() {
                server.refused_full += 1;
            } else {
                let uid = uid.clone();
                return Ok(Home {
                    uid,
                    proxy,
                    closes_at: None,
                });
            }
        }
        self.proxies[proxy].refused += 1;
        Err(if any { Rejection::Full } else { Rejection::NoServer })
    }

    /// The operator asks the agents. Returns whether all of them answer.
    pub(super) fn ask_agents(
        &mut self,
        (clock, interval): (i64, Interval),
        servers: &BTreeMap<String, Server>,
        uids: &BTreeMap<String, String>,
        lost_percent: usize,
        random: &mut Random,
    ) -> bool {
        let mut all = true;
        for index in 0..self.proxies.len() {
            if self.proxies[index].stuck_until <= clock && !random.chance(lost_percent) {
                let answer = self.agent(index, clock, servers, uids);
                self.proxies[index].heard = Some((interval, Arc::new(answer)));
            } else {
                all = false;
            }
        }
        all
    }

    fn agent(
        &self,
        index: usize,
        clock: i64,
        servers: &BTreeMap<String, Server>,
        uids: &BTreeMap<String, String>,
    ) -> AgentView {
        let applied = self.proxies[index].applied.as_ref();
        let sessions = |uid: &String| {
            let homes = self.clients.iter().filter_map(|client| client.home.as_ref());
            let here = homes.filter(|home| home.uid == *uid && home.proxy == index);
            i64::try_from(here.count()).unwrap()
        };
        let views = applied.into_iter().flat_map(|set| &set.servers).map(|server| {
            let uid = uids.get(&server.name);
            let process = uid.and_then(|uid| servers.get(uid));
            let view = AgentServer {
                sessions: uid.map_or(0, sessions),
                maint: server.state == ServerState::Maint,
                up: process.is_some_and(|process| process.serves(clock)),
                rejects: uid.is_some_and(|uid| self.proxies[index].rejects.contains(uid)),
            };
            (server.name.clone(), view)
        });
        AgentView {
            at: at(clock),
            haproxy_version: "3.0".to_owned(),
            applied_hash: applied.map_or_else(String::new, |set| set.hash.clone()),
            applied_structure: applied.map_or_else(String::new, |set| set.structure.clone()),
            applied_settings: self.proxies[index].settings.clone(),
            synced: true,
            refusal: None,
            worker: Some(WorkerCounters {
                id: "7-1".to_owned(),
                refused: self.proxies[index].refused,
                ..WorkerCounters::default()
            }),
            servers: views.collect(),
        }
    }

    /// What the operator knows of the proxies.
    pub(super) fn proxy_views(&self, clock: i64) -> Vec<ProxyView> {
        let proxies = self.proxies.iter().enumerate();
        proxies
            .map(|(index, proxy)| ProxyView {
                name: format!("chat-proxy-{index}"),
                ready: true,
                terminating: false,
                agent: proxy.heard.clone().and_then(|(interval, agent)| {
                    let age = at(clock).duration_since(agent.at);
                    (age <= interval.fresh_for()).then_some(agent)
                }),
            })
            .collect()
    }

    /// A new operator has heard nothing yet.
    pub(super) fn forget(&mut self) {
        for proxy in &mut self.proxies {
            proxy.heard = None;
        }
    }

    pub(super) fn all_ready(&self, pods: &BTreeMap<String, PodView>) -> bool {
        self.proxies.iter().all(|proxy| {
            let servers = proxy.applied.iter().flat_map(|set| &set.servers);
            let ready = servers.filter(|server| server.state == ServerState::Ready);
            ready.count() == pods.len()
        })
    }
}
