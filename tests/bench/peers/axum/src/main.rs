//! The room server of axum's own example of a chat: a broadcast channel per room, a task that reads
//! and a task that writes per connection. `--small-buffers` has 512 bytes where axum's default is
//! 128 KiB of read buffer for each connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::sync::broadcast;

/// Messages that a slow client may be behind: more than the bench has on their way.
const BACKLOG: usize = 256;

#[derive(Clone)]
struct Hub {
    small_buffers: bool,
    rooms: Arc<Mutex<HashMap<String, broadcast::Sender<Bytes>>>>,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let hub = Hub {
        small_buffers: std::env::args().any(|argument| argument == "--small-buffers"),
        rooms: Arc::default(),
    };
    let app = Router::new().route("/ws/{room}", any(upgrade)).with_state(hub);
    let port = std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok())
        .unwrap_or(0_u16);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{}", listener.local_addr()?.port());
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, app).await
}

async fn upgrade(ws: WebSocketUpgrade, Path(room): Path<String>, State(hub): State<Hub>) -> Response {
    let ws = if hub.small_buffers {
        ws.read_buffer_size(512).write_buffer_size(512)
    } else {
        ws
    };
    let room = {
        let mut rooms = hub.rooms.lock().unwrap();
        rooms
            .entry(room)
            .or_insert_with(|| broadcast::channel(BACKLOG).0)
            .clone()
    };
    // Before the answer, so that a client misses nothing.
    let messages = room.subscribe();
    ws.on_upgrade(move |socket| talk(socket, room, messages))
}

async fn talk(socket: WebSocket, room: broadcast::Sender<Bytes>, mut messages: broadcast::Receiver<Bytes>) {
    let (mut sink, mut stream) = socket.split();
    let mut writer = tokio::spawn(async move {
        while let Ok(message) = messages.recv().await {
            if sink.send(Message::Binary(message)).await.is_err() {
                break;
            }
        }
    });
    let mut reader = tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Binary(bytes) = message {
                // Nobody is there when the last one has left.
                let _ = room.send(bytes);
            }
        }
    });
    tokio::select! {
        _ = &mut writer => reader.abort(),
        _ = &mut reader => writer.abort(),
    }
}
