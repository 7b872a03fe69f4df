//! The clients of a pool of servers, with one record of everything that they observe.
//!
//! Clients that [`ClientPool::join`] act by themselves and reconnect at once; those of
//! [`ClientPool::connect`] are held: the test reconnects them. Thousands of raw sockets, as in
//! benches, are another kind of load (`wsc_testing::frames`).

pub mod checker;
mod held;
mod member;
pub mod record;
mod recorder;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use held::Held;
pub use member::Pace;
use member::{Member, Order, close, connect};
pub use recorder::{Landing, Recorder, Totals};

/// All clients close within this time.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// A room without messages, for connections that only test the way.
const SILENT_ROOM: &str = "silent";

/// Clients of one room.
#[derive(Debug)]
pub struct ClientPool {
    recorder: Arc<Recorder>,
    endpoint: String,
    room: String,
    members: Vec<Handle>,
    tasks: JoinSet<()>,
    /// Held clients, the oldest first.
    held: Vec<usize>,
}

/// A client that acts by itself.
#[derive(Debug)]
struct Handle {
    index: usize,
    steady: bool,
    order: watch::Sender<Order>,
}

impl ClientPool {
    /// An empty one. Clients connect to `endpoint`, as in `status.endpoint`, and this room.
    pub fn new(recorder: Arc<Recorder>, endpoint: &str, room: &str) -> Self {
        Self {
            recorder,
            endpoint: endpoint.to_owned(),
            room: room.to_owned(),
            members: Vec::new(),
            tasks: JoinSet::new(),
            held: Vec::new(),
        }
    }

    /// What its clients write into.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// One more client that acts by itself. One that publishes stays until the end.
    pub fn join(&mut self, pace: Option<Pace>) {
        let steady = pace.is_some();
        let index = self.recorder.register(true, steady);
        let (order, orders) = watch::channel(Order::Stay);
        self.members.push(Handle { index, steady, order });
        let member = Member {
            recorder: Arc::clone(&self.recorder),
            index,
            url: self.url(&self.room),
            orders,
        };
        self.tasks.spawn(member.run(pace));
    }

    /// A client that connects to a silent room and closes.
    pub async fn visit(&self) {
        let index = self.recorder.register(false, false);
        if let Ok(client) = connect(&self.recorder, index, &self.url(SILENT_ROOM)).await {
            close(&self.recorder, index, &client).await;
        }
        self.recorder.left(index, Instant::now());
    }

    /// Lets up to `most` of the clients that hold this cookie close and reconnect with it; how many
    /// these are.
    pub fn reconnect_holders(&self, cookie: &str, most: usize) -> usize {
        let chosen = self.transient(&self.recorder.holders(cookie), most);
        for member in &self.members {
            if chosen.contains(&member.index) {
                member.order.send_replace(Order::Reconnect);
            }
        }
        chosen.len()
    }

    /// Up to `most` of these clients, none of which is steady.
    pub fn transient(&self, among: &[usize], most: usize) -> BTreeSet<usize> {
        let members = self.members.iter();
        let transient = members.filter(|member| !member.steady && among.contains(&member.index));
        transient.take(most).map(|member| member.index).collect()
    }

    /// Lets one client close that is neither steady nor one of these; false if there is none left.
    pub fn close_one(&self, lingering: &BTreeSet<usize>) -> bool {
        let next = self.members.iter().find(|member| {
            !member.steady && !lingering.contains(&member.index) && *member.order.borrow() != Order::Leave
        });
        next.map(|member| member.order.send_replace(Order::Leave))
            .is_some()
    }

    /// Lets all clients that act by themselves close, and waits until they have.
    ///
    /// # Errors
    /// When one does not.
    pub async fn close_all(&mut self) -> Result<()> {
        for member in &self.members {
            member.order.send_replace(Order::Leave);
        }
        let closed = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            bail!("some clients did not close within {CLOSE_TIMEOUT:?}");
        }
        Ok(())
    }

    fn url(&self, room: &str) -> String {
        format!("{}/{room}", self.endpoint)
    }
}

#[cfg(test)]
mod tests;
