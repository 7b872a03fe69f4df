//! One message to all members of a room, alone and in bursts.

use anyhow::Result;

use super::super::helper::Helper;
use super::super::meter::{Sample, slice};
use super::super::report::Row;
use super::super::rounds::{Bound, Compared, Lane, compare};
use super::super::subjects::{Broker, Kind, Ours, Peer, crowd};
use super::super::{HEADER, PAYLOAD, SERVER_CPU};
use super::common::{DELIVERIES, Progress};
use wsc_testing::redis::Redis;

/// Members of the room.
const ROOM: usize = 10_000;

const FLOOR: &str = "floor: one send(2) a frame";
const FLOOR_OF_BURSTS: &str = "floor: one send(2) a burst";

/// A floor and its clients.
struct Floor {
    floor: Helper,
    clients: Helper,
}

impl Floor {
    fn start() -> Result<Self> {
        let mut floor = Helper::start(&[SERVER_CPU], &["floor", &ROOM.to_string()])?;
        let clients = crowd(floor.hear()?.parse()?, ROOM, "/")?;
        floor.done()?;
        Ok(Self { floor, clients })
    }

    /// So many frames in one `send(2)` to each.
    fn slice(&mut self, frames: usize) -> Result<Sample> {
        let bytes = (HEADER + PAYLOAD) * frames;
        let (floor, clients) = (&mut self.floor, &mut self.clients);
        slice(&[floor.pid()], || {
            // First, so that nothing comes unexpected.
            clients.tell(&format!("get {bytes}"))?;
            clients.done()?;
            floor.tell(&frames.to_string())?;
            floor.done()?;
            clients.done()?;
            Ok(ROOM * frames)
        })
    }
}

/// So many messages in one go, to all.
fn put(pid: u32, clients: &mut Helper, frames: usize) -> Result<Sample> {
    slice(&[pid], || {
        clients.tell(&format!("put {PAYLOAD} {frames}"))?;
        clients.done()?;
        Ok(ROOM * frames)
    })
}

pub(super) async fn take(progress: Progress<'_>) -> Result<Vec<Row>> {
    progress("the rooms fill");
    let redis = Redis::start().await?;
    let ours = Ours::start(Broker::Redis(&redis), &[]).await?;
    let pid = ours.pid();
    let mut clients = ours.crowd(ROOM)?;
    let mut floor = Floor::start()?;
    // One of each that does not count.
    put(pid, &mut clients, 1)?;
    floor.slice(1)?;
    let name = format!("broadcast of {PAYLOAD} B to {ROOM}");
    let compared = with_peers(pid, &mut clients, &mut floor, &redis, |what| {
        progress(&format!("{name}: {what}"));
    })?;
    let mut rows = vec![compared.row(&name, FLOOR, Bound::AtLeast(0.92))?];
    rows.extend(compared.others(&name)?);
    for (frames, least) in [(10, 7.0), (50, 20.0)] {
        let name = format!("the same in bursts of {frames}");
        let joined = format!("{name}, beside joined chunks");
        for (name, floor_name, at_once, least) in
            [(&name, FLOOR, 1, least), (&joined, FLOOR_OF_BURSTS, frames, 0.85)]
        {
            let lanes = vec![
                Lane::new("ours", || put(pid, &mut clients, frames)),
                Lane::new(floor_name, || floor.slice(at_once)),
            ];
            let compared = compare(DELIVERIES, lanes, |what| progress(&format!("{name}: {what}")))?;
            rows.push(compared.row(name, floor_name, Bound::AtLeast(least))?);
            rows.extend(compared.others(name)?);
        }
    }
    Ok(rows)
}

/// One message at a time. The peers are there for this only.
fn with_peers(
    pid: u32,
    clients: &mut Helper,
    floor: &mut Floor,
    redis: &Redis,
    progress: impl FnMut(&str),
) -> Result<Compared> {
    let mut peers = Vec::new();
    for kind in [Kind::AxumDefaults, Kind::AxumSmall, Kind::Node] {
        let peer = Peer::start(kind, &[SERVER_CPU], Some(redis))?;
        let mut clients = crowd(peer.port(), ROOM, kind.path())?;
        put(peer.pid(), &mut clients, 1)?;
        // In the order of their ends.
        peers.push((clients, peer));
    }
    let mut lanes = vec![
        Lane::new("ours", || put(pid, clients, 1)),
        Lane::new(FLOOR, || floor.slice(1)),
    ];
    for (clients, peer) in &mut peers {
        let pid = peer.pid();
        lanes.push(Lane::seldom(peer.kind().name(), move || put(pid, clients, 1)));
    }
    compare(DELIVERIES, lanes, progress)
}
