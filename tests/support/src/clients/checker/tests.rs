//! The checker must find each fault that is put into a flawless record.

use super::super::record::Close;
use super::*;

const CLIENTS: usize = 3;
const MESSAGES: u64 = 100;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn clean() -> Record {
    Record::flawless(CLIENTS, MESSAGES)
}

fn verdict(record: &Record) -> Verdict {
    check(record, seconds(2.0))
}

/// Client 2 is closed at 50.5 s and back at 51.2 s: messages 48 to 50 (sent at 49 to 51 s) are
/// around the close.
fn reconnected(by: ClosedBy) -> Record {
    let mut record = clean();
    let connections = &mut record.clients[2].connections;
    connections[0].close = Some(Close {
        begun: seconds(50.5),
        by,
    });
    connections[0].delivered = (0..50).collect();
    connections.push(Connection {
        opened: seconds(51.2),
        delivered: (51..MESSAGES).collect(),
        ..Connection::default()
    });
    for message in &mut record.messages {
        message.connection = usize::from(message.client == 2 && message.id > 50);
    }
    record
}

#[track_caller]
fn passes(record: &Record) -> Numbers {
    let verdict = verdict(record);
    assert_eq!((verdict.deliveries, verdict.unasked), (Vec::new(), Vec::new()));
    verdict.numbers
}

#[track_caller]
fn fails(record: &Record, with: &str) -> Numbers {
    let verdict = verdict(record);
    let failures = [verdict.deliveries, verdict.unasked].concat();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].contains(with), "{failures:?}");
    verdict.numbers
}

#[test]
fn a_flawless_record_passes_with_each_delivery() {
    let wanted = Numbers {
        clients_peak: 3,
        messages_sent: 100,
        deliveries_expected: 300,
        deliveries_received: 300,
        ..Numbers::default()
    };
    assert_eq!(passes(&clean()), wanted);
}

#[test]
fn one_lost_delivery_fails() {
    let mut record = clean();
    record.clients[1].connections[0].delivered.retain(|id| *id != 17);
    let lost = "message 17, sent by client 2 at 18.0 s, never reached client 1";
    let numbers = fails(&record, lost);
    assert_eq!(
        (numbers.deliveries_expected, numbers.deliveries_received),
        (300, 299)
    );
}

#[test]
fn a_message_without_receivers_is_lost() {
    let mut record = clean();
    for client in &mut record.clients {
        client.connections[0].delivered.retain(|id| *id != 17);
    }
    let verdict = verdict(&record);
    assert_eq!(verdict.deliveries.len(), 3, "{:?}", verdict.deliveries);
    let numbers = verdict.numbers;
    assert_eq!((numbers.deliveries_received, numbers.pairs_excluded), (297, 0));
}

#[test]
fn one_doubled_delivery_fails() {
    let mut record = clean();
    record.clients[0].connections[0].delivered.push(5);
    let numbers = fails(&record, "client 0 received message 5 2 times");
    assert_eq!(
        (numbers.deliveries_doubled, numbers.deliveries_received),
        (1, 300)
    );
    let mut record = reconnected(ClosedBy::Move);
    record.clients[2].connections[1].delivered.insert(0, 49);
    let numbers = fails(&record, "client 2 received message 49 2 times");
    assert_eq!(numbers.deliveries_doubled, 1, "on two connections");
}

#[test]
fn a_delivery_that_was_not_sent_fails() {
    let mut record = clean();
    record.clients[0].connections[0].delivered.push(1000);
    fails(&record, "client 0 received message 1000, which no client sent");
    let mut record = clean();
    record.clients[0].connections[0].foreign = 1;
    fails(&record, "1 received frames match no sent message");
}

#[test]
fn a_requested_reconnect_excludes_pairs_around_it() {
    let numbers = passes(&reconnected(ClosedBy::Move));
    let wanted = Numbers {
        clients_peak: 3,
        clients_moved: 1,
        closes_asked: 1,
        messages_sent: 100,
        deliveries_expected: 297,
        deliveries_received: 297,
        pairs_excluded: 3,
        ..Numbers::default()
    };
    assert_eq!(numbers, wanted);
}

