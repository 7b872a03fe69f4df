mod demands;

use super::super::record::{Close, CookieTry, Counted, Pods};
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

/// Three clients that stay, take turns to send a message a second, and get every one.
fn clean() -> Record {
    let client = Client {
        in_room: true,
        steady: true,
        connections: vec![Connection {
            opened: seconds(0.5),
            delivered: (0..MESSAGES).collect(),
            ..Connection::default()
        }],
        left: None,
    };
    let turn = |id: u64| usize::try_from(id).unwrap() % CLIENTS;
    let message = |id| Message {
        id,
        client: turn(id),
        connection: 0,
        sent: Duration::from_secs(id + 1),
    };
    Record {
        clients: vec![client; CLIENTS],
        messages: (0..MESSAGES).map(message).collect(),
        tries: vec![attempt("chat-0"), attempt("chat-1")],
        counted: Counted::default(),
        pods: Pods {
            minimum: 2,
            at_first: 2,
            peak: 4,
            at_last: 2,
        },
        until: seconds(200.0),
        ..Record::default()
    }
}

/// Client 2 is asked to move at 50.5 s and is back at 51.2 s: messages 48 to 50 (sent at 49 to 51 s) are around the move.
fn moved(code: Option<u16>) -> Record {
    let mut record = clean();
    let how = How::Server {
        code,
        reason: "shed;retry=700".to_owned(),
    };
    let connections = &mut record.clients[2].connections;
    connections[0].close = Some(Close {
        begun: seconds(50.5),
        how,
    });
    connections[0].delivered = (0..50).collect();
    connections.push(Connection {
        opened: seconds(51.2),
        delivered: (51..MESSAGES).collect(),
        ..Connection::default()
    });
    for message in record
        .messages
        .iter_mut()
        .filter(|message| message.client == 2 && message.id > 50)
    {
        message.connection = 1;
    }
    record.counted = Counted {
        shed: 1,
        granted: 1,
        moved: 1,
        ..Counted::default()
    };
    record
}

#[track_caller]
fn fails(record: &Record, with: &str) -> Numbers {
    let verdict = check(record, &rules());
    assert!(!verdict.passed());
    assert_eq!(verdict.failures.len(), 1, "{:?}", verdict.failures);
    assert!(verdict.failures[0].contains(with), "{:?}", verdict.failures);
    verdict.numbers
}

#[test]
fn a_clean_record_passes_with_every_delivery_counted() {
    let verdict = check(&clean(), &rules());
    assert_eq!(verdict.failures, Vec::<String>::new());
    let wanted = Numbers {
        clients_peak: 3,
        messages_sent: 100,
        deliveries_expected: 300,
        deliveries_received: 300,
        cookie_tries: 2,
        cookie_returns: 2,
        ..Numbers::default()
    };
    assert_eq!(verdict.numbers, wanted);
}

#[test]
fn one_lost_delivery_fails() {
    let mut record = clean();
    record.clients[1].connections[0].delivered.retain(|id| *id != 17);
    let numbers = fails(
        &record,
        "message 17, sent by client 2 at 18.0 s, never reached client 1",
    );
    assert_eq!(
        (numbers.deliveries_expected, numbers.deliveries_received),
        (300, 299)
    );
}

#[test]
fn a_message_that_nobody_got_is_lost_for_everybody() {
    let mut record = clean();
    for client in &mut record.clients {
        client.connections[0].delivered.retain(|id| *id != 17);
    }
    let verdict = check(&record, &rules());
    assert_eq!(verdict.failures.len(), 3, "{:?}", verdict.failures);
    assert_eq!(
        (
            verdict.numbers.deliveries_received,
            verdict.numbers.pairs_excluded
        ),
        (297, 0)
    );
}

#[test]
fn one_doubled_delivery_fails() {
    let mut record = clean();
    record.clients[0].connections[0].delivered.push(5);
    let numbers = fails(&record, "client 0 got message 5 2 times");
    assert_eq!(
        (numbers.deliveries_doubled, numbers.deliveries_received),
        (1, 300)
    );
}

#[test]
fn a_delivery_before_a_move_and_again_after_it_is_doubled() {
    let mut record = moved(Some(1012));
    record.clients[2].connections[1].delivered.insert(0, 49);
    assert_eq!(
        fails(&record, "client 2 got message 49 2 times").deliveries_doubled,
        1
    );
}

#[test]
fn a_delivery_of_what_nobody_sent_fails() {
    let mut record = clean();
    record.clients[0].connections[0].delivered.push(1000);
    fails(&record, "client 0 got message 1000, which no client sent");
    let mut record = clean();
    record.clients[0].connections[0].garbled = 1;
    fails(&record, "1 received frames match no sent message");
}

#[test]
fn a_move_that_everybody_counted_passes_and_excludes_the_pairs_around_it() {
    let verdict = check(&moved(Some(1012)), &rules());
    assert_eq!(verdict.failures, Vec::<String>::new());
    let numbers = verdict.numbers;
    assert_eq!(
        (
            numbers.closes_asked,
            numbers.clients_moved,
            numbers.closes_unasked
        ),
        (1, 1, 0)
    );
    assert_eq!(
        (
            numbers.pairs_excluded,
            numbers.deliveries_expected,
            numbers.deliveries_received
        ),
        (3, 297, 297)
    );
    assert_eq!(numbers.clients_peak, 3);
}

#[test]
fn one_unasked_close_fails_whatever_its_code() {
    for code in [None, Some(1000), Some(1001), Some(1006), Some(1011), Some(1013)] {
        let mut record = moved(code);
        record.counted = Counted::default();
        let numbers = fails(&record, "client 2 was closed unasked at 50.5 s");
        assert_eq!((numbers.closes_unasked, numbers.closes_asked), (1, 0), "{code:?}");
    }
}

