//! How soon the program is there, and how large it is.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::report::Row;
use super::super::subjects::{Bus, command, program};
use super::super::{SERVER_CPU, real};
use super::{Progress, middle};
use crate::redis::Redis;
use crate::server::Server;

const STARTS: usize = 9;

pub(super) async fn take(progress: Progress<'_>) -> Result<Vec<Row>> {
    let redis = Redis::start().await?;
    let mut times = Vec::new();
    for n in 0..STARTS {
        progress(&format!("start {} of {STARTS}", n + 1));
        let began = Instant::now();
        let server = Server::spawn(command(&[SERVER_CPU], Bus::Redis(&redis))?).await?;
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

pub(super) fn size() -> Result<Vec<Row>> {
    let bytes = std::fs::metadata(program()?)?.len();
    Ok(vec![Row::at_most(
        "size of the program",
        real(bytes) / 1e6,
        "MB",
        8.0,
    )])
}
