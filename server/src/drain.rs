//! Asks clients to leave, one at a time: when the operator sheds, and all of them on SIGTERM.
//!
//! The victim is always the oldest connection: the choice needs no state, and it is spread over the rooms by chance.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

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
        let at = match due {
            Due::Nothing => {
                server.shed_wake.notified().await;
                continue;
            }
            Due::Close(at) => epoch + at,
        };
        if Instant::now() < at {
            // A new request may change what is due.
            let _ = timeout_at(at, server.shed_wake.notified()).await;
            continue;
        }
        let via = server.shedding().via().map(str::to_owned);
        if ask_oldest(server, "shed", via.as_deref()) {
            server.shedding().record(epoch.elapsed());
            server.metrics.shed.inc();
        } else {
            // Nobody is left to ask; the next connection or request wakes us.
            server.shed_wake.notified().await;
        }
    }
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
            sleep_until(next).await;
        }
    }
    tracing::info!(
        left = server.capacity.taken(),
        took_ms = start.elapsed().as_millis(),
        "drained"
    );
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
