//! What a demo has to show besides deliveries.

use super::*;

#[test]
fn moves_beyond_the_budget_fail() {
    let crowd = |clients: u32, apart: f64| {
        let mut record = clean();
        for index in 0..clients {
            let how = How::Server {
                code: Some(1012),
                reason: "shed;retry=0".to_owned(),
            };
            let begun = seconds(20.0) + seconds(apart) * index;
            record.clients.push(Client {
                connections: vec![Connection {
                    close: Some(Close { begun, how }),
                    ..Connection::default()
                }],
                ..Client::default()
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
    };
    // At 1 a second, a burst of 5 s and a spread of 10 s.
    assert!(check(&crowd(16, 0.0), &rules()).passed());
    assert!(check(&crowd(60, 1.0), &rules()).passed());
    fails(
        &crowd(17, 0.0),
        "17 clients received a request to reconnect within 0.0 s",
    );
    fails(&crowd(60, 0.5), "clients received a request to reconnect within");
}

#[test]
fn any_reload_or_change_of_process_fails() {
    let mut record = clean();
    record.counted.reloads = 1;
    fails(&record, "HAProxy was reloaded 1 times");
    let mut record = clean();
    record.counted.pid_changes = 1;
    fails(&record, "HAProxy's process changed 1 times");
}

#[test]
fn a_cookie_that_leads_elsewhere_and_too_few_cookies_fail() {
    let mut record = clean();
    record.tries[1].returned = false;
    let numbers = fails(&record, "1 of 2 clients with a cookie came to another pod");
    assert_eq!((numbers.cookie_tries, numbers.cookie_returns), (2, 1));
    let mut record = clean();
    record.tries[1].pod = "chat-0".to_owned();
    fails(&record, "2 clients came back with a cookie, to 1 pods");
    let mut record = clean();
    record.tries.pop();
    fails(&record, "1 clients came back with a cookie, to 1 pods");
}

#[test]
fn a_pool_that_does_not_grow_or_shrink_fails() {
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
fn clients_that_leave_stay_silent_or_hear_nothing_are_not_steady() {
    let mut left = clean();
    left.clients[0].left = Some(seconds(199.0));
    let mut silent = clean();
    silent.messages.retain(|message| message.client != 0);
    let mut restless = clean();
    restless.clients[0].steady = false;
    let mut said_goodbye = clean();
    said_goodbye.clients[0].left = Some(said_goodbye.until);
    assert!(
        check(&said_goodbye, &rules()).passed(),
        "after the record was closed"
    );
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
fn too_few_messages_prove_nothing() {
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
fn a_demo_in_which_nobody_moves_proves_nothing_about_moves() {
    let rules = Rules {
        least_moved: 1,
        ..rules()
    };
    assert!(check(&moved(Some(MOVED)), &rules).passed());
    assert_eq!(
        check(&clean(), &rules).failures,
        ["only 0 clients had to move, 1 are needed"]
    );
}

#[test]
fn only_the_first_failures_of_a_kind_are_told() {
    let mut record = clean();
    record.clients[1].connections[0].delivered.clear();
    record.clients[1].steady = false;
    let verdict = check(
        &record,
        &Rules {
            least_steady: 2,
            ..rules()
        },
    );
    assert_eq!(verdict.failures.len(), TOLD + 1);
    assert_eq!(verdict.failures[TOLD], "… and 80 more lost deliveries");
}