#[test]
fn a_close_that_one_of_the_counters_does_not_know_fails() {
    let counters: [fn(&mut Counted) -> &mut u64; 3] = [|c| &mut c.shed, |c| &mut c.granted, |c| &mut c.moved];
    for counter in counters {
        for wrong in [0, 2] {
            let mut record = moved(Some(1012));
            *counter(&mut record.counted) = wrong;
            fails(&record, "clients saw 1 closes with 1012");
        }
        let mut record = clean();
        *counter(&mut record.counted) = 1;
        fails(&record, "clients saw 0 closes with 1012");
    }
}

#[test]
fn more_than_five_percent_of_excluded_pairs_fail() {
    let long = |minutes_away: f64| {
        let mut record = moved(Some(1012));
        let back = &mut record.clients[2].connections[1];
        back.opened = seconds(50.5 + minutes_away);
        back.delivered
            .retain(|id| Duration::from_secs(*id) > seconds(49.5 + minutes_away));
        record
            .messages
            .retain(|message| message.client != 2 || message.id < 50 || message.id > 70);
        for message in &mut record.messages {
            if message.client == 2 && message.id > 50 {
                message.connection = 1;
            }
        }
        let gone: Vec<u64> = (0..MESSAGES)
            .filter(|id| !record.messages.iter().any(|m| m.id == *id))
            .collect();
        for connection in record
            .clients
            .iter_mut()
            .flat_map(|client| &mut client.connections)
        {
            connection.delivered.retain(|id| !gone.contains(id));
        }
        let few = Rules {
            least_messages: 90,
            ..rules()
        };
        check(&record, &few)
    };
    let verdict = long(12.0);
    assert_eq!(verdict.failures, Vec::<String>::new());
    let few = verdict.numbers.pairs_excluded;
    let verdict = long(20.0);
    assert_eq!(verdict.failures.len(), 1, "{:?}", verdict.failures);
    assert!(
        verdict.failures[0].contains("pairs are excluded: more than 5 %"),
        "{:?}",
        verdict.failures
    );
    assert!(verdict.numbers.pairs_excluded > few);
}

#[test]
fn a_delivery_must_come_until_the_close_only_if_the_bound_lies_before_it() {
    let closing = |begun: f64| {
        let mut record = clean();
        let client = &mut record.clients[2];
        client.connections[0].close = Some(Close {
            begun: seconds(begun),
            how: How::Own,
        });
        // Message 96 is sent at 97 s by client 0.
        client.connections[0].delivered.retain(|id| *id < 96);
        client.left = Some(seconds(begun));
        record
            .messages
            .retain(|message| message.client != 2 || message.id < 96);
        for connection in record
            .clients
            .iter_mut()
            .flat_map(|client| &mut client.connections)
        {
            connection.delivered.retain(|id| *id != 98);
        }
        check(
            &record,
            &Rules {
                least_messages: 99,
                least_steady: 2,
                ..rules()
            },
        )
    };
    let verdict = closing(98.9);
    assert_eq!(verdict.failures, Vec::<String>::new());
    assert_eq!(
        verdict.numbers.pairs_excluded, 2,
        "messages 96 and 97, and none after it left"
    );
    let verdict = closing(99.0);
    assert_eq!(verdict.failures.len(), 1, "{:?}", verdict.failures);
    assert!(
        verdict.failures[0].contains("message 96"),
        "{:?}",
        verdict.failures
    );
}

#[test]
fn who_comes_later_has_nothing_to_get_from_before() {
    let mut record = clean();
    record.clients.push(Client {
        in_room: true,
        connections: vec![Connection {
            // Messages 0 to 49 are sent at 1 to 50 s; the last of them may still be on its way.
            opened: seconds(50.5),
            delivered: (50..MESSAGES).collect(),
            ..Connection::default()
        }],
        ..Client::default()
    });
    for first in [50, 49] {
        record.clients[3].connections[0].delivered = (first..MESSAGES).collect();
        let verdict = check(&record, &rules());
        assert_eq!(verdict.failures, Vec::<String>::new());
        assert_eq!(
            (
                verdict.numbers.deliveries_expected,
                verdict.numbers.pairs_excluded
            ),
            (350, 0)
        );
    }
}

#[test]
fn what_a_leaving_client_sent_counts_as_soon_as_one_got_it() {
    // Client 2 sends message 50 at 51 s in vain: its close began at 50.5 s, and the send was on the old connection.
    let silent = |heard_by: &[usize]| {
        let mut record = moved(Some(1012));
        record.messages[50].connection = 0;
        record.messages[50].sent = seconds(50.4);
        for (index, client) in record.clients.iter_mut().enumerate() {
            for connection in &mut client.connections {
                connection
                    .delivered
                    .retain(|id| *id != 50 || heard_by.contains(&index));
            }
        }
        check(&record, &rules())
    };
    assert_eq!(silent(&[]).failures, Vec::<String>::new());
    assert_eq!(
        silent(&[]).numbers.pairs_excluded,
        5,
        "of 50 with all three, of 48 and 49 with the one that moved"
    );
    let verdict = silent(&[0]);
    assert_eq!(verdict.failures.len(), 1, "{:?}", verdict.failures);
    assert!(
        verdict.failures[0].contains("message 50"),
        "{:?}",
        verdict.failures
    );
    assert!(
        verdict.failures[0].contains("never reached client 1"),
        "{:?}",
        verdict.failures
    );
}
