//! Accept and handshake. Closing is not counted.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::super::helper::Helper;
use super::super::meter::{Meter, Sample};
use super::super::report::Row;
use super::super::rounds::{Bound, Lane, compare};
use super::super::subjects::{Broker, Kind, Ours, Peer};
use super::super::{CLIENT_CPU, SERVER_CPU};
use super::common::Progress;
use wsc_testing::cpu;
use wsc_testing::redis::Redis;

/// Connections of one storm.
const STORM: usize = 9_000;
/// Who uses less than this of a [`LOOK`] has nothing left to do.
const IDLE: Duration = Duration::from_millis(1);
const LOOK: Duration = Duration::from_millis(50);
/// By then a storm is over, with its closes.
const OVER: Duration = Duration::from_secs(20);

const MEASURE: &str = "accept and handshake";
const FLOOR: &str = "floor: epoll and httparse";

/// The clients of one subject, which come and go.
struct Storm {
    pid: u32,
    clients: Helper,
}

impl Storm {
    fn start(pid: u32, port: u16, path: &str) -> Result<Self> {
        let clients = Helper::start(&[CLIENT_CPU], &["storm", &port.to_string(), path])?;
        let mut storm = Self { pid, clients };
        // One that does not count.
        storm.open()?;
        storm.close()?;
        Ok(storm)
    }

    fn slice(&mut self) -> Result<Sample> {
        let pids = [self.pid];
        let mut meter = Meter::new(&pids);
        meter.run(|| self.open())?;
        self.close()?;
        Ok(meter.rate(STORM))
    }

    fn open(&mut self) -> Result<()> {
        self.clients.tell(&format!("open {STORM}"))?;
        self.clients.done()
    }

    /// Until nothing of it is left to do.
    fn close(&mut self) -> Result<()> {
        self.clients.tell("close")?;
        self.clients.done()?;
        let began = Instant::now();
        while began.elapsed() < OVER {
            let before = cpu::of_process(self.pid)?;
            std::thread::sleep(LOOK);
            if cpu::of_process(self.pid)?.saturating_sub(before) < IDLE {
                return Ok(());
            }
        }
        bail!("a subject is busy with nothing")
    }
}

pub(super) async fn take(progress: Progress<'_>) -> Result<Vec<Row>> {
    progress("subjects start");
    let redis = Redis::start().await?;
    let ours = Ours::start(Broker::Redis(&redis), &[]).await?;
    let mut door = Helper::start(&[SERVER_CPU], &["door"])?;
    let port = door.hear()?.parse()?;
    let mut storm = Storm::start(ours.pid(), ours.port(), "/ws/bench")?;
    let mut floor = Storm::start(door.pid(), port, "/")?;
    let mut peers = Vec::new();
    for kind in [Kind::AxumDefaults, Kind::AxumSmall, Kind::Node, Kind::Centrifuge] {
        let peer = Peer::start(kind, &[SERVER_CPU], None)?;
        let storm = Storm::start(peer.pid(), peer.port(), kind.path())?;
        peers.push((peer, storm));
    }
    let mut lanes = vec![
        Lane::new("ours", || storm.slice()),
        Lane::new(FLOOR, || floor.slice()),
    ];
    for (peer, storm) in &mut peers {
        lanes.push(Lane::seldom(peer.kind().name(), || storm.slice()));
    }
    let compared = compare("handshakes/core-s", lanes, |what| progress(what))?;
    let mut rows = vec![compared.row(MEASURE, FLOOR, Bound::AtLeast(0.55))?];
    rows.extend(compared.others(MEASURE)?);
    Ok(rows)
}
