//! Asks clients to leave, one at a time: when the operator sheds, and all of them on SIGTERM.
//!
//! The victim is always the oldest connection: the choice needs no state, and it is spread over the rooms by chance.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use wsc_contract::close::{Cause, Reason};

use crate::app::Server;
use crate::outbox::CloseRequest;
use crate::shed::Due;

/// After the last client was asked to leave, this is for its goodbye; then the process ends anyway.
const LAST_GOODBYE: Duration = Duration::from_secs(3);
/// How late a turn may be and still be made good at once: as late as timers are. Who stood still for longer does not ask all at once whom
/// it has missed.
const CATCH_UP: Duration = Duration::from_millis(50);
/// How often an emptying server looks for connections that were still in their handshake.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Does what `/shed` asks for, at its pace. SIGTERM takes over from it.
pub async fn shed(server: &Server) -> Infallible {
    let epoch = Instant::now();
    loop {
        let due = if server.is_terminating() {
            Due::Nothing
        } else {
            server.shedding().due()
        };
        match due {
            Due::Close(at) if at <= epoch.elapsed() => {
                if !shed_one(server, epoch) {
                    // Nobody is left to ask; the next connection or request wakes us.
                    server.shed_wake.notified().await;
                }
            }
            // A new request may change what is due.
            Due::Close(at) => {
                let _ = timeout(at.saturating_sub(epoch.elapsed()), server.shed_wake.notified()).await;
            }
            Due::Nothing => server.shed_wake.notified().await,
        }
    }
}

/// False if nobody is left to ask. Under the lock of the state, so that after the answer to a cancel nobody is asked any more.
fn shed_one(server: &Server, epoch: Instant) -> bool {
    let mut shedding = server.shedding();
    let now = epoch.elapsed();
    if !matches!(shedding.due(), Due::Close(at) if at <= now) {
        return true;
    }
    let asked = ask_oldest(server, Cause::Shed, shedding.via());
    if asked {
        shedding.record(now);
        server.metrics.shed.inc();
    }
    asked
}

/// Asks everybody to leave, evenly over the drain time, and waits until all are gone.
pub async fn leave(server: &Server) {
    server.leave();
    let (start, drain) = (Instant::now(), server.config.drain);
    let (deadline, mut next) = (start + drain, start);
    tracing::info!(
        connections = server.capacity.taken(),
        drain_seconds = drain.as_secs(),
        "drain started"
    );
    while server.capacity.taken() > 0 && Instant::now() < deadline + LAST_GOODBYE {
        if !ask_oldest(server, Cause::Drain, None) {
            let _ = timeout_at(Instant::now() + LOOK_AGAIN, server.departed.notified()).await;
            continue;
        }
        server.metrics.drained.inc();
        let left = u32::try_from(server.clients.open()).unwrap_or(u32::MAX);
        if left > 0 {
            next = next_turn(next, Instant::now(), deadline, left);
            wait_for(server, next).await;
        }
    }
    tracing::info!(
        remaining = server.capacity.taken(),
        duration_ms = start.elapsed().as_millis(),
        "drain finished"
    );
}

/// When the next of so many who are left is asked: spread over what is left of the time, so that the last one is asked before it ends.
fn next_turn(last: Instant, now: Instant, deadline: Instant, left: u32) -> Instant {
    let from = now
        .checked_sub(CATCH_UP)
        .map_or(last, |earliest| earliest.max(last));
    from + deadline.saturating_duration_since(from) / (left + 1)
}

/// Until this moment, or until all clients are gone.
async fn wait_for(server: &Server, moment: Instant) {
    while server.capacity.taken() > 0 {
        if timeout_at(moment, server.departed.notified()).await.is_err() {
            return;
        }
    }
}

/// False if nobody is left to ask.
fn ask_oldest(server: &Server, cause: Cause, via: Option<&str>) -> bool {
    while let Some(outbox) = server.clients.take_oldest(via) {
        let jitter_ms = u64::try_from(server.config.close_jitter.as_millis()).unwrap_or(u64::MAX);
        let retry_milliseconds = rand::random_range(0..=jitter_ms);
        if outbox.ask_close(CloseRequest::Reconnect {
            code: server.config.close_code,
            reason: Reason {
                cause,
                retry_milliseconds,
            },
        }) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRAIN: Duration = Duration::from_secs(30);
    const CLIENTS: u32 = 9_000;

    /// Closes in each second of the drain, when each turn comes late by these times, over and over, and the process stands still once.
    fn seconds(late: &[Duration], still_at: Duration, still: Duration) -> Vec<u32> {
        let start = Instant::now();
        let (deadline, mut next, mut now) = (start + DRAIN, start, start);
        let mut seconds = vec![0; 32];
        let mut late = late.iter().cycle();
        let mut stood = false;
        for left in (0..CLIENTS).rev() {
            let second = usize::try_from((now - start).as_secs()).unwrap();
            seconds[second.min(31)] += 1;
            next = next_turn(next, now, deadline, left);
            now = now.max(next + *late.next().unwrap());
            if !stood && now - start >= still_at {
                stood = true;
                now += still;
            }
        }
        seconds
    }

    proptest! {
        #[test]
        fn no_second_has_many_more_than_the_others(
            late_ms in prop::collection::vec(0_u64..10, 1..50),
            still_at_ms in 0_u64..15_000,
            still_ms in 0_u64..2_000,
        ) {
            let late: Vec<_> = late_ms.into_iter().map(Duration::from_millis).collect();
            let seconds = seconds(&late, Duration::from_millis(still_at_ms), Duration::from_millis(still_ms));
            let most = CLIENTS / 30 * 6 / 5;
            prop_assert!(seconds.iter().all(|closes| *closes <= most), "{seconds:?}");
            prop_assert_eq!(seconds[31], 0, "within the time");
        }
    }
}
