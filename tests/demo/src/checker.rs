//! Judges a demo by its record alone. Pure: equal records get equal verdicts.
//!
//! A delivery is expected for each message and each client of the room that was connected (upgrade answered, no close begun) from
//! before the send until after the arrival bound. Around a move or a goodbye nothing can be said: such pairs are
//! excluded and counted, and there must be few.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::record::{Client, Connection, How, Message, Record};

/// The code of a close that asks a client to move.
pub const MOVED: u16 = 1012;
/// Share of (message, client) pairs that may be excluded.
const MOST_EXCLUDED_PERCENT: u64 = 5;
/// The operator's budget holds tokens of one tick at most.
const BURST: Duration = Duration::from_secs(5);
/// A grant is carried out over most of a tick, by a pod on a busy machine: closes may be that much denser than grants.
const SPREAD: Duration = Duration::from_secs(10);
/// Failures of one kind that are told one by one.
const TOLD: usize = 20;

/// What a demo has to have done to prove anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// A message that did not come within this time of a living connection may be late or lost; one that did not come at all is lost.
    pub arrival_bound: Duration,
    /// Messages to the room.
    pub least_messages: u64,
    /// Clients that stay for the whole demo, all of which publish and receive.
    pub least_steady: usize,
    /// Reconnects with a cookie.
    pub least_tries: u64,
    /// Pods that these are spread over.
    pub least_try_pods: usize,
    /// Pods that the pool grows by.
    pub least_growth: usize,
    /// Clients that are asked to move, since otherwise nothing is proven about moves.
    pub least_moved: u64,
    /// Moves a second that the resource allows.
    pub moves_per_second: f64,
}

/// The numbers of a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The most connections at any time.
    pub clients_peak: u64,
    /// Clients that were asked to move at least once.
    pub clients_moved: u64,
    /// Messages to the room.
    pub messages_sent: u64,
    /// Pairs of a message and a client that had to get it.
    pub deliveries_expected: u64,
    /// Of these, the ones that came.
    pub deliveries_received: u64,
    /// Deliveries of a message to a client that had it already.
    pub deliveries_doubled: u64,
    /// Pairs that nothing can be said about.
    pub pairs_excluded: u64,
    /// Closes with the code that asks to move.
    pub closes_asked: u64,
    /// Closes that neither the client wanted nor the operator asked for.
    pub closes_unasked: u64,
    /// Reconnects with a cookie.
    pub cookie_tries: u64,
    /// Of these, the ones that landed on the cookie's pod.
    pub cookie_returns: u64,
}

/// What a record proves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The numbers.
    pub numbers: Numbers,
    /// Why the demo failed; none if it did not.
    pub failures: Vec<String>,
}

impl Verdict {
    /// Did the demo pass?
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Judges the record.
pub fn check(record: &Record, rules: &Rules) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.numbers.clients_peak = clients_peak(record);
    deliveries(record, rules, &mut verdict);
    closes(record, rules, &mut verdict);
    cookies(record, rules, &mut verdict);
    pods(record, rules, &mut verdict);
    steady(record, rules, &mut verdict);
    verdict
}

/// Failures of one kind, of which only the first are told.
struct Failures<'a> {
    told: &'a mut Vec<String>,
    count: usize,
}

impl<'a> Failures<'a> {
    fn into(verdict: &'a mut Vec<String>) -> Self {
        Self {
            told: verdict,
            count: 0,
        }
    }

    fn add(&mut self, failure: impl FnOnce() -> String) {
        self.count += 1;
        if self.count <= TOLD {
            self.told.push(failure());
        }
    }

    fn end(self, what: &str) {
        if self.count > TOLD {
            self.told.push(format!("… and {} more {what}", self.count - TOLD));
        }
    }
}

fn clients_peak(record: &Record) -> u64 {
    let connections = record.clients.iter().flat_map(|client| &client.connections);
    // Of two changes at the same moment the end counts first.
    let mut changes: Vec<(Duration, bool)> = connections
        .flat_map(|connection| {
            let end = connection.close.as_ref().map(|close| (close.begun, false));
            [Some((connection.opened, true)), end].into_iter().flatten()
        })
        .collect();
    changes.sort_unstable();
    let (mut open, mut peak) = (0_u64, 0_u64);
    for (_, opened) in changes {
        open = if opened { open + 1 } else { open.saturating_sub(1) };
        peak = peak.max(open);
    }
    peak
}

/// What may be said about a message and a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    /// The client had to get it.
    Expected,
    /// It may have got it or not.
    Excluded,
    /// The client was not there.
    Absent,
}

