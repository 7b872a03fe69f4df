//! What a demo has to show besides deliveries.

use wsc_testing::clients::record::{self, Close, ClosedBy, Connection};

use super::super::record::{CookieTry, Counted, Pods};
use super::*;

const CLIENTS: usize = 3;
const MESSAGES: u64 = 100;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn rules() -> Rules {
    Rules {
        arrival_bound: seconds(2.0),
        least_messages: MESSAGES,
        least_steady: CLIENTS,
        least_tries: 2,
        least_try_pods: 2,
        least_growth: 2,
        least_moved: 0,
        moves_per_second: 1.0,
    }
}

fn attempt(pod: &str) -> CookieTry {
    CookieTry {
        pod: pod.to_owned(),
        returned: true,
    }
}

/// Three steady clients in a pool that grows and shrinks.
fn clean() -> Record {
    Record {
        clients: record::Record::flawless(CLIENTS, MESSAGES),
        tries: vec![attempt("chat-0"), attempt("chat-1")],
        pods: Pods {
            minimum: 2,
            at_first: 2,
            peak: 4,
            at_last: 2,
        },
        ..Record::default()
    }
}

/// Besides, this many clients are asked to reconnect, at these distances.
fn moved(clients: u32, apart: f64) -> Record {
    let mut record = clean();
    for index in 0..clients {
        let begun = seconds(20.0) + seconds(apart) * index;
        record.clients.clients.push(ClientRecord {
            connections: vec![Connection {
                close: Some(Close {
                    begun,
                    by: ClosedBy::Move,
                }),
                ..Connection::default()
            }],
            ..ClientRecord::default()
        });
    }
    let moves = u64::from(clients);
    record.counted = Counted {
        shed: moves,
        granted: moves,
        moved: moves,
        ..Counted::default()
    };
    record
}

#[track_caller]
fn fails(record: &Record, with: &str) -> Verdict {
    let verdict = check(record, &rules());
    assert!(!verdict.passed());
    assert_eq!(verdict.failures.len(), 1, "{:?}", verdict.failures);
    assert!(verdict.failures[0].contains(with), "{:?}", verdict.failures);
    verdict
}

#[test]
fn a_clean_record_passes() {
    let verdict = check(&clean(), &rules());
    assert_eq!(verdict.failures, Vec::<String>::new());
    assert_eq!((verdict.cookie_tries, verdict.cookie_returns), (2, 2));
    assert_eq!(verdict.clients.deliveries_received, 300);
}

#[test]
fn a_failure_of_the_clients_fails() {
    let mut record = clean();
    record.clients.clients[1].connections[0]
        .delivered
        .retain(|id| *id != 17);
    fails(
        &record,
        "message 17, sent by client 2 at 18.0 s, never reached client 1",
    );
    let mut record = moved(1, 0.0);
    let by = ClosedBy::Server {
        code: Some(1001),
        reason: "going away".to_owned(),
    };
    let close = Some(Close {
        begun: seconds(20.0),
        by,
    });
    record.clients.clients[3].connections[0].close = close;
    record.counted = Counted::default();
    fails(
        &record,
        "client 3 was closed without a request at 20.0 s with 1001: going away",
    );
}

#[test]
fn counters_must_agree_with_the_clients() {
    let counters: [fn(&mut Counted) -> &mut u64; 3] = [|c| &mut c.shed, |c| &mut c.granted, |c| &mut c.moved];
    for counter in counters {
        for wrong in [0, 2] {
            let mut record = moved(1, 0.0);
            *counter(&mut record.counted) = wrong;
            fails(&record, "clients saw 1 closes with 1012");
        }
        let mut record = clean();
        *counter(&mut record.counted) = 1;
        fails(&record, "clients saw 0 closes with 1012");
    }
}