#[test]
fn one_unasked_close_fails_whatever_its_code() {
    for code in [
        None,
        Some(1000),
        Some(1001),
        Some(1006),
        Some(1011),
        Some(1012),
        Some(1013),
    ] {
        let reason = String::new();
        let record = reconnected(ClosedBy::Server { code, reason });
        let numbers = fails(&record, "client 2 was closed without a request at 50.5 s");
        assert_eq!((numbers.closes_unasked, numbers.closes_asked), (1, 0), "{code:?}");
    }
}

#[test]
fn delivery_is_due_only_before_the_close() {
    let closing = |begun: f64| {
        let mut record = clean();
        let client = &mut record.clients[2];
        client.connections[0].close = Some(Close {
            begun: seconds(begun),
            by: ClosedBy::Client,
        });
        // Message 96 is sent at 97 s by client 0.
        client.connections[0].delivered.retain(|id| *id < 96);
        client.left = Some(seconds(begun));
        record
            .messages
            .retain(|message| message.client != 2 || message.id < 96);
        for client in &mut record.clients {
            client.connections[0].delivered.retain(|id| *id != 98);
        }
        record
    };
    let excluded = passes(&closing(98.9)).pairs_excluded;
    assert_eq!(excluded, 2, "messages 96 and 97, and none after it left");
    fails(&closing(99.0), "message 96");
}

#[test]
fn a_later_client_misses_nothing_sent_before() {
    let mut record = clean();
    record.clients.push(ClientRecord {
        in_room: true,
        connections: vec![Connection {
            // Messages 0 to 49 are sent at 1 to 50 s; the last of them may still be on its way.
            opened: seconds(50.5),
            ..Connection::default()
        }],
        ..ClientRecord::default()
    });
    for first in [50, 49] {
        record.clients[3].connections[0].delivered = (first..MESSAGES).collect();
        let numbers = passes(&record);
        assert_eq!((numbers.deliveries_expected, numbers.pairs_excluded), (350, 0));
    }
}

#[test]
fn one_receiver_proves_the_send() {
    // Client 2 sends message 50 just before the close at 50.5 s.
    let received_by = |receivers: &[usize]| {
        let mut record = reconnected(ClosedBy::Move);
        record.messages[50].connection = 0;
        record.messages[50].sent = seconds(50.4);
        for (index, client) in record.clients.iter_mut().enumerate() {
            for connection in &mut client.connections {
                connection
                    .delivered
                    .retain(|id| *id != 50 || receivers.contains(&index));
            }
        }
        record
    };
    let excluded = passes(&received_by(&[])).pairs_excluded;
    assert_eq!(
        excluded, 5,
        "of 50 with all three, of 48 and 49 with the one that moved"
    );
    fails(
        &received_by(&[0]),
        "message 50, sent by client 2 at 50.4 s, never reached client 1",
    );
}

#[test]
fn only_the_first_failures_are_listed() {
    let mut record = clean();
    record.clients[1].connections[0].delivered.clear();
    let failures = verdict(&record).deliveries;
    assert_eq!(failures.len(), MOST_LISTED + 1);
    assert_eq!(failures[MOST_LISTED], "… and 80 more lost deliveries");
}

#[test]
fn gaps_and_open_connections_follow_the_record() {
    let record = reconnected(ClosedBy::Move);
    assert_eq!(record.clients[2].longest_gap(), Duration::from_millis(700));
    assert_eq!(record.clients[0].longest_gap(), Duration::ZERO);
    let open: Vec<usize> = record.connected().into_iter().map(|(_, open)| open).collect();
    assert_eq!(open, [1, 2, 3, 2, 3]);
    assert_eq!(
        (record.moves().as_slice(), record.drops().len()),
        (&[seconds(50.5)][..], 0)
    );
}
