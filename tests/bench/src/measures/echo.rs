//! A message to its sender and back. Ours has no route for that: each client has a room of its own,
//! and the in-process broker carries it.

use anyhow::{Context, Result};

use super::super::helper::Helper;
use super::super::meter::{Meter, SLICE, Sample};
use super::super::report::Row;
use super::super::rounds::{Bound, Lane, compare};
use super::super::subjects::{Broker, Kind, Ours, Peer, crowd};
use super::super::{PAYLOAD, SERVER_CPU};
use super::common::Progress;

/// Each with one message under way.
const CLIENTS: usize = 1_000;
/// How fast it can be at all, beside which no target is: nobody has rooms in it.
const FLOOR: &str = "floor: one read, one write";
/// A room for each.
const PATH: &str = "/ws/r{}";

fn echo(pid: u32, clients: &mut Helper) -> Result<Sample> {
    let pids = [pid];
    let mut meter = Meter::new(&pids);
    let count = meter.run(|| {
        clients.tell(&format!("echo {PAYLOAD} {}", SLICE.as_millis()))?;
        clients.report()?.parse().context("not a count of round trips")
    })?;
    Ok(meter.rate(count))
}

pub(super) async fn take(progress: Progress<'_>) -> Result<Vec<Row>> {
    progress("subjects start");
    let ours = Ours::start(Broker::Memory, &[]).await?;
    let mut clients = crowd(ours.port(), CLIENTS, PATH)?;
    let mut peers = Vec::new();
    for kind in [Kind::AxumDefaults, Kind::AxumSmall, Kind::Node] {
        let peer = Peer::start(kind, &[SERVER_CPU], None)?;
        let mut clients = crowd(peer.port(), CLIENTS, PATH)?;
        echo(peer.pid(), &mut clients)?;
        // In the order of their ends.
        peers.push((clients, peer));
    }
    let mut floor = Helper::start(&[SERVER_CPU], &["door"])?;
    let mut floor_clients = crowd(floor.hear()?.parse()?, CLIENTS, PATH)?;
    echo(floor.pid(), &mut floor_clients)?;
    echo(ours.pid(), &mut clients)?;
    let mut lanes = vec![Lane::new("ours", || echo(ours.pid(), &mut clients))];
    for (clients, peer) in &mut peers {
        let (pid, name) = (peer.pid(), peer.kind().name());
        let take = move || echo(pid, clients);
        lanes.push(match peer.kind() {
            Kind::Node => Lane::seldom(name, take),
            _ => Lane::new(name, take),
        });
    }
    lanes.push(Lane::seldom(FLOOR, || echo(floor.pid(), &mut floor_clients)));
    let compared = compare("round trips/core-s", lanes, |what| progress(what))?;
    let measure = format!("echo of {PAYLOAD} B, {CLIENTS} clients, a room each, in-process broker");
    let best = compared.best(|a, b| a > b)?;
    let mut rows = vec![
        compared.row(&measure, Kind::AxumDefaults.name(), Bound::AtLeast(2.0))?,
        compared.row("the same, beside the best", best, Bound::AtLeast(0.92))?,
    ];
    rows.extend(compared.others(&measure)?);
    Ok(rows)
}
