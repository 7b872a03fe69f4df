//! What is measured, and how each sample is taken.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::helper::{Helper, pinned};
use super::pairs::{PAIRS, Verdict, median};
use super::report::Row;
use super::{CLIENT_CPU, HEADER, PAYLOAD, SERVER_CPU, cpu, real};
use crate::redis::Redis;
use crate::server::Server;

/// Connections of the memory measure: as many as one process may have files, less a few.
const IDLE: usize = 19_000;
/// Members of the room of the broadcast measures.
const ROOM: usize = 9_900;
/// The least time of a sample.
const SAMPLE: Duration = Duration::from_secs(2);
/// CPU time of somebody else, as a share of a sample's, that spoils it.
const FOREIGN: f64 = 0.05;
/// After this long what is given back is given back.
const SETTLE: Duration = Duration::from_secs(10);
const STARTS: usize = 9;
const READY_LIMIT: Duration = Duration::from_secs(10);

const KIB: f64 = 1024.0;

/// The measures by name.
pub const MEASURES: [&str; 4] = ["memory", "broadcast", "start", "size"];

/// Takes one.
///
/// # Errors
/// When something does not work; noise is no error.
pub async fn take(measure: &str, progress: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    match measure {
        "memory" => memory(progress).await,
        "broadcast" => broadcast(progress).await,
        "start" => start(progress).await,
        _ => size(),
    }
}

fn program() -> Result<PathBuf> {
    let program: OsString = std::env::var_os("WSC_BIN_SERVER").context("WSC_BIN_SERVER is not set")?;
    Ok(program.into())
}

/// Ours as it is shipped: limits, origin check and heartbeat on, on a Redis.
struct Ours {
    server: Server,
    _redis: Redis,
}

impl Ours {
    async fn start() -> Result<Self> {
        let redis = Redis::start().await?;
        let server = Server::spawn(command(&redis)?).await?;
        server.wait_ready(READY_LIMIT).await?;
        Ok(Self {
            server,
            _redis: redis,
        })
    }

    fn crowd(&self, clients: usize) -> Result<Helper> {
        crowd(&self.server.port().to_string(), clients)
    }
}

fn command(redis: &Redis) -> Result<Command> {
    let mut command = Command::from(pinned(SERVER_CPU, program()?.as_os_str()));
    command.env_remove("POD_NAME").envs([
        ("WSC_BUS", "redis"),
        ("WSC_REDIS_URL", redis.url().as_str()),
        ("WSC_PORT", "0"),
        ("WSC_CONTROL_PORT", "0"),
        ("WSC_MAX_CONNECTIONS", "19500"),
        ("WSC_LOG_FORMAT", "json"),
    ]);
    Ok(command)
}

fn crowd(port: &str, clients: usize) -> Result<Helper> {
    let mut crowd = Helper::start(CLIENT_CPU, &["crowd", port, &clients.to_string()])?;
    crowd.done()?;
    Ok(crowd)
}