fn deliveries(record: &Record, rules: &Rules, verdict: &mut Verdict) {
    let received: Vec<BTreeMap<u64, u64>> = record.clients.iter().map(times_received).collect();
    let heard: BTreeSet<u64> = received
        .iter()
        .flat_map(|client| client.keys().copied())
        .collect();
    let known: BTreeSet<u64> = record.messages.iter().map(|message| message.id).collect();
    verdict.numbers.messages_sent = record.messages.len() as u64;
    let mut lost = Failures::into(&mut verdict.failures);
    for message in &record.messages {
        let certain = heard.contains(&message.id) || was_sent_out(record, message, rules.arrival_bound);
        for (index, client) in record.clients.iter().enumerate() {
            match (pair(record, client, message, rules.arrival_bound), certain) {
                (Pair::Absent, _) => {}
                (Pair::Excluded, _) | (Pair::Expected, false) => verdict.numbers.pairs_excluded += 1,
                (Pair::Expected, true) => {
                    verdict.numbers.deliveries_expected += 1;
                    if received[index].contains_key(&message.id) {
                        verdict.numbers.deliveries_received += 1;
                    } else {
                        lost.add(|| lost_text(message, index));
                    }
                }
            }
        }
    }
    lost.end("lost deliveries");
    doubled(&received, &known, verdict);
    let garbled: u64 = connections(record).map(|connection| connection.garbled).sum();
    if garbled > 0 {
        verdict
            .failures
            .push(format!("{garbled} received frames match no sent message"));
    }
    let Numbers {
        pairs_excluded: excluded,
        deliveries_expected: expected,
        ..
    } = verdict.numbers;
    if excluded * 100 > (excluded + expected) * MOST_EXCLUDED_PERCENT {
        verdict.failures.push(format!(
            "{excluded} of {} pairs are excluded: more than {MOST_EXCLUDED_PERCENT} %, so the rest proves too little",
            excluded + expected
        ));
    }
    if verdict.numbers.messages_sent < rules.least_messages {
        let sent = verdict.numbers.messages_sent;
        verdict.failures.push(format!(
            "only {sent} messages were sent, {} are needed",
            rules.least_messages
        ));
    }
}

fn doubled(received: &[BTreeMap<u64, u64>], known: &BTreeSet<u64>, verdict: &mut Verdict) {
    let mut failures = Failures::into(&mut verdict.failures);
    for (index, client) in received.iter().enumerate() {
        for (id, times) in client {
            if !known.contains(id) {
                failures.add(|| format!("client {index} got message {id}, which no client sent"));
            } else if *times > 1 {
                verdict.numbers.deliveries_doubled += times - 1;
                failures.add(|| format!("client {index} got message {id} {times} times"));
            }
        }
    }
    failures.end("wrong deliveries");
}

fn lost_text(message: &Message, index: usize) -> String {
    let Message { id, client, sent, .. } = message;
    format!(
        "message {id}, sent by client {client} at {:.1} s, never reached client {index}",
        sent.as_secs_f64()
    )
}

