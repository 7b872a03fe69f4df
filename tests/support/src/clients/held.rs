//! Clients that a test holds: they connect, publish, reconnect and close when the test calls for
//! it, and not by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};

use super::ClientPool;
use super::checker::{Numbers, check};
use super::member::{close, connect};
use crate::client::{Client, EndKind};
use crate::cluster::eventually;

/// Handshakes at the same time: a machine with two cores runs servers, proxies and clients.
const HANDSHAKES: usize = 8;
/// A client without a place tries again until the pool has grown.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(3);
/// A message through two pods and Redis, on a busy machine.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(20);

/// The newest connection of a client.
#[derive(Clone, Debug)]
pub struct Held {
    /// The value of the sticky cookie that the client holds.
    pub cookie: String,
    /// Open or over.
    pub client: Arc<Client>,
}

impl ClientPool {
    /// Connects this many more clients. A refused one tries again.
    ///
    /// # Errors
    /// When one is not connected in time.
    pub async fn connect(&mut self, count: usize) -> Result<()> {
        self.connect_to(&self.endpoint.clone(), count).await
    }

    /// The same at another address of the pool.
    ///
    /// # Errors
    /// When one is not connected in time.
    pub async fn connect_to(&mut self, endpoint: &str, count: usize) -> Result<()> {
        let new: Vec<usize> = (0..count).map(|_| self.recorder.register(true, false)).collect();
        let url = format!("{endpoint}/{}", self.room);
        self.handshakes(&url, &new).await?;
        self.held.extend(new);
        Ok(())
    }

    /// Closes this many clients, the newest first. One that was asked to reconnect a moment ago is
    /// closed as well.
    ///
    /// # Errors
    /// When one cannot close.
    pub async fn disconnect(&mut self, count: usize) -> Result<()> {
        let leaving = self.held.split_off(self.held.len().saturating_sub(count));
        let closes = leaving.into_iter().map(async |index| {
            let client = self
                .recorder
                .newest(index)
                .context("a held client was connected")?;
            self.recorder
                .left(index, close(&self.recorder, index, &client).await);
            ensure!(client.ended().is_some(), "a client could not close");
            Ok(())
        });
        let closes = stream::iter(closes).buffer_unordered(HANDSHAKES);
        closes.try_collect().await
    }

    /// Reconnects the clients whose connection ended.
    ///
    /// # Errors
    /// When one is not connected in time.
    pub async fn reconnect(&mut self) -> Result<()> {
        let ended: Vec<usize> = self.indices(|client| client.ended().is_some());
        self.handshakes(&self.url(&self.room), &ended).await
    }

    /// Clients whose connection ended do not return.
    pub fn release_ended(&mut self) {
        let ended = self.indices(|client| client.ended().is_some());
        self.held.retain(|index| !ended.contains(index));
        for index in ended {
            self.recorder.left(index, Instant::now());
        }
    }

    /// The held clients, the oldest first.
    pub fn held(&self) -> Vec<Held> {
        let held = self.held.iter().filter_map(|index| {
            Some(Held {
                cookie: self.recorder.cookie(*index).unwrap_or_default(),
                client: self.recorder.newest(*index)?,
            })
        });
        held.collect()
    }

    /// How many held clients are on each pod, by its cookie.
    pub fn by_cookie(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for held in self.held() {
            *counts.entry(held.cookie).or_default() += 1;
        }
        counts
    }

    /// How many newest connections of held clients ended in this way.
    pub fn ended(&self, kind: EndKind) -> usize {
        self.indices(|client| client.ended().is_some_and(|end| end.kind == kind))
            .len()
    }

    /// A client, by its place among the held ones, sends a message, and each held client receives
    /// it once.
    ///
    /// # Errors
    /// When one does not receive it, or twice.
    pub async fn broadcast(&self, sender: usize) -> Result<()> {
        let index = *self.held.get(sender).context("no such client")?;
        let client = self
            .recorder
            .newest(index)
            .context("a held client was connected")?;
        let id = self.recorder.publish(index, &client).await;
        let id = id.with_context(|| format!("the sender's connection is over: {:?}", client.ended()))?;
        let held = self.held();
        let what = format!("each of {} clients receives message {id}", held.len());
        eventually(ARRIVAL_TIMEOUT, &what, || async {
            let counts = held.iter().map(|held| self.recorder.deliveries(&held.client, id));
            let counts: Vec<usize> = counts.collect();
            if let Some(times) = counts.iter().find(|times| **times > 1) {
                bail!("a client received message {id} {times} times");
            }
            Ok(counts.iter().all(|times| *times == 1).then_some(()))
        })
        .await
    }

    /// Checks the record: each message was delivered once, no client received a message of another
    /// pool, and exactly `dropped` connections ended otherwise than by the client or the request to
    /// reconnect. The answer has the numbers.
    ///
    /// # Errors
    /// When one of these is not so.
    pub fn verify(&self, dropped: usize) -> Result<Numbers> {
        let verdict = check(&self.recorder.record(), ARRIVAL_TIMEOUT);
        ensure!(verdict.deliveries.is_empty(), "{}", verdict.deliveries.join("; "));
        ensure!(
            verdict.numbers.closes_unasked == dropped as u64,
            "{} connections were dropped, {dropped} had to be: {}",
            verdict.numbers.closes_unasked,
            verdict.unasked.join("; ")
        );
        Ok(verdict.numbers)
    }

    /// The same, and no client was asked to reconnect.
    ///
    /// # Errors
    /// When one of these is not so.
    pub fn verify_unmoved(&self, dropped: usize) -> Result<()> {
        let asked = self.verify(dropped)?.closes_asked;
        ensure!(asked == 0, "{asked} clients were asked to reconnect");
        Ok(())
    }

    fn indices(&self, wanted: impl Fn(&Client) -> bool) -> Vec<usize> {
        let held = self.held.iter().copied();
        held.filter(|index| self.recorder.newest(*index).is_some_and(|client| wanted(&client)))
            .collect()
    }

    async fn handshakes(&self, url: &str, indices: &[usize]) -> Result<()> {
        let connects = indices.iter().map(async |index| {
            eventually(CONNECT_TIMEOUT, "a place for a client", || async {
                Ok(Some(connect(&self.recorder, *index, url).await?))
            })
            .await
        });
        let connects = stream::iter(connects).buffer_unordered(HANDSHAKES);
        connects.map_ok(drop).try_collect::<()>().await
    }
}
