//! Checks what clients observed. Pure: equal records have equal verdicts.
//!
//! A delivery is expected for each message and each client of the room that was connected (upgrade
//! answered, no close begun) from before the send until after the arrival bound. Around a connect
//! or a close both outcomes are right: such pairs are excluded and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::record::{ClientRecord, ClosedBy, Connection, Message, Record};

/// Failures of one kind that are listed one by one.
const MOST_LISTED: usize = 20;

/// The numbers of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The most connections at any time.
    pub clients_peak: usize,
    /// Clients that were asked to reconnect at least once.
    pub clients_moved: u64,
    /// Messages to the room.
    pub messages_sent: u64,
    /// Pairs of a message and a client that had to receive it.
    pub deliveries_expected: u64,
    /// Of these, the ones that were received.
    pub deliveries_received: u64,
    /// Deliveries of a message to a client that had it already.
    pub deliveries_doubled: u64,
    /// Pairs around a connect or a close.
    pub pairs_excluded: u64,
    /// Closes with the request to reconnect.
    pub closes_asked: u64,
    /// Other closes by the server, and broken connections.
    pub closes_unasked: u64,
}

/// What a record proves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The numbers.
    pub numbers: Numbers,
    /// Lost, doubled and foreign messages.
    pub deliveries: Vec<String>,
    /// Closes that neither the client wanted nor the server asked for.
    pub unasked: Vec<String>,
}

/// The first failures of one kind.
fn listed(mut failures: Vec<String>, kind: &str) -> Vec<String> {
    let more = failures.len().saturating_sub(MOST_LISTED);
    failures.truncate(MOST_LISTED);
    if more > 0 {
        failures.push(format!("… and {more} more {kind}"));
    }
    failures
}

/// What must be true of a message and a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    Expected,
    /// The client may have received it or not.
    Excluded,
    /// The client was not there.
    Absent,
}

/// Checks the record. A message that did not come within `arrival_bound` of a living connection may
/// be late or lost; one that did not come at all is lost.
pub fn check(record: &Record, arrival_bound: Duration) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.numbers.clients_peak = record
        .connected()
        .iter()
        .map(|(_, open)| *open)
        .max()
        .unwrap_or(0);
    verdict.numbers.messages_sent = record.messages.len() as u64;
    let received: Vec<BTreeMap<u64, u64>> = record.clients.iter().map(times_received).collect();
    lost(record, &received, arrival_bound, &mut verdict);
    doubled(record, &received, &mut verdict);
    let foreign: u64 = record.connections().map(|connection| connection.foreign).sum();
    if foreign > 0 {
        let text = format!("{foreign} received frames match no sent message");
        verdict.deliveries.push(text);
    }
    closes(record, &mut verdict);
    verdict
}

fn lost(record: &Record, received: &[BTreeMap<u64, u64>], bound: Duration, verdict: &mut Verdict) {
    let by_any: BTreeSet<u64> = received.iter().flat_map(BTreeMap::keys).copied().collect();
    let numbers = &mut verdict.numbers;
    let mut lost = Vec::new();
    for message in &record.messages {
        let certain = by_any.contains(&message.id) || was_sent_out(record, message, bound);
        for (index, client) in record.clients.iter().enumerate() {
            match (pair(record, client, message, bound), certain) {
                (Pair::Absent, _) => {}
                (Pair::Excluded, _) | (Pair::Expected, false) => numbers.pairs_excluded += 1,
                (Pair::Expected, true) => {
                    numbers.deliveries_expected += 1;
                    if received[index].contains_key(&message.id) {
                        numbers.deliveries_received += 1;
                    } else {
                        lost.push(lost_text(message, index));
                    }
                }
            }
        }
    }
    verdict.deliveries.extend(listed(lost, "lost deliveries"));
}

fn doubled(record: &Record, received: &[BTreeMap<u64, u64>], verdict: &mut Verdict) {
    let sent: BTreeSet<u64> = record.messages.iter().map(|message| message.id).collect();
    let mut failures = Vec::new();
    for (index, client) in received.iter().enumerate() {
        for (id, times) in client {
            if !sent.contains(id) {
                failures.push(format!(
                    "client {index} received message {id}, which no client sent"
                ));
            } else if *times > 1 {
                verdict.numbers.deliveries_doubled += times - 1;
                failures.push(format!("client {index} received message {id} {times} times"));
            }
        }
    }
    verdict.deliveries.extend(listed(failures, "wrong deliveries"));
}

fn lost_text(message: &Message, index: usize) -> String {
    let Message { id, client, sent, .. } = message;
    let sent = sent.as_secs_f64();
    format!("message {id}, sent by client {client} at {sent:.1} s, never reached client {index}")
}

fn times_received(client: &ClientRecord) -> BTreeMap<u64, u64> {
    let mut times = BTreeMap::new();
    for id in client
        .connections
        .iter()
        .flat_map(|connection| &connection.delivered)
    {
        *times.entry(*id).or_default() += 1;
    }
    times
}

/// The sender stayed long enough to send the message. One that no client received and whose sender
/// was closing may never have left.
fn was_sent_out(record: &Record, message: &Message, bound: Duration) -> bool {
    let sender = record.clients.get(message.client);
    let connection = sender.and_then(|client| client.connections.get(message.connection));
    connection.is_some_and(|connection| covers(record, connection, message, bound))
}

fn pair(record: &Record, client: &ClientRecord, message: &Message, bound: Duration) -> Pair {
    let Some(first) = client.connections.first().filter(|_| client.in_room) else {
        return Pair::Absent;
    };
    let mut connections = client.connections.iter();
    if connections.any(|connection| covers(record, connection, message, bound)) {
        return Pair::Expected;
    }
    // A client that connected later is absent; one between two connections is not.
    let left = client.left.unwrap_or(Duration::MAX);
    if first.opened <= message.sent && message.sent < left {
        Pair::Excluded
    } else {
        Pair::Absent
    }
}

/// Connected from before the send until after the arrival bound.
fn covers(record: &Record, connection: &Connection, message: &Message, bound: Duration) -> bool {
    let close = connection.close.as_ref();
    let end = close.map_or(record.until, |close| close.begun.min(record.until));
    connection.opened <= message.sent && message.sent + bound <= end
}

fn closes(record: &Record, verdict: &mut Verdict) {
    let numbers = &mut verdict.numbers;
    let mut unasked = Vec::new();
    for (index, client) in record.clients.iter().enumerate() {
        let mut moved = false;
        for close in client.connections.iter().filter_map(|one| one.close.as_ref()) {
            match &close.by {
                ClosedBy::Client => {}
                ClosedBy::Move => {
                    moved = true;
                    numbers.closes_asked += 1;
                }
                ClosedBy::Server { code, reason } => {
                    numbers.closes_unasked += 1;
                    let frame = code.map_or_else(
                        || "without a close frame".to_owned(),
                        |code| format!("with {code}"),
                    );
                    let at = close.begun.as_secs_f64();
                    unasked.push(format!(
                        "client {index} was closed without a request at {at:.1} s {frame}: {reason}"
                    ));
                }
            }
        }
        numbers.clients_moved += u64::from(moved);
    }
    verdict.unasked = listed(unasked, "unasked closes");
}

#[cfg(test)]
mod tests;
