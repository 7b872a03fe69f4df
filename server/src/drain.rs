//! Asks clients to leave, one at a time: when the operator sheds, and all of them on SIGTERM.
//!
//! The victim is always the oldest connection: the choice needs no state, and it is spread over the rooms by chance.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::app::Server;
use crate::outbox::CloseRequest;
use crate::shed::Due;

/// After the last client was asked to leave, this is for its goodbye; then the process ends anyway.
const LAST_GOODBYE: Duration = Duration::from_secs(3);
/// How often an emptying server looks for connections that were still in their handshake.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Does what `/shed` asks for, at its pace. SIGTERM takes over from it.
pub async fn shed(server: &Server) -> Infallible {
    let epoch = Instant::now();
    loop {
        let due = if server.is_leaving() {
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
    let asked = ask_oldest(server, "shed", shedding.via());
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
        seconds = drain.as_secs(),
        "draining"
    );
    while server.capacity.taken() > 0 && Instant::now() < deadline + LAST_GOODBYE {
        if !ask_oldest(server, "drain", None) {
            let _ = timeout_at(Instant::now() + LOOK_AGAIN, server.departed.notified()).await;
            continue;
        }
        server.metrics.drained.inc();
        let left = u32::try_from(server.clients.open()).unwrap_or(u32::MAX);
        if left > 0 {
            // Spread over what is left of the time, so that the last one is asked before it ends.
            next += deadline.saturating_duration_since(next) / (left + 1);
            wait_for(server, next).await;
        }
    }
    tracing::info!(
        left = server.capacity.taken(),
        took_ms = start.elapsed().as_millis(),
        "drained"
    );
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
fn ask_oldest(server: &Server, word: &str, via: Option<&str>) -> bool {
    while let Some(outbox) = server.clients.take_oldest(via) {
        let jitter_ms = u64::try_from(server.config.close_jitter.as_millis()).unwrap_or(u64::MAX);
        let retry_ms = rand::random_range(0..=jitter_ms);
        let reason = format!("{word};retry={retry_ms}");
        if outbox.ask_close(CloseRequest::Moved {
            code: server.config.close_code,
            reason,
        }) {
            return true;
        }
    }
    false
}
