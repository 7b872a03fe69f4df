//! One client: it connects, listens, perhaps publishes, moves when it is asked to, and leaves when it is told to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep};

use super::book::{self, Book};
use super::record::How;
use wsc_testing::client::{Client, Options};

/// After a refused handshake, and after an end without a hint when to come back.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Longer than any demo: the wait for an end that may never come.
const FOR_EVER: Duration = Duration::from_hours(24);
/// Of an own goodbye: "normal closure".
const NORMAL_CLOSURE: u16 = 1000;

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Stay,
    /// Say goodbye and come back with the cookie.
    Return,
    /// Say goodbye for good.
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
pub(super) struct Person {
    book: Arc<Book>,
    index: usize,
    url: String,
    orders: watch::Receiver<Order>,
    ticks: Option<Interval>,
}

/// What comes after a connection.
enum Next {
    Gone(Instant),
    Back,
    BackIn(Duration),
}

impl Person {
    pub(super) fn new(
        book: Arc<Book>,
        index: usize,
        url: String,
        orders: watch::Receiver<Order>,
        pace: Option<Pace>,
    ) -> Self {
        let ticks = pace.map(|pace| {
            let mut ticks = interval_at(tokio::time::Instant::now() + pace.first, pace.every);
            // Who was away does not say all at once what they would have said.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self {
            book,
            index,
            url,
            orders,
            ticks,
        }
    }

    pub(super) async fn live(mut self) {
        let mut returning: Option<String> = None;
        loop {
            let Some(client) = self.connect().await else {
                return self.book.left(self.index, Instant::now());
            };
            if let Some(held) = returning.take() {
                self.book.landed(self.index, &held);
            }
            match self.stay(&client).await {
                Next::Gone(at) => return self.book.left(self.index, at),
                Next::Back => returning = self.book.cookie(self.index),
                Next::BackIn(pause) => self.rest(pause).await,
            }
        }
    }

    /// Tries until it is connected; none if it is told to leave before.
    async fn connect(&mut self) -> Option<Arc<Client>> {
        while *self.orders.borrow() != Order::Leave {
            let options = Options::new(self.url.as_str());
            let options = match self.book.cookie(self.index) {
                Some(cookie) => options.cookie(&cookie),
                None => options,
            };
            match Client::connect(&options).await {
                Ok(client) => return Some(self.book.opened(self.index, client)),
                Err(why) => self.book.refused(why.to_string()),
            }
            self.rest(TRY_AGAIN).await;
        }
        None
    }

    /// Waits, unless something is ordered.
    async fn rest(&mut self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            _ = self.orders.changed() => {}
        }
    }

    async fn stay(&mut self, client: &Client) -> Next {
        loop {
            tokio::select! {
                ended = client.wait_end(FOR_EVER) => {
                    let Some(ended) = ended else { continue };
                    self.book.ended(self.index, client, ended.at, book::how(&ended));
                    return Next::BackIn(ended.retry_ms().map_or(TRY_AGAIN, Duration::from_millis));
                }
                order = self.orders.changed() => {
                    // Nobody is there to tell it anything any more: it leaves.
                    let order = order.map_or(Order::Leave, |()| *self.orders.borrow());
                    if order != Order::Stay {
                        let at = say_goodbye(&self.book, self.index, client).await;
                        return if order == Order::Leave { Next::Gone(at) } else { Next::Back };
                    }
                }
                () = tick(self.ticks.as_mut()) => self.publish(client).await,
            }
        }
    }

    async fn publish(&self, client: &Client) {
        if !self.book.is_talking() {
            return;
        }
        let id = self.book.next_message();
        // When the connection is just over, the message was never sent.
        if let Ok(at) = client.send_text(book::text(id, self.index)).await {
            self.book.sent(id, self.index, at);
        }
    }
}

async fn tick(ticks: Option<&mut Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Closes, writes it down, and says when it began.
pub(super) async fn say_goodbye(book: &Book, index: usize, client: &Client) -> Instant {
    let begun = Instant::now();
    // When the connection is over already, the record says how.
    let _ = client.close(NORMAL_CLOSURE, "").await;
    let ended = client.ended();
    let begun = ended.as_ref().map_or(begun, |ended| begun.min(ended.at));
    book.ended(
        index,
        client,
        begun,
        ended.map_or(How::Own, |ended| book::how(&ended)),
    );
    begun
}
