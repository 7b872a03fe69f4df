//! A pool against a server in this process that broadcasts, and closes connections on request.

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{Sender, channel};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::*;
use crate::client::EndKind;
use crate::cluster::eventually;

const DEADLINE: Duration = Duration::from_secs(20);
/// More than a test sends.
const QUEUE: usize = 64;

async fn serve(stream: TcpStream, room: Sender<Message>) {
    let mut messages = room.subscribe();
    let mut socket = accept_async(stream).await.unwrap();
    loop {
        tokio::select! {
            received = socket.next() => match received {
                Some(Ok(text @ Message::Text(_))) => drop(room.send(text)),
                Some(Ok(_)) => {}
                _ => return,
            },
            message = messages.recv() => drop(socket.send(message.unwrap()).await),
        }
    }
}

/// A pool on a new server, and the sender of messages to all its connections.
async fn pool() -> (ClientPool, Sender<Message>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("ws://{}", listener.local_addr().unwrap());
    let room = channel(QUEUE).0;
    let sender = room.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, room.clone()));
        }
    });
    let recorder = Arc::new(Recorder::new(Instant::now(), "chat", "wsc"));
    (ClientPool::new(recorder, &endpoint, "room"), sender)
}

fn close_frame(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame {
        code: code.into(),
        reason: reason.to_owned().into(),
    }))
}

async fn ends(pool: &ClientPool, kind: EndKind, count: usize) {
    eventually(DEADLINE, "the ends", async || {
        Ok((pool.ended(kind) == count).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn held_clients_reconnect_only_on_request() {
    let (mut pool, room) = pool().await;
    pool.connect(3).await.unwrap();
    pool.broadcast(2).await.unwrap();
    pool.verify_unmoved(0).unwrap();

    room.send(close_frame(1012, "drain;retry=1")).unwrap();
    ends(&pool, EndKind::Asked, 3).await;
    assert_eq!(pool.recorder().totals().open, 0);
    pool.reconnect().await.unwrap();
    pool.broadcast(0).await.unwrap();
    let numbers = pool.verify(0).unwrap();
    assert_eq!((numbers.closes_asked, numbers.messages_sent), (3, 2));
    let err = pool.verify_unmoved(0).unwrap_err().to_string();
    assert_eq!(err, "3 clients were asked to reconnect");

    pool.disconnect(1).await.unwrap();
    assert_eq!((pool.held().len(), pool.recorder().totals().open), (2, 2));
    assert!(pool.recorder().record().clients[2].left.is_some());
}

#[tokio::test]
async fn drops_and_foreign_messages_are_found() {
    let (mut pool, room) = pool().await;
    pool.connect(2).await.unwrap();
    room.send(close_frame(1001, "going away")).unwrap();
    ends(&pool, EndKind::Unasked, 2).await;
    let err = pool.verify(0).unwrap_err().to_string();
    assert!(
        err.starts_with("2 connections were dropped, 0 had to be: client 0 was closed without a request"),
        "{err}"
    );
    pool.verify(2).unwrap();
    assert!(pool.recorder().describe().contains("going away"));

    pool.release_ended();
    assert!(pool.held().is_empty());
    pool.connect(1).await.unwrap();
    room.send(Message::text("7 from client 0 of game")).unwrap();
    let foreign = async || Ok(pool.verify(2).err().map(|err| err.to_string()));
    let err = eventually(DEADLINE, "the foreign message", foreign)
        .await
        .unwrap();
    assert_eq!(err, "1 received frames match no sent message");
}

#[tokio::test]
async fn members_reconnect_by_themselves_and_publish() {
    let (mut pool, room) = pool().await;
    pool.join(None);
    let every = Duration::from_millis(20);
    pool.join(Some(Pace { first: every, every }));
    let reached = async |wanted: fn(&Totals) -> bool| {
        let look = async || Ok(wanted(&pool.recorder().totals()).then_some(()));
        eventually(DEADLINE, "the totals", look).await.unwrap();
    };
    reached(|totals| totals.open == 2 && totals.received > 3).await;
    room.send(close_frame(1012, "shed;retry=1")).unwrap();
    reached(|totals| totals.asked == 2 && totals.open == 2).await;
    pool.recorder().stop_publishing();
    pool.visit().await;
    assert!(pool.close_one(&BTreeSet::new()));
    assert!(!pool.close_one(&BTreeSet::new()), "the other one is steady");
    pool.close_all().await.unwrap();
    let record = pool.recorder().record();
    assert!(record.clients.iter().all(|client| client.left.is_some()));
    assert_eq!((record.moves().len(), record.drops().len()), (2, 0));
}
