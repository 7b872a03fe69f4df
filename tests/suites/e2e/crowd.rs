//! Many clients at once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use wsc_testing::client::{Client, EndKind, Options};
use wsc_testing::cluster::eventually;

use crate::stage::PATIENCE;

/// Handshakes at the same time: a machine with two cores runs servers, proxies and clients.
const HANDSHAKES: usize = 8;
/// A message through two pods and Redis, on a busy machine.
const ARRIVAL: Duration = Duration::from_secs(20);

/// Clients of one room.
pub(crate) struct Crowd {
    url: String,
    pub(crate) clients: Vec<Client>,
}

impl Crowd {
    /// Nobody yet; `endpoint` is `status.endpoint`.
    pub(crate) fn new(endpoint: &str, room: &str) -> Self {
        Self {
            url: format!("{endpoint}/{room}"),
            clients: Vec::new(),
        }
    }

    /// So many more clients come. One that is refused for want of room tries again until the pool has grown.
    pub(crate) async fn join(&mut self, count: usize) -> Result<()> {
        let url = &self.url;
        let new: Vec<Client> = stream::iter(0..count)
            .map(|_| connect(url))
            .buffer_unordered(HANDSHAKES)
            .try_collect()
            .await?;
        self.clients.extend(new);
        Ok(())
    }

    /// So many clients say goodbye, the newest first.
    pub(crate) async fn leave(&mut self, count: usize) -> Result<()> {
        let leaving = self.clients.split_off(self.clients.len().saturating_sub(count));
        let goodbyes = stream::iter(leaving.iter().map(|client| client.close(1000, "")));
        let results: Vec<_> = goodbyes.buffer_unordered(HANDSHAKES).collect().await;
        // Somebody who was asked to move a moment ago is gone as well.
        for (client, result) in leaving.iter().zip(results) {
            if result.is_err() && client.ended().is_none() {
                bail!("a client could not leave");
            }
        }
        Ok(())
    }

    /// Those who were asked to move come back, and everybody is there again.
    pub(crate) async fn come_back(&mut self) -> Result<()> {
        let before = self.clients.len();
        self.clients.retain(|client| client.ended().is_none());
        self.join(before - self.clients.len()).await
    }

    /// One client speaks and everybody in the room hears it once.
    pub(crate) async fn hear(&self, speaker: usize, text: &str) -> Result<()> {
        let speaker = self.clients.get(speaker).context("no such client")?;
        speaker.send_text(text).await?;
        let heard = |client: &Client| client.texts().iter().filter(|heard| *heard == text).count();
        eventually(ARRIVAL, &format!("everybody hears {text:?}"), || async {
            let counts: Vec<usize> = self.clients.iter().map(heard).collect();
            if let Some(double) = counts.iter().find(|count| **count > 1) {
                bail!("a client heard {text:?} {double} times");
            }
            Ok(counts.iter().all(|count| *count == 1).then_some(()))
        })
        .await
    }

    /// How many are connected to each pod, by the sticky cookie of their handshakes.
    pub(crate) fn by_cookie(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for client in &self.clients {
            *counts.entry(cookie(client)).or_default() += 1;
        }
        counts
    }

    pub(crate) fn ended(&self, kind: EndKind) -> usize {
        let ends = self.clients.iter().filter_map(Client::ended);
        ends.filter(|end| end.kind == kind).count()
    }

    /// Fails if anybody's connection ended other than by being asked to move.
    pub(crate) fn nobody_dropped(&self) -> Result<()> {
        let ends = self.clients.iter().filter_map(Client::ended);
        let dropped: Vec<String> = ends
            .filter(|end| end.kind == EndKind::Unasked)
            .map(|end| end.to_string())
            .collect();
        if !dropped.is_empty() {
            bail!("{} clients were dropped: {}", dropped.len(), dropped.join("; "));
        }
        Ok(())
    }

    /// Fails if anybody's connection ended at all.
    pub(crate) fn nobody_left(&self) -> Result<()> {
        self.nobody_dropped()?;
        match self.ended(EndKind::Asked) {
            0 => Ok(()),
            asked => bail!("{asked} clients were asked to move"),
        }
    }
}

/// The value of the sticky cookie that the handshake set.
pub(crate) fn cookie(client: &Client) -> String {
    let cookies = client.opened().cookies();
    let ours = cookies.iter().find_map(|cookie| cookie.strip_prefix("wsc="));
    ours.unwrap_or_default().to_owned()
}

async fn connect(url: &str) -> Result<Client> {
    let options = Options::new(url);
    eventually(PATIENCE, "a place for a client", || async {
        match Client::connect(&options).await {
            Ok(client) => Ok(Some(client)),
            Err(refused) if refused.status().is_some_and(|status| status.as_u16() == 503) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    })
    .await
}
