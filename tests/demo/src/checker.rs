//! Judges a demo by its record alone. Pure: equal records get equal verdicts. What clients observed
//! is checked by [`wsc_testing::clients::checker`]; here is what a demo has to show besides.

use std::collections::BTreeSet;
use std::time::Duration;

use wsc_testing::clients::checker::{self, Numbers};
use wsc_testing::clients::record::ClientRecord;

use super::record::Record;

/// Share of (message, client) pairs that may be excluded.
const MOST_EXCLUDED_PERCENT: u64 = 5;
/// The operator's budget holds tokens of one tick at most.
const BURST: Duration = Duration::from_secs(5);
/// A grant is carried out over most of a tick, by a pod on a busy machine: closes may be that much
/// denser than grants.
const SPREAD: Duration = Duration::from_secs(10);

/// What a demo has to have done to prove anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rules {
    /// A message that did not come within this time of a living connection may be late or lost; one
    /// that did not come at all is lost.
    pub(crate) arrival_bound: Duration,
    /// Messages to the room.
    pub(crate) least_messages: u64,
    /// Clients that stay for the whole demo, all of which publish and receive.
    pub(crate) least_steady: usize,
    /// Reconnects with a cookie.
    pub(crate) least_tries: u64,
    /// Pods that these are spread over.
    pub(crate) least_try_pods: usize,
    /// Pods that the pool grows by.
    pub(crate) least_growth: usize,
    /// Clients that are asked to move, since otherwise nothing is proven about moves.
    pub(crate) least_moved: u64,
    /// Moves a second that the resource allows.
    pub(crate) moves_per_second: f64,
}

/// What a record proves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// The numbers of connections and messages.
    pub(crate) clients: Numbers,
    /// Reconnects with a cookie.
    pub(crate) cookie_tries: u64,
    /// Of these, the ones that reached the cookie's pod.
    pub(crate) cookie_returns: u64,
    /// Why the demo failed; none if it did not.
    pub(crate) failures: Vec<String>,
}

impl Verdict {
    /// Did the demo pass?
    pub(crate) fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Judges the record.
pub(crate) fn check(record: &Record, rules: &Rules) -> Verdict {
    let clients = checker::check(&record.clients, rules.arrival_bound);
    let mut verdict = Verdict {
        clients: clients.numbers,
        failures: [clients.deliveries, clients.unasked].concat(),
        ..Verdict::default()
    };
    messages(rules, &mut verdict);
    moves(record, rules, &mut verdict);
    haproxy(record, &mut verdict);
    cookies(record, rules, &mut verdict);
    pods(record, rules, &mut verdict);
    steady(record, rules, &mut verdict);
    verdict
}

fn messages(rules: &Rules, verdict: &mut Verdict) {
    let Numbers {
        pairs_excluded: excluded,
        deliveries_expected: expected,
        messages_sent: sent,
        ..
    } = verdict.clients;
    if excluded * 100 > (excluded + expected) * MOST_EXCLUDED_PERCENT {
        verdict.failures.push(format!(
            "{excluded} of {} pairs are excluded: more than {MOST_EXCLUDED_PERCENT} %, so the rest proves too little",
            excluded + expected
        ));
    }
    if sent < rules.least_messages {
        verdict.failures.push(format!(
            "only {sent} messages were sent, {} are needed",
            rules.least_messages
        ));
    }
}

fn moves(record: &Record, rules: &Rules, verdict: &mut Verdict) {
    let (moved, asked) = (verdict.clients.clients_moved, verdict.clients.closes_asked);
    if moved < rules.least_moved {
        verdict.failures.push(format!(
            "only {moved} clients received a request to reconnect, {} are required",
            rules.least_moved
        ));
    }
    let counted = record.counted;
    let counts = [counted.shed, counted.granted, counted.moved];
    if counts.iter().any(|count| *count != asked) {
        verdict.failures.push(format!(
            "clients saw {asked} closes with 1012, but the pods counted {} sheds, the operator granted {} moves and the status says {}",
            counted.shed, counted.granted, counted.moved
        ));
    }
    verdict
        .failures
        .extend(too_dense(&record.clients.moves(), rules.moves_per_second));
}

fn haproxy(record: &Record, verdict: &mut Verdict) {
    let counted = record.counted;
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

/// The first run of closes, in their order, with more of them than the budget allows in its time.
fn too_dense(at: &[Duration], per_second: f64) -> Option<String> {
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
    verdict.cookie_tries = tries;
    verdict.cookie_returns = returns;
    if returns < tries {
        verdict.failures.push(format!(
            "{} of {tries} clients with a cookie reached another pod",
            tries - returns
        ));
    }
    if tries < rules.least_tries || pods.len() < rules.least_try_pods {
        verdict.failures.push(format!(
            "{tries} clients reconnected with a cookie, to {} pods: {} to {} pods are required",
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

/// Clients that were there all the time, and of which each published and received.
fn steady(record: &Record, rules: &Rules, verdict: &mut Verdict) {
    let senders: BTreeSet<usize> = record
        .clients
        .messages
        .iter()
        .map(|message| message.client)
        .collect();
    let stayed = |(index, client): &(usize, &ClientRecord)| {
        let received = client
            .connections
            .iter()
            .any(|connection| !connection.delivered.is_empty());
        let stayed = client.left.is_none_or(|left| left >= record.clients.until);
        client.steady && client.in_room && stayed && received && senders.contains(index)
    };
    let steady = record.clients.clients.iter().enumerate().filter(stayed).count();
    if steady < rules.least_steady {
        verdict.failures.push(format!(
            "{steady} clients stayed, published and received: {} are needed",
            rules.least_steady
        ));
    }
}

#[cfg(test)]
mod tests;
