//! What a delivery costs when there are 100,000 connections: a process may have 20,000 files, so it
//! takes six servers, and six crowds.

use std::time::Duration;

use anyhow::{Context, Result};

use super::super::helper::Helper;
use super::super::meter::{Sample, slice};
use super::super::report::Row;
use super::super::rounds::{Bound, Lane, compare};
use super::super::subjects::{Broker, Ours, crowd_that_comes};
use super::super::{HEADER, PAYLOAD};
use super::common::Progress;
use wsc_testing::redis::Redis;

/// Clients of each server; each server has a port, so there are enough ports for clients.
const MANY: [usize; 6] = [16_667, 16_667, 16_667, 16_667, 16_666, 16_666];
const FEW: [usize; 1] = [10_000];
/// What was set up has come to rest.
const REST: Duration = Duration::from_secs(3);
/// No heartbeats: those of 100,000 would be told as costs of a delivery here and as somebody else's
/// there.
const NO_HEARTBEAT: (&str, &str) = ("WSC_HEARTBEAT_SECONDS", "3600");

const OTHER: &str = "ours, 10000 in one process";

/// Servers of one room, and their clients.
struct Fleet {
    /// They end before the servers.
    crowds: Vec<Helper>,
    _servers: Vec<Ours>,
    pids: Vec<u32>,
    members: usize,
}

impl Fleet {
    async fn start(redis: &Redis, sizes: &[usize]) -> Result<Self> {
        let (mut servers, mut crowds) = (Vec::new(), Vec::new());
        for size in sizes {
            let server = Ours::start(Broker::Redis(redis), &[NO_HEARTBEAT]).await?;
            crowds.push(crowd_that_comes(server.port(), *size, "/ws/bench")?);
            servers.push(server);
        }
        for crowd in &mut crowds {
            crowd.done()?;
        }
        Ok(Self {
            pids: servers.iter().map(Ours::pid).collect(),
            _servers: servers,
            crowds,
            members: sizes.iter().sum(),
        })
    }

    /// Microseconds of CPU for each delivery of one message to all.
    fn slice(&mut self) -> Result<Sample> {
        let (first, others) = self.crowds.split_first_mut().context("no clients")?;
        let rate = slice(&self.pids, || {
            for crowd in &mut *others {
                crowd.tell(&format!("get {}", HEADER + PAYLOAD))?;
                crowd.done()?;
            }
            first.tell(&format!("put {PAYLOAD} 1"))?;
            first.done()?;
            for crowd in &mut *others {
                crowd.done()?;
            }
            Ok(self.members)
        })?;
        Ok(rate.in_micros())
    }
}

pub(super) async fn take(progress: Progress<'_>) -> Result<Vec<Row>> {
    // Each fleet has its own, so that they do not hear each other.
    let (one, other) = (Redis::start().await?, Redis::start().await?);
    progress("10000 connections come");
    let mut few = Fleet::start(&one, &FEW).await?;
    let all: usize = MANY.iter().sum();
    progress(&format!("{all} connections come"));
    let mut many = Fleet::start(&other, &MANY).await?;
    tokio::time::sleep(REST).await;
    few.slice()?;
    many.slice()?;
    let lanes = vec![
        Lane::new("ours", || many.slice()),
        Lane::new(OTHER, || few.slice()),
    ];
    let compared = compare("us/delivery", lanes, |what| progress(what))?;
    let measure = format!(
        "broadcast of {PAYLOAD} B to {all} on {} processes, no heartbeat",
        MANY.len()
    );
    let mut rows = vec![compared.row(&measure, OTHER, Bound::AtMost(1.10))?];
    rows.extend(compared.others(&measure)?);
    Ok(rows)
}
