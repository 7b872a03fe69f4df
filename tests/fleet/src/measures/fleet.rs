//! Many clusters of two servers and two proxies: created at once, idle, reconciled without a
//! change, and beside a lost zone.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::time::sleep;
use wsc_bench::real;
use wsc_bench::report::Row;
use wsc_testing::cluster::audit::Mark;

use super::{POLL, milliseconds, progress, quantile, until_free, until_quiet, until_reconciled};
use crate::environment::TestEnv;
use crate::fleet::{self, Progress};
use crate::nodes::{Nodes, PER_ZONE};
use crate::operator;
use crate::pods::Key;

const IDLE: Duration = Duration::from_mins(1);
/// Clusters that scale up in each of the two states of the nodes.
const PROBES: usize = 30;
/// Between two of them.
const SPACING: Duration = Duration::from_secs(2);
/// Per server pod: the two pods of a cluster then need a third.
const BUSY: u64 = 8_000;
/// All clusters are to be Ready then.
const READY: Duration = Duration::from_mins(5);
/// No other row is measured if they are not Ready, or still at work, after this.
const DEADLINE: Duration = Duration::from_mins(8);
/// A cluster that has not scaled up then counts with this time.
const LONGEST: Duration = Duration::from_mins(2);

pub(crate) async fn take(clusters: usize) -> Result<Vec<Row>> {
    let env = TestEnv::new(clusters).await?;
    let mut rows = creation(&env).await?;
    progress("until nothing is in progress");
    let deadline = Instant::now() + DEADLINE;
    if env.fleet.until(Progress::Settled, deadline).await.is_some() {
        rows.extend(idle(&env).await?);
        rows.extend(no_op(&env).await?);
        rows.extend(lost_zone(&env).await?);
    }
    Ok(rows)
}

/// Writes of the operator to the API server.
fn writes(env: &TestEnv, since: Mark) -> Result<u64> {
    let user = operator::user();
    let writes = env.cluster.audit().writes_since(since)?;
    let ours = writes.iter().filter(|write| write.user == user);
    Ok(u64::try_from(ours.count())?)
}

async fn creation(env: &TestEnv) -> Result<Vec<Row>> {
    let clusters = env.fleet.keys().len();
    let what = format!("{clusters} clusters created at once");
    progress(&what);
    let (mark, cpu, began) = (env.cluster.audit().mark()?, env.operator.cpu()?, Instant::now());
    env.fleet
        .create(&json!({"minReplicas": 2, "maxReplicas": 20}))
        .await?;
    let created = began.elapsed();
    env.fleet.until(Progress::Ready, began + READY).await;
    let in_time = env.fleet.count(Progress::Ready);
    let ready = env.fleet.until(Progress::Ready, began + DEADLINE).await;
    let took = ready.map_or(DEADLINE, |ready| ready - began).as_secs_f64();
    let at_least = if ready.is_none() {
        " (measured no longer)"
    } else {
        ""
    };
    let cpu = env.operator.cpu()?.saturating_sub(cpu);
    let per_cluster = real(writes(env, mark)?) / real(u64::try_from(clusters)?);
    Ok(vec![
        Row::at_most(
            &format!("{what}: all Ready{at_least}"),
            took,
            "s",
            READY.as_secs_f64(),
        ),
        Row::plain(
            &format!("{what}: Ready after 300 s"),
            "ours",
            real(u64::try_from(in_time)?),
            "clusters",
        ),
        Row::plain(
            &format!("{what}: resources accepted"),
            "ours",
            created.as_secs_f64(),
            "s",
        ),
        Row::plain(
            &format!("{what}: CPU of the operator"),
            "ours",
            cpu.as_secs_f64(),
            "s",
        ),
        Row::plain(
            &format!("{what}: API writes of the operator per cluster"),
            "ours",
            per_cluster,
            "writes",
        ),
    ])
}

