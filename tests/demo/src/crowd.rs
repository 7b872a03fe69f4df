//! The clients of the demo, and what they are told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::book::Book;
use super::person::{Order, Pace, Person, say_goodbye};
use wsc_testing::client::{Client, Options};

/// All clients say goodbye within this time.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// The room of the demo, and one where nobody speaks, for clients that only look in.
const ROOM: &str = "demo";
const SILENT_ROOM: &str = "lobby";

/// All clients.
#[derive(Debug)]
pub struct Crowd {
    book: Arc<Book>,
    endpoint: String,
    members: Vec<Member>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Member {
    index: usize,
    steady: bool,
    order: watch::Sender<Order>,
}

impl Crowd {
    /// Nobody yet. Clients connect to `endpoint`, as the resource's status says it.
    pub fn new(book: Arc<Book>, endpoint: &str) -> Self {
        Self {
            book,
            endpoint: endpoint.to_owned(),
            members: Vec::new(),
            tasks: JoinSet::new(),
        }
    }

    /// One more client in the room. One that publishes stays for the whole demo.
    pub fn join(&mut self, pace: Option<Pace>) {
        let steady = pace.is_some();
        let index = self.book.register(true, steady);
        let (order, orders) = watch::channel(Order::Stay);
        self.members.push(Member { index, steady, order });
        let url = format!("{}/{ROOM}", self.endpoint);
        self.tasks
            .spawn(Person::new(Arc::clone(&self.book), index, url, orders, pace).live());
    }

    /// A client that looks into the silent room and says goodbye.
    pub async fn look_in(&self) {
        let index = self.book.register(false, false);
        let url = format!("{}/{SILENT_ROOM}", self.endpoint);
        match Client::connect(&Options::new(url)).await {
            Ok(client) => {
                let client = self.book.opened(index, client);
                say_goodbye(&self.book, index, &client).await;
            }
            Err(why) => self.book.refused(why.to_string()),
        }
        self.book.left(index, Instant::now());
    }

    /// Sends up to `most` of the clients that hold this cookie away, to come back with it; how many these are.
    pub fn send_back(&self, cookie: &str, most: usize) -> usize {
        let sent = self.passing(&self.book.holders(cookie), most);
        for member in &self.members {
            if sent.contains(&member.index) {
                member.order.send_replace(Order::Return);
            }
        }
        sent.len()
    }

    /// Up to `most` of these clients, none of which is steady.
    pub fn passing(&self, among: &[usize], most: usize) -> BTreeSet<usize> {
        let passing = self
            .members
            .iter()
            .filter(|member| !member.steady && among.contains(&member.index));
        passing.take(most).map(|member| member.index).collect()
    }

    /// Lets one client go that is neither steady nor one of these; false if there is none left.
    pub fn let_one_go(&self, lingering: &BTreeSet<usize>) -> bool {
        let next = self.members.iter().find(|member| {
            !member.steady && !lingering.contains(&member.index) && *member.order.borrow() != Order::Leave
        });
        next.map(|member| member.order.send_replace(Order::Leave))
            .is_some()
    }

    /// Lets everybody go and waits until they are gone.
    ///
    /// # Errors
    /// When somebody does not go.
    pub async fn disperse(&mut self) -> Result<()> {
        for member in &self.members {
            member.order.send_replace(Order::Leave);
        }
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(CLOSE_TIMEOUT, gone).await.is_err() {
            bail!("some clients did not close within {CLOSE_TIMEOUT:?}");
        }
        Ok(())
    }
}
