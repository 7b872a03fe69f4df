//! How soon the program is there, and how large it is.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::report::Row;
use super::super::subjects::{Broker, command, program};
use super::super::{SERVER_CPU, real};
use super::common::{Progress, middle};
use wsc_testing::redis::Redis;
use wsc_testing::server::Server;

const STARTS: usize = 9;

pub(super) async fn take(progress: Progress<'_>) -> Result<Vec<Row>> {
    let redis = Redis::start().await?;
    let mut times = Vec::new();
    for n in 0..STARTS {
        progress(&format!("start {} of {STARTS}", n + 1));
        let began = Instant::now();
        let server = Server::spawn(command(&[SERVER_CPU], Broker::Redis(&redis))?).await?;
        while server.control("/readyz").await?.status != 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        drop(server);
    }
    Ok(vec![Row::at_most(
        "start to Ready with Redis up",
        middle(&times)?,
        "ms",
        100.0,
    )])
}

/// Of the program, and of its image if there is one: only root can build it.
pub(super) fn size() -> Result<Vec<Row>> {
    let megabytes = |bytes: u64| real(bytes) / 1e6;
    let bytes = std::fs::metadata(program()?)?.len();
    let mut rows = vec![Row::at_most("size of the program", megabytes(bytes), "MB", 8.0)];
    if let Some(archive) = std::env::var_os("WSC_IMAGE_SERVER") {
        let bytes = compressed(Path::new(&archive))?;
        rows.push(Row::at_most(
            "its image, compressed",
            megabytes(bytes),
            "MB",
            15.0,
        ));
    }
    Ok(rows)
}

fn compressed(archive: &Path) -> Result<u64> {
    let packed = Command::new("gzip").arg("--stdout").arg(archive).output()?;
    ensure!(packed.status.success(), "gzip of {}", archive.display());
    Ok(packed.stdout.len() as u64)
}