async fn memory(progress: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    let ours = Ours::start().await?;
    let pid = ours.server.pid();
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

/// Deliveries per second of CPU time, and the share of the CPU that somebody else had.
struct Sample {
    rate: f64,
    foreign: f64,
}

fn sample(pid: u32, mut round: impl FnMut() -> Result<usize>) -> Result<Sample> {
    let used = || Ok::<_, anyhow::Error>(cpu::of_process(pid)? + cpu::of_softirq(SERVER_CPU)?);
    let (began, before, busy) = (Instant::now(), used()?, cpu::busy(SERVER_CPU)?);
    let mut deliveries = 0;
    while began.elapsed() < SAMPLE {
        deliveries += round()?;
    }
    let spent = used()?.saturating_sub(before).as_secs_f64();
    let busy = cpu::busy(SERVER_CPU)?.saturating_sub(busy).as_secs_f64();
    Ok(Sample {
        rate: real(deliveries as u64) / spent,
        foreign: (busy - spent).max(0.0) / spent,
    })
}

/// A floor and its clients.
struct Floor {
    floor: Helper,
    clients: Helper,
}

impl Floor {
    fn start() -> Result<Self> {
        let mut floor = Helper::start(SERVER_CPU, &["floor", &ROOM.to_string()])?;
        let port = floor.hear()?;
        let clients = crowd(&port, ROOM)?;
        floor.done()?;
        Ok(Self { floor, clients })
    }

    /// So many frames in one `send(2)` to each.
    fn sample(&mut self, frames: usize) -> Result<Sample> {
        let bytes = (HEADER + PAYLOAD) * frames;
        let (floor, clients) = (&mut self.floor, &mut self.clients);
        sample(floor.pid(), || {
            // First, so that nothing comes unexpected.
            clients.tell(&format!("get {bytes}"))?;
            floor.tell(&frames.to_string())?;
            floor.done()?;
            clients.done()?;
            Ok(ROOM * frames)
        })
    }
}

/// Pairs of samples, ours and the floor's, each first in every other one.
struct Paired {
    ours: Vec<f64>,
    floor: Vec<f64>,
    /// Pairs in which somebody else was on the CPU, and whether these were too many.
    spoilt: usize,
    foreign: bool,
}

impl Paired {
    /// The ratio and whether it is none, with the reason.
    fn verdict(&self) -> Option<(f64, Option<String>)> {
        let pairs: Vec<_> = self
            .ours
            .iter()
            .copied()
            .zip(self.floor.iter().copied())
            .collect();
        let verdict = Verdict::of(&pairs)?;
        let why = if self.foreign {
            Some(format!("{} of {PAIRS} pairs with somebody else", self.spoilt))
        } else {
            verdict
                .is_noisy()
                .then(|| format!("ratios {:.0} % apart", verdict.spread * 100.0))
        };
        Some((verdict.ratio, why))
    }

    fn row(&self, measure: &str, least: f64) -> Result<Row> {
        let (ratio, noise) = self.verdict().context("no pairs")?;
        Ok(Row {
            ratio: Some(ratio),
            target: Some(format!(">= {least} of the floor")),
            met: noise.is_none().then_some(ratio >= least),
            noisy: noise.is_some(),
            noise,
            ..Row::plain(measure, "ours", middle(&self.ours)?, "deliveries/core-s")
        })
    }
}

fn middle(values: &[f64]) -> Result<f64> {
    median(values).context("no samples")
}

fn pairs(
    mut ours: impl FnMut() -> Result<Sample>,
    mut floor: impl FnMut() -> Result<Sample>,
    mut progress: impl FnMut(usize),
) -> Result<Paired> {
    let mut paired = Paired {
        ours: Vec::new(),
        floor: Vec::new(),
        foreign: false,
        spoilt: 0,
    };
    let mut spoilt = 0;
    for pair in 0..PAIRS {
        progress(pair);
        let (a, b) = if pair % 2 == 0 {
            let a = ours()?;
            (a, floor()?)
        } else {
            let b = floor()?;
            (ours()?, b)
        };
        spoilt += usize::from(a.foreign > FOREIGN || b.foreign > FOREIGN);
        paired.ours.push(a.rate);
        paired.floor.push(b.rate);
    }
    // A median bears a few.
    paired.foreign = spoilt * 3 > PAIRS;
    paired.spoilt = spoilt;
    Ok(paired)
}

async fn broadcast(progress: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    progress("two rooms fill");
    let ours = Ours::start().await?;
    let pid = ours.server.pid();
    let mut clients = ours.crowd(ROOM)?;
    let mut floor = Floor::start()?;
    let mut put = |frames: usize| {
        sample(pid, || {
            clients.tell(&format!("put {PAYLOAD} {frames}"))?;
            clients.done()?;
            Ok(ROOM * frames)
        })
    };
    // One of each that does not count.
    put(1)?;
    floor.sample(1)?;
    let mut rows = Vec::new();
    for (frames, least, of_chunk) in [(1, 0.92, None), (10, 7.0, Some(0.85)), (50, 20.0, Some(0.85))] {
        let name = match frames {
            1 => format!("broadcast of {PAYLOAD} B to {ROOM}"),
            _ => format!("the same in bursts of {frames}"),
        };
        let paired = pairs(
            || put(frames),
            || floor.sample(1),
            |pair| progress(&format!("{name}: pair {} of {PAIRS}", pair + 1)),
        )?;
        rows.push(paired.row(&name, least)?);
        rows.push(Row::plain(
            &name,
            "floor: one send(2) a frame",
            middle(&paired.floor)?,
            "deliveries/core-s",
        ));
        if let Some(least) = of_chunk {
            let name = format!("{name}, beside joined chunks");
            let paired = pairs(
                || put(frames),
                || floor.sample(frames),
                |pair| progress(&format!("{name}: pair {} of {PAIRS}", pair + 1)),
            )?;
            rows.push(paired.row(&name, least)?);
            rows.push(Row::plain(
                &name,
                "floor: one send(2) a burst",
                middle(&paired.floor)?,
                "deliveries/core-s",
            ));
        }
    }
    Ok(rows)
}

async fn start(progress: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    let redis = Redis::start().await?;
    let mut times = Vec::new();
    for n in 0..STARTS {
        progress(&format!("start {} of {STARTS}", n + 1));
        let began = Instant::now();
        let server = Server::spawn(command(&redis)?).await?;
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

fn size() -> Result<Vec<Row>> {
    let bytes = std::fs::metadata(program()?)?.len();
    Ok(vec![Row::at_most(
        "size of the program",
        real(bytes) / 1e6,
        "MB",
        8.0,
    )])
}