#[test]
fn over_five_percent_exclusions_fail() {
    // A client without a connection from 20 s on misses a message a second, of 300 pairs in all.
    let without = |missed: u64| {
        let mut record = clean();
        let connections = &mut record.clients.clients[2].connections;
        let close = Close {
            begun: seconds(20.5),
            by: ClosedBy::Client,
        };
        connections[0].close = Some(close);
        connections[0].delivered.retain(|id| *id < 18);
        connections.push(Connection {
            opened: seconds(20.5) + Duration::from_secs(missed - 2),
            delivered: (18 + missed..MESSAGES).collect(),
            ..Connection::default()
        });
        for message in &mut record.clients.messages {
            message.connection = usize::from(message.client == 2 && message.id > 20);
        }
        check(&record, &rules())
    };
    let verdict = without(15);
    assert_eq!(verdict.failures, Vec::<String>::new());
    assert_eq!(verdict.clients.pairs_excluded, 15);
    let verdict = without(16);
    assert_eq!(verdict.clients.pairs_excluded, 16);
    let failures = &verdict.failures;
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(
        failures[0].contains("16 of 300 pairs are excluded: more than 5 %"),
        "{failures:?}"
    );
}

#[test]
fn moves_beyond_the_budget_fail() {
    // At 1 a second, a burst of 5 s and a spread of 10 s.
    assert!(check(&moved(16, 0.0), &rules()).passed());
    assert!(check(&moved(60, 1.0), &rules()).passed());
    fails(
        &moved(17, 0.0),
        "17 clients received a request to reconnect within 0.0 s",
    );
    fails(&moved(60, 0.5), "clients received a request to reconnect within");
}

#[test]
fn a_reload_or_new_process_fails() {
    let mut record = clean();
    record.counted.reloads = 1;
    fails(&record, "HAProxy was reloaded 1 times");
    let mut record = clean();
    record.counted.pid_changes = 1;
    fails(&record, "HAProxy's process changed 1 times");
}

#[test]
fn cookies_must_return_and_be_many() {
    let mut record = clean();
    record.tries[1].returned = false;
    let verdict = fails(&record, "1 of 2 clients with a cookie reached another pod");
    assert_eq!((verdict.cookie_tries, verdict.cookie_returns), (2, 1));
    let mut record = clean();
    record.tries[1].pod = "chat-0".to_owned();
    fails(&record, "2 clients reconnected with a cookie, to 1 pods");
    let mut record = clean();
    record.tries.pop();
    fails(&record, "1 clients reconnected with a cookie, to 1 pods");
}

#[test]
fn the_pool_must_grow_and_shrink() {
    let with = |at_first, peak, at_last| Record {
        pods: Pods {
            minimum: 2,
            at_first,
            peak,
            at_last,
        },
        ..clean()
    };
    fails(&with(2, 3, 2), "grew from 2 to 3 pods only");
    fails(&with(2, 4, 3), "3 pods were left instead of 2");
    fails(&with(3, 5, 2), "3 pods were there at first");
}

#[test]
fn steady_clients_stay_publish_and_receive() {
    let mut left = clean();
    left.clients.clients[0].left = Some(seconds(199.0));
    let mut silent = clean();
    silent.clients.messages.retain(|message| message.client != 0);
    let mut restless = clean();
    restless.clients.clients[0].steady = false;
    let mut closed = clean();
    closed.clients.clients[0].left = Some(closed.clients.until);
    assert!(check(&closed, &rules()).passed(), "after the record was closed");
    for record in [left, restless] {
        fails(&record, "2 clients stayed, published and received: 3 are needed");
    }
    let verdict = check(&silent, &rules());
    assert!(
        verdict
            .failures
            .iter()
            .any(|failure| failure.contains("2 clients stayed")),
        "{:?}",
        verdict.failures
    );
}

#[test]
fn too_few_messages_fail() {
    let rules = Rules {
        least_messages: MESSAGES + 1,
        ..rules()
    };
    assert_eq!(
        check(&clean(), &rules).failures,
        ["only 100 messages were sent, 101 are needed"]
    );
}

#[test]
fn too_few_moves_fail() {
    let rules = Rules {
        least_moved: 1,
        ..rules()
    };
    assert!(check(&moved(1, 0.0), &rules).passed());
    assert_eq!(
        check(&clean(), &rules).failures,
        ["only 0 clients received a request to reconnect, 1 are required"]
    );
}