async fn idle(env: &TestEnv) -> Result<Vec<Row>> {
    until_free(env).await?;
    until_quiet(env).await?;
    progress("an idle minute");
    let (mark, cpu, before) = (
        env.cluster.audit().mark()?,
        env.operator.cpu()?,
        env.operator.scrape().await?,
    );
    let began = Instant::now();
    sleep(IDLE).await;
    let share = env.operator.cpu()?.saturating_sub(cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    let since = env.operator.scrape().await?.since(&before);
    let what = format!("idle minute of {} clusters", env.fleet.keys().len());
    Ok(vec![
        Row::at_most(
            &format!("{what}: API writes"),
            real(writes(env, mark)?),
            "writes",
            0.0,
        ),
        Row::at_most(
            &format!("{what}: reconciles"),
            since.reconciles,
            "reconciles",
            60.0,
        ),
        Row::at_most(&format!("{what}: CPU"), share * 100.0, "% of a core", 10.0),
        Row::at_most(
            &format!("{what}: memory"),
            env.operator.mebibytes()?,
            "MiB",
            150.0,
        ),
    ])
}

async fn no_op(env: &TestEnv) -> Result<Vec<Row>> {
    progress("reconciles without a change");
    let before = env.operator.scrape().await?;
    env.fleet.annotate(1).await?;
    let clusters = real(u64::try_from(env.fleet.keys().len())?);
    let since = until_reconciled(env, &before, clusters).await?;
    let limit = since.at_most(0.99).unwrap_or(f64::INFINITY) * 1_000.0;
    let what = "reconcile of a cluster without a change";
    Ok(vec![
        Row::at_most(&format!("{what}: 99th percentile, at most"), limit, "ms", 5.0),
        Row::plain(
            &format!("{what}: mean"),
            "ours",
            milliseconds(since.mean().unwrap_or_default()),
            "ms",
        ),
        Row::at_most(&format!("{what}: API writes in all"), since.writes, "writes", 0.0),
    ])
}

async fn lost_zone(env: &TestEnv) -> Result<Vec<Row>> {
    let other_zone = |key: &&Key| Nodes::zone_of(fleet::number(&key.1)) == 1;
    let probes: Vec<Key> = env
        .fleet
        .keys()
        .iter()
        .filter(other_zone)
        .take(PROBES * 2)
        .cloned()
        .collect();
    let (before, during) = probes.split_at(probes.len() / 2);
    progress("scale-ups while all nodes work");
    let undisturbed = scale_ups(env, before).await;
    progress("scale-ups while a zone is lost");
    env.nodes.lose();
    env.pods
        .each(|pod| pod.hangs = Nodes::zone_of(fleet::number(&pod.cluster.1)) == 0);
    let disturbed = scale_ups(env, during).await;
    let median = |times: &[Duration]| quantile(times, 50).as_secs_f64();
    let ratio = median(&disturbed) / median(&undisturbed);
    let what = "from the load to the new pod, median";
    let lost = format!(
        "{what}, other clusters while {PER_ZONE} of {} nodes are lost",
        2 * PER_ZONE
    );
    Ok(vec![
        Row {
            ratio: Some(ratio),
            target: Some("<= 2 of ours, all nodes work".to_owned()),
            met: Some(ratio <= 2.0),
            ..Row::plain(&lost, "ours", median(&disturbed), "s")
        },
        Row::plain(what, "ours, all nodes work", median(&undisturbed), "s"),
        Row::plain(
            "the same, longest",
            "ours",
            quantile(&disturbed, 100).as_secs_f64(),
            "s",
        ),
        Row::plain(
            "the same, longest",
            "ours, all nodes work",
            quantile(&undisturbed, 100).as_secs_f64(),
            "s",
        ),
    ])
}

/// Sorted times from the load on a cluster to its new pod.
async fn scale_ups(env: &TestEnv, clusters: &[Key]) -> Vec<Duration> {
    let mut loaded = Vec::new();
    for key in clusters {
        loaded.push((key, Instant::now()));
        env.pods.each(|pod| {
            if pod.cluster == *key {
                pod.connections = BUSY;
            }
        });
        sleep(SPACING).await;
    }
    let took = |(key, since): &(&Key, Instant)| Some(env.pods.created_since(key, *since)? - *since);
    let end = Instant::now() + LONGEST;
    while Instant::now() < end && loaded.iter().any(|probe| took(probe).is_none()) {
        sleep(POLL).await;
    }
    let mut times: Vec<Duration> = loaded
        .iter()
        .map(|probe| took(probe).unwrap_or(LONGEST))
        .collect();
    times.sort();
    times
}
