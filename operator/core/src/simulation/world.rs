//! The state of the simulated cluster.

use std::collections::BTreeMap;

use super::api::{Api, Event};
use super::clients::{Crowd, Proxy};
use super::ledger::Ledger;
use super::operator::Operator;
use super::random::Random;
use super::server::{Server, Trait};
use super::settings::{Faults, Spec};
use crate::validate::ValidCluster;

#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: i64,
    pub(super) random: Random,
    pub(super) spec: Spec,
    pub(super) cluster: ValidCluster,
    pub(super) api: Api,
    /// By pod uid.
    pub(super) servers: BTreeMap<String, Server>,
    pub(super) crowd: Crowd,
    pub(super) operator: Operator,
    /// Of the operator that is installed.
    pub(super) release: u8,
    /// No operator runs before this.
    pub(super) operator_down_until: Option<i64>,
    pub(super) faults: Faults,
    /// What is wrong with the pods of the sick template.
    pub(super) sickness: Trait,
    pub(super) ledger: Ledger,
    /// Writes that the API server has received.
    pub(super) writes: u64,
    pub(super) log: Vec<String>,
    /// The operator ends at this write of all, before or after it.
    pub(super) ends_at_write: Option<(u64, bool)>,
    pub(super) was_ready: bool,
    pub(super) in_flight: Vec<Event>,
    pub(super) boots: u64,
}

impl World {
    pub(super) fn new(seed: u64, spec: Spec) -> Self {
        let cluster = spec.cluster(1);
        let mut random = Random::new(seed);
        let traits = [
            Trait::FewFiles,
            Trait::LittleMemory,
            Trait::Crashes,
            Trait::NeverSampled,
            Trait::NoRedis,
            Trait::NeverStarts,
        ];
        let sickness = traits[random.below(traits.len())];
        let mut world = Self {
            clock: 0,
            random,
            spec,
            cluster,
            api: Api::default(),
            servers: BTreeMap::new(),
            crowd: Crowd::default(),
            operator: Operator::default(),
            release: 0,
            operator_down_until: Some(0),
            faults: Faults::default(),
            sickness,
            ledger: Ledger::default(),
            writes: 0,
            log: Vec::new(),
            ends_at_write: None,
            was_ready: false,
            in_flight: Vec::new(),
            boots: 0,
        };
        world.crowd.proxies = vec![Proxy::default(); 2];
        world
    }

    pub(super) fn respec(&mut self, change: impl FnOnce(&mut Spec)) {
        change(&mut self.spec);
        self.cluster = self.spec.cluster(self.cluster.generation + 1);
        self.operator.poked = true;
    }

    /// Uids by pod name.
    pub(super) fn uids(&self) -> BTreeMap<String, String> {
        let pods = self.api.pods.values();
        pods.map(|pod| (pod.name.clone(), pod.uid.clone())).collect()
    }

    pub(super) fn crash(&mut self) {
        let pause = 1 + self.random.seconds(20);
        self.operator_down_until = Some(self.clock + pause);
        self.log.push(format!("{:>5} the operator ends", self.clock));
    }
}
