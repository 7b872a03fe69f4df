//! What a connection costs, and what is kept of it.

use anyhow::Result;

use super::super::real;
use super::super::report::Row;
use super::super::subjects::{Broker, Ours};
use super::common::{Progress, SETTLE};
use wsc_testing::cpu;
use wsc_testing::redis::Redis;

/// Connections: as many as one process may have files, less a few.
const IDLE: usize = 19_000;
const KIB: f64 = 1024.0;

pub(super) async fn take(progress: Progress<'_>) -> Result<Vec<Row>> {
    let redis = Redis::start().await?;
    let ours = Ours::start(Broker::Redis(&redis), &[]).await?;
    let pid = ours.pid();
    // What the first connections ever need is not the price of a connection.
    drop(ours.crowd(200)?);
    tokio::time::sleep(SETTLE).await;
    let before = cpu::resident(pid)?;
    progress(&format!("{IDLE} connections come"));
    let mut clients = ours.crowd(IDLE)?;
    let each = |what: &str| -> Result<Row> {
        let bytes = cpu::resident(pid)?.saturating_sub(before);
        let each = real(bytes) / real(IDLE as u64);
        Ok(Row::at_most(
            &format!("memory of a connection, {what}"),
            each,
            "B",
            1.5 * KIB,
        ))
    };
    tokio::time::sleep(SETTLE).await;
    let mut rows = vec![each("idle")?];
    progress("broadcasts and bursts");
    for times in [1, 1, 10] {
        clients.tell(&format!("put 1024 {times}"))?;
        clients.done()?;
    }
    tokio::time::sleep(SETTLE).await;
    rows.push(each("after 2 broadcasts and a burst of 10, 1 KiB each")?);
    progress("all leave");
    drop(clients);
    tokio::time::sleep(SETTLE).await;
    let left = cpu::resident(pid)?.saturating_sub(before);
    rows.push(Row::at_most(
        "memory kept 10 s after all have left",
        real(left) / KIB / KIB,
        "MiB",
        10.0,
    ));
    Ok(rows)
}