fn times_received(client: &Client) -> BTreeMap<u64, u64> {
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

/// The sender stayed long enough to get the message out. One that nobody heard and whose sender was closing may never have left.
fn was_sent_out(record: &Record, message: &Message, bound: Duration) -> bool {
    let sender = record.clients.get(message.client);
    let connection = sender.and_then(|client| client.connections.get(message.connection));
    connection.is_some_and(|connection| covers(record, connection, message, bound))
}

fn pair(record: &Record, client: &Client, message: &Message, bound: Duration) -> Pair {
    let Some(first) = client.connections.first().filter(|_| client.in_room) else {
        return Pair::Absent;
    };
    if client
        .connections
        .iter()
        .any(|connection| covers(record, connection, message, bound))
    {
        return Pair::Expected;
    }
    // Somebody who came later had nothing to get yet; somebody who was between two connections had.
    let gone = client.left.unwrap_or(Duration::MAX);
    if first.opened <= message.sent && message.sent < gone {
        Pair::Excluded
    } else {
        Pair::Absent
    }
}

/// Connected from before the send until after the arrival bound.
fn covers(record: &Record, connection: &Connection, message: &Message, bound: Duration) -> bool {
    let end = connection
        .close
        .as_ref()
        .map_or(record.until, |close| close.begun.min(record.until));
    connection.opened <= message.sent && message.sent + bound <= end
}

fn connections(record: &Record) -> impl Iterator<Item = &Connection> {
    record.clients.iter().flat_map(|client| &client.connections)
}

fn closes(record: &Record, rules: &Rules, verdict: &mut Verdict) {
    let mut asked_at = Vec::new();
    let mut unasked = Failures::into(&mut verdict.failures);
    for (index, client) in record.clients.iter().enumerate() {
        let mut moved = false;
        for close in client
            .connections
            .iter()
            .filter_map(|connection| connection.close.as_ref())
        {
            match &close.how {
                How::Own => {}
                How::Server {
                    code: Some(MOVED), ..
                } => {
                    moved = true;
                    asked_at.push(close.begun);
                }
                How::Server { code, reason } => {
                    verdict.numbers.closes_unasked += 1;
                    let code = code.map_or_else(
                        || "without a close frame".to_owned(),
                        |code| format!("with {code}"),
                    );
                    let at = close.begun.as_secs_f64();
                    unasked
                        .add(|| format!("client {index} was closed unasked at {at:.1} s {code}: {reason}"));
                }
            }
        }
        verdict.numbers.clients_moved += u64::from(moved);
    }
    unasked.end("unasked closes");
    let moved = verdict.numbers.clients_moved;
    if moved < rules.least_moved {
        verdict.failures.push(format!(
            "only {moved} clients had to move, {} are needed",
            rules.least_moved
        ));
    }
    let asked = asked_at.len() as u64;
    verdict.numbers.closes_asked = asked;
    let counted = record.counted;
    if [counted.shed, counted.granted, counted.moved]
        .iter()
        .any(|count| *count != asked)
    {
        verdict.failures.push(format!(
            "clients saw {asked} closes with {MOVED}, but the pods counted {} sheds, the operator granted {} moves and the status says {}",
            counted.shed, counted.granted, counted.moved
        ));
    }
    verdict
        .failures
        .extend(too_dense(asked_at, rules.moves_per_second));
    if counted.reloads > 0 {
        verdict
            .failures
            .push(format!("HAProxy was reloaded {} times", counted.reloads));
    }
    if counted.pid_changes > 0 {
        verdict
            .failures
            .push(format!("HAProxy's process changed {} times", counted.pid_changes));
    }
}

/// The first run of closes with more of them than the budget allows in its time.
fn too_dense(mut at: Vec<Duration>, per_second: f64) -> Option<String> {
    at.sort_unstable();
    for (first, start) in at.iter().enumerate() {
        for (more, end) in at[first..].iter().enumerate() {
            let window = end.saturating_sub(*start);
            let allowed = per_second * (window + BURST + SPREAD).as_secs_f64() + 1.0;
            let closes = u32::try_from(more + 1).unwrap_or(u32::MAX);
            if f64::from(closes) > allowed {
                return Some(format!(
                    "{closes} clients received a request to reconnect within {:.1} s: the budget allows {allowed:.0}",
                    window.as_secs_f64()
                ));
            }
        }
    }
    None
}

fn cookies(record: &Record, rules: &Rules, verdict: &mut Verdict) {
    let tries = record.tries.len() as u64;
    let returns = record.tries.iter().filter(|attempt| attempt.returned).count() as u64;
    let pods: BTreeSet<&str> = record.tries.iter().map(|attempt| attempt.pod.as_str()).collect();
    verdict.numbers.cookie_tries = tries;
    verdict.numbers.cookie_returns = returns;
    if returns < tries {
        verdict.failures.push(format!(
            "{} of {tries} clients with a cookie came to another pod",
            tries - returns
        ));
    }
    if tries < rules.least_tries || pods.len() < rules.least_try_pods {
        verdict.failures.push(format!(
            "{tries} clients came back with a cookie, to {} pods: {} to {} pods are needed",
            pods.len(),
            rules.least_tries,
            rules.least_try_pods
        ));
    }
}

fn pods(record: &Record, rules: &Rules, verdict: &mut Verdict) {
    let pods = record.pods;
    if pods.at_first != pods.minimum {
        verdict.failures.push(format!(
            "{} pods were there at first instead of {}",
            pods.at_first, pods.minimum
        ));
    }
    if pods.peak < pods.at_first + rules.least_growth {
        verdict.failures.push(format!(
            "the pool grew from {} to {} pods only: {} more are needed",
            pods.at_first, pods.peak, rules.least_growth
        ));
    }
    if pods.at_last != pods.minimum {
        verdict.failures.push(format!(
            "{} pods were left instead of {}",
            pods.at_last, pods.minimum
        ));
    }
}

/// Clients that were there all the time, and of which each was heard and heard something.
fn steady(record: &Record, rules: &Rules, verdict: &mut Verdict) {
    let senders: BTreeSet<usize> = record.messages.iter().map(|message| message.client).collect();
    let stayed = |(index, client): &(usize, &Client)| {
        let heard = client
            .connections
            .iter()
            .any(|connection| !connection.delivered.is_empty());
        let stayed = client.left.is_none_or(|left| left >= record.until);
        client.steady && client.in_room && stayed && heard && senders.contains(index)
    };
    let steady = record.clients.iter().enumerate().filter(stayed).count();
    if steady < rules.least_steady {
        verdict.failures.push(format!(
            "{steady} clients stayed, published and received: {} are needed",
            rules.least_steady
        ));
    }
}

#[cfg(test)]
mod tests;
