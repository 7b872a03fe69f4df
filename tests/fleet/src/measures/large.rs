//! One cluster of many server pods: reconciles without a change, and samples beside pods that hang.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::time::sleep;
use wsc_bench::report::Row;

use super::{milliseconds, progress, quantile, until_quiet, until_reconciled};
use crate::environment::TestEnv;
use crate::fleet::Progress;

const DEADLINE: Duration = Duration::from_mins(8);
const RECONCILES: usize = 50;
/// The operator decides on samples that are not older: a cluster is quiet when its pods begin to
/// hang.
const FRESH: Duration = Duration::from_secs(25);
const DEAD: Duration = Duration::from_mins(1);

pub(crate) async fn take(pods: usize) -> Result<Vec<Row>> {
    let env = TestEnv::new(1).await?;
    progress(&format!("one cluster of {pods} pods"));
    let began = Instant::now();
    env.fleet
        .create(&json!({"minReplicas": pods, "maxReplicas": pods}))
        .await?;
    let settled = env.fleet.until(Progress::Settled, began + DEADLINE).await;
    settled.with_context(|| format!("{pods} pods are not Ready after {DEADLINE:?}"))?;
    let took = began.elapsed().as_secs_f64();
    until_quiet(&env).await?;
    let mut rows = vec![Row::plain(
        &format!("a cluster of {pods} pods created: all Ready"),
        "ours",
        took,
        "s",
    )];
    rows.extend(no_op(&env, pods).await?);
    rows.extend(dead_pods(&env, pods).await);
    Ok(rows)
}

async fn no_op(env: &TestEnv, pods: usize) -> Result<Vec<Row>> {
    progress("reconciles without a change");
    let mut times = Vec::new();
    for value in 0..RECONCILES {
        let before = env.operator.scrape().await?;
        env.fleet.annotate(value).await?;
        let since = until_reconciled(env, &before, 1.0).await?;
        times.push(since.mean().context("no reconcile")?);
    }
    times.sort();
    let what = format!("reconcile of {pods} pods without a change, {RECONCILES} times");
    let of = |percent| milliseconds(quantile(&times, percent));
    Ok(vec![
        Row::at_most(&format!("{what}: median"), of(50), "ms", 20.0),
        Row::plain(&format!("{what}: longest"), "ours", of(100), "ms"),
    ])
}

async fn dead_pods(env: &TestEnv, pods: usize) -> Vec<Row> {
    progress("a third of the pods hang");
    let mut turn = 0;
    env.pods.watch_gaps();
    env.pods.each(|pod| {
        turn += 1;
        pod.hangs = turn % 3 == 0;
    });
    sleep(DEAD).await;
    let longest = env.pods.gaps().into_iter().max().unwrap_or(DEAD);
    let what = format!("a third of {pods} pods hang: longest time without a sample of the others");
    vec![Row::at_most(
        &what,
        longest.as_secs_f64(),
        "s",
        FRESH.as_secs_f64(),
    )]
}
