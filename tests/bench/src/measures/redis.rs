//! Two processes that share a Redis: how long a message takes from one to the other when many come,
//! whether or not the others are through.

use std::time::Duration;

use anyhow::{Context, Result};

use super::super::helper::Helper;
use super::super::meter::{SAMPLE, Sample, watch};
use super::super::report::Row;
use super::super::rounds::{Bound, Lane, compare_in};
use super::super::subjects::{Broker, Kind, Ours, Peer};
use super::super::tally::Outcome;
use super::super::{CLIENT_CPU, SERVER_CPU, real};
use super::common::Progress;
use wsc_testing::cpu;
use wsc_testing::redis::Redis;

const ROOMS: usize = 100;
/// Of each room, in turn on one process and on the other.
const MEMBERS: usize = 9;
/// Publishes a second, to all rooms in turn.
const RATE: u64 = 5_000;
/// Before it counts.
const WARM: Duration = Duration::from_millis(500);
/// A subscription that is not answered is made by then.
const REST: Duration = Duration::from_secs(2);
/// At most, from when a message is due.
const P99_MS: f64 = 20.0;
/// Nobody is kept from a CPU: two processes, their Redis and their clients find their places.
const ALL_CPUS: [u32; 2] = [SERVER_CPU, CLIENT_CPU];

/// A pause of the machine makes a 99th percentile of 2 s, so that some rounds say nothing: more of
/// them do.
const ROUNDS: usize = 31;
/// The subject that is far behind needs fewer.
const EVERY: usize = 2;

const NODE: &str = "Node ws + redis";
const CENTRIFUGE: &str = "centrifuge + its Redis broker";

/// What was lost and doubled, of how many.
#[derive(Clone, Copy, Default)]
struct Count {
    came: u64,
    lost: u64,
    doubled: u64,
    late_us: u64,
}

/// The clients of a subject and what they have counted.
struct Subject {
    clients: Helper,
    /// Of all that work for it.
    pids: [u32; 4],
    middles: Vec<f64>,
    count: Count,
}

impl Subject {
    fn start(tongue: &str, ports: [u16; 2], pids: [u32; 2], redis: &Redis) -> Result<Self> {
        let [rooms, members] = [ROOMS, MEMBERS].map(|number| number.to_string());
        let [one, other] = ports.map(|port| port.to_string());
        let mut clients = Helper::start(&ALL_CPUS, &["publishers", tongue, &rooms, &members, &one, &other])?;
        clients.done()?;
        Ok(Self {
            pids: [pids[0], pids[1], redis.pid(), clients.pid()],
            clients,
            middles: Vec::new(),
            count: Count::default(),
        })
    }

    /// The 99th percentile, in milliseconds.
    fn sample(&mut self) -> Result<Sample> {
        let pids = self.pids;
        let number = |outcome: &Outcome| real(outcome.p99_us) / 1000.0;
        let (sample, outcome) = watch(&ALL_CPUS, &pids, || self.run(), number)?;
        self.middles.push(real(outcome.p50_us) / 1000.0);
        self.count.came += outcome.came;
        self.count.lost += outcome.lost;
        self.count.doubled += outcome.doubled;
        self.count.late_us = self.count.late_us.max(outcome.late_us);
        Ok(sample)
    }

    fn run(&mut self) -> Result<Outcome> {
        let warm = u128::from(RATE) * WARM.as_millis() / 1000;
        let millis = (WARM + SAMPLE).as_millis();
        self.clients.tell(&format!("run {RATE} {warm} {millis}"))?;
        self.clients.report()?.parse()
    }
}

pub(super) async fn take(progress: Progress<'_>) -> Result<Vec<Row>> {
    progress("subjects start");
    // Redis too.
    cpu::stay_on(&ALL_CPUS)?;
    let rows = compared(progress).await;
    cpu::stay_on(&[CLIENT_CPU])?;
    rows
}

async fn compared(progress: Progress<'_>) -> Result<Vec<Row>> {
    let redis = Redis::start().await?;
    let ours = [
        Ours::start_on(&ALL_CPUS, Broker::Redis(&redis), &[]).await?,
        Ours::start_on(&ALL_CPUS, Broker::Redis(&redis), &[]).await?,
    ];
    let peers = |kind| -> Result<[Peer; 2]> {
        let start = || Peer::start(kind, &ALL_CPUS, Some(&redis));
        Ok([start()?, start()?])
    };
    let (node, centrifuge) = (peers(Kind::Node)?, peers(Kind::Centrifuge)?);
    let start = |tongue, ports, pids| Subject::start(tongue, ports, pids, &redis);
    let of = |tongue, peers: &[Peer; 2]| {
        start(
            tongue,
            peers.each_ref().map(Peer::port),
            peers.each_ref().map(Peer::pid),
        )
    };
    let (ports, pids) = (ours.each_ref().map(Ours::port), ours.each_ref().map(Ours::pid));
    let mut subjects = [
        ("ours", start("raw", ports, pids)?),
        (NODE, of("raw", &node)?),
        (CENTRIFUGE, of("centrifuge", &centrifuge)?),
    ];
    tokio::time::sleep(REST).await;
    for (name, subject) in &mut subjects {
        subject.run().context(*name)?;
    }
    let lanes = subjects.iter_mut().map(|(name, subject)| {
        let every = if *name == NODE { EVERY } else { 1 };
        Lane::new(name, || subject.sample()).every(every)
    });
    let lanes = lanes.collect();
    let compared = compare_in(ROUNDS, "ms", lanes, |what| progress(what))?;
    let load = format!("2 processes and Redis, {RATE} publishes/s to {ROOMS} rooms of {MEMBERS}");
    let p99 = format!("{load}: 99th percentile");
    let mut rows = vec![compared.at_most(&p99, P99_MS)?];
    for peer in [NODE, CENTRIFUGE] {
        rows.push(compared.row(&format!("the same, beside {peer}"), peer, Bound::Below)?);
    }
    rows.extend(compared.others(&p99)?);
    for (name, subject) in &subjects {
        rows.extend(subject.rows(name, &load)?);
    }
    Ok(rows)
}

impl Subject {
    /// What the percentiles do not say.
    fn rows(&self, name: &str, load: &str) -> Result<Vec<Row>> {
        let count = self.count;
        let all = count.came + count.lost;
        let lost = Row::at_most(
            &format!("{load}: lost of {all}"),
            real(count.lost),
            "deliveries",
            0.0,
        );
        let lost = match name {
            "ours" => lost,
            _ => Row::plain(&lost.measure, name, lost.value, lost.unit),
        };
        let mut rows = vec![
            Row::plain(
                &format!("{load}: median"),
                name,
                super::common::middle(&self.middles)?,
                "ms",
            ),
            lost,
        ];
        if count.doubled > 0 {
            rows.push(Row::plain(
                &format!("{load}: doubled"),
                name,
                real(count.doubled),
                "deliveries",
            ));
        }
        rows.push(Row::plain(
            &format!("{load}: sent late by at most"),
            name,
            real(count.late_us) / 1000.0,
            "ms",
        ));
        Ok(rows)
    }
}
