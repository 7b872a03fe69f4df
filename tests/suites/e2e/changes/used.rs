//! A pool in use: steady clients, a new one every 100 ms, and what must be true of them whatever is
//! changed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::agent::AgentStatus;
use wsc_contract::labels::Component;
use wsc_testing::arrivals::Arrivals;
use wsc_testing::client::{EndKind, Options};
use wsc_testing::clients::ClientPool;
use wsc_testing::cluster::eventually;

use crate::environment::{PATIENCE, TestEnv};

pub(super) const STEADY: usize = 60;
/// Moves a second that the resource allows: far fewer than there are clients.
pub(super) const BUDGET: usize = 2;
/// Moves that may have been saved before.
const BUCKET: usize = 5 * BUDGET;
/// Clients may see closes of one second in the next one.
const SLACK: usize = 1;

/// The part of the spec by which moves can be told from closes without a budget.
pub(super) fn moves() -> String {
    format!(
        "
drain: {{naturalSeconds: 0, deadlineSeconds: 600, notice: {{jitterSeconds: 5}}}}
disruption: {{movesPerMinute: {}, maxMovesPerSecond: {BUDGET}}}
",
        BUDGET * 60
    )
}

/// A resource with its clients.
pub(super) struct Used<'e> {
    pub(super) env: &'e TestEnv,
    pub(super) clients: ClientPool,
    name: &'static str,
    arrivals: Arrivals,
}

impl<'e> Used<'e> {
    /// Applies the spec, connects the steady clients, and lets new ones arrive.
    pub(super) async fn start(env: &'e TestEnv, name: &'static str, spec: &str) -> Result<Self> {
        env.apply(name, &format!("{spec}{}", moves())).await?;
        let endpoint = env.ready(name).await?;
        let mut clients = env.clients(name, &endpoint);
        clients.connect(STEADY).await?;
        let arrivals = Arrivals::start(vec![Options::new(format!("{endpoint}/visitors"))]);
        Ok(Self {
            env,
            clients,
            name,
            arrivals,
        })
    }

    pub(super) async fn patch(&self, spec: &str) -> Result<()> {
        self.env.patch_spec(self.name, spec).await
    }

    pub(super) async fn pods(&self) -> Result<BTreeMap<String, Pod>> {
        self.env.pods(self.name, Component::Server).await
    }

    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&WebSocketCluster) -> bool) -> Result<()> {
        let what = format!("{}: {what}", self.name);
        self.env.until(self.name, &what, wanted).await.map(drop)
    }

    /// Patches the spec, and waits until all pods are other ones and each client was asked to
    /// reconnect once.
    pub(super) async fn replace_all(&mut self, spec: &str) -> Result<()> {
        let old = self.pods().await?;
        let before = self.clients.recorder().record().moves().len();
        self.patch(spec).await?;
        let what = format!("{}: the old pods are gone", self.name);
        eventually(PATIENCE, &what, || async {
            let now = self.pods().await?;
            let is_new = now.len() == old.len() && now.keys().all(|name| !old.contains_key(name));
            Ok(is_new.then_some(()))
        })
        .await?;
        self.until("nothing is left to do", is_settled).await?;
        let moves = self.clients.recorder().record().moves().split_off(before);
        ensure!(
            moves.len() == STEADY && self.clients.ended(EndKind::Asked) == STEADY,
            "{}: {} of {STEADY} were asked to reconnect",
            self.name,
            moves.len()
        );
        lasted(&moves)?;
        self.clients.reconnect().await
    }

    /// No client was refused, dropped or moved beyond the budget, and HAProxy reached a server at
    /// the first try each time.
    pub(super) async fn end(self) -> Result<ClientPool> {
        for arrival in self.arrivals.end().await? {
            ensure!(arrival.statuses == [101], "{}: {arrival:?}", self.name);
        }
        self.clients.verify(0)?;
        within_budget(&self.clients.recorder().record().moves())?;
        no_retries(self.env, self.name).await?;
        Ok(self.clients)
    }

    /// The same, and no client was moved and none of these pods was replaced.
    pub(super) async fn end_unmoved(self, pods: &BTreeMap<String, Pod>) -> Result<()> {
        let now = self.pods().await?;
        ensure!(
            pods.keys().all(|name| now.contains_key(name)),
            "{}: {:?} became {:?}",
            self.name,
            pods.keys(),
            now.keys()
        );
        let clients = self.end().await?;
        clients.verify_unmoved(0)
    }
}

/// All pods have the newest spec, and none starts or drains.
pub(super) fn is_settled(wsc: &WebSocketCluster) -> bool {
    wsc.status.as_ref().is_some_and(|status| {
        status.observed_generation == wsc.metadata.generation.unwrap_or_default()
            && status.replicas == status.desired_replicas
            && status.updated_replicas == status.replicas
            && status.starting_replicas == 0
            && status.draining_replicas == 0
    })
}

/// Each server was reached at the first try, and no client was refused.
pub(super) async fn no_retries(env: &TestEnv, name: &str) -> Result<()> {
    for agent in env.agents(name).await? {
        let status: AgentStatus = serde_json::from_value(agent)?;
        let counted = status.worker.as_ref().context("no counters")?;
        ensure!(
            (counted.refused, counted.retries, counted.redispatches) == (0, 0, 0)
                && (status.reloads, status.pid_changes) == (0, 0),
            "{name}: {status:?}"
        );
    }
    Ok(())
}

/// All clients were moved, which takes a while within the budget.
pub(super) fn lasted(moves: &[Duration]) -> Result<()> {
    let (first, last) = (
        moves.first().context("no move")?,
        moves.last().context("no move")?,
    );
    let minimum = Duration::from_secs(u64::try_from((STEADY - BUCKET) / BUDGET)?);
    ensure!(
        last.saturating_sub(*first) >= minimum,
        "{} moves from {first:?} to {last:?}, faster than {BUDGET} a second",
        moves.len()
    );
    Ok(())
}

/// In no second there are more closes than the pace of one second and what a client may see late;
/// nor in 15 s more than the budget.
fn within_budget(times: &[Duration]) -> Result<()> {
    for (seconds, saved) in [(1, 0), (15, BUCKET)] {
        let most = BUDGET * (seconds + SLACK) + saved;
        let window = Duration::from_secs(u64::try_from(seconds)?);
        for (first, start) in times.iter().enumerate() {
            let later = times[first..].iter();
            let inside = later.take_while(|at| at.saturating_sub(*start) < window).count();
            ensure!(
                inside <= most,
                "{inside} closes in {window:?}, where the budget allows {most}"
            );
        }
    }
    Ok(())
}

#[test]
fn moves_beyond_the_budget_are_found() {
    let every = |millis: u64| {
        (0..60)
            .map(|n| Duration::from_millis(n * millis))
            .collect::<Vec<_>>()
    };
    assert!(within_budget(&every(500)).is_ok() && lasted(&every(500)).is_ok());
    assert!(within_budget(&every(200)).is_err() && lasted(&every(200)).is_err());
}
