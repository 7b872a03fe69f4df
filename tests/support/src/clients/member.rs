//! One client of a pool that acts by itself: it connects, publishes, reconnects, and closes when it
//! is ordered to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep};

use super::recorder::Recorder;
use crate::client::{Client, Options, Refused};

/// After a refused handshake, and after an end without a hint when to reconnect.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Longer than any test: the wait for an end that may never come.
const FOREVER: Duration = Duration::from_hours(24);
/// Of an own close: "normal closure".
const NORMAL_CLOSURE: u16 = 1000;

/// What a client is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Stay,
    /// Close and reconnect with the cookie.
    Reconnect,
    /// Close for the last time.
    Leave,
}

/// When a client publishes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first time, from now on.
    pub first: Duration,
    /// Between two times.
    pub every: Duration,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) recorder: Arc<Recorder>,
    pub(super) index: usize,
    pub(super) url: String,
    pub(super) orders: watch::Receiver<Order>,
}

/// What follows a connection.
enum Next {
    Left(Instant),
    Reconnect,
    ReconnectIn(Duration),
}

impl Member {
    pub(super) async fn run(mut self, pace: Option<Pace>) {
        let mut ticks = pace.map(ticks);
        loop {
            let Some(client) = self.connect().await else {
                return self.recorder.left(self.index, Instant::now());
            };
            match self.stay(&client, ticks.as_mut()).await {
                Next::Left(at) => return self.recorder.left(self.index, at),
                Next::Reconnect => {}
                Next::ReconnectIn(pause) => self.rest(pause).await,
            }
        }
    }

    /// Tries until it is connected; none if it is ordered to leave before.
    async fn connect(&mut self) -> Option<Arc<Client>> {
        while *self.orders.borrow() != Order::Leave {
            if let Ok(client) = connect(&self.recorder, self.index, &self.url).await {
                return Some(client);
            }
            self.rest(RETRY_INTERVAL).await;
        }
        None
    }

    /// Waits, unless an order comes.
    async fn rest(&mut self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            _ = self.orders.changed() => {}
        }
    }

    async fn stay(&mut self, client: &Client, mut ticks: Option<&mut Interval>) -> Next {
        loop {
            tokio::select! {
                ended = client.wait_end(FOREVER) => {
                    let Some(ended) = ended else { continue };
                    return Next::ReconnectIn(ended.retry_ms().map_or(RETRY_INTERVAL, Duration::from_millis));
                }
                order = self.orders.changed() => {
                    // Without its pool it leaves.
                    let order = order.map_or(Order::Leave, |()| *self.orders.borrow());
                    if order != Order::Stay {
                        let at = close(&self.recorder, self.index, client).await;
                        return if order == Order::Leave { Next::Left(at) } else { Next::Reconnect };
                    }
                }
                () = tick(ticks.as_deref_mut()) => {
                    if self.recorder.is_publishing() {
                        self.recorder.publish(self.index, client).await;
                    }
                }
            }
        }
    }
}

fn ticks(pace: Pace) -> Interval {
    let mut ticks = interval_at(tokio::time::Instant::now() + pace.first, pace.every);
    // What was not published during a reconnect is not made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn tick(ticks: Option<&mut Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// One handshake, with the cookie that the client holds.
pub(super) async fn connect(recorder: &Recorder, index: usize, url: &str) -> Result<Arc<Client>, Refused> {
    let options = Options::new(url);
    let options = match recorder.cookie_header(index) {
        Some(cookie) => options.cookie(&cookie),
        None => options,
    };
    match Client::connect(&options).await {
        Ok(client) => Ok(recorder.opened(index, client)),
        Err(why) => {
            recorder.refused(&why);
            Err(why)
        }
    }
}

/// Closes, and returns when the end began.
pub(super) async fn close(recorder: &Recorder, index: usize, client: &Client) -> Instant {
    let closing = recorder.closing(index);
    // When the connection is over already, the record has how.
    let _ = client.close(NORMAL_CLOSURE, "").await;
    client.ended().map_or(closing, |ended| closing.min(ended.at))
}
